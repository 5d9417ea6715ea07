from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from msqnet.config import ServerSettings
from msqnet.serving.request_errors import RequestError
from msqnet.serving.security import COOKIE, Access

_LOOPBACK = Access.from_settings(ServerSettings())


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost", "LOCALHOST:8000", "[::1]:8000", "127.0.0.1"]
)
def test_own_names_are_answered(host: str) -> None:
    _LOOPBACK.check_host(host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "", "127.0.0.1.evil.example", "localhost@evil", "[x"],
)
def test_name_that_was_pointed_at_this_machine_is_turned_away(host: str) -> None:
    with pytest.raises(RequestError) as caught:
        _LOOPBACK.check_host(host)

    assert caught.value.detail.code == "host_not_allowed"


def test_name_of_a_proxy_is_answered_beside_the_own_ones() -> None:
    access = Access.from_settings(ServerSettings(public_hosts=("Actions.example",)))

    access.check_host("actions.example")
    access.check_host("localhost:8000")
    with pytest.raises(RequestError):
        access.check_host("other.example")


def test_server_that_listens_everywhere_answers_to_any_name() -> None:
    Access.from_settings(ServerSettings(host="0.0.0.0")).check_host("whatever.example")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "same-origin", "origin": "http://localhost:8000"},
        {"sec-fetch-site": "none"},
        {"origin": "http://localhost:8000"},
    ],
)
def test_own_page_and_programs_may_post(headers: dict[str, str]) -> None:
    _LOOPBACK.check_origin(Headers({"host": "localhost:8000", **headers}))


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://localhost:3000"},
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:3000"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site", "origin": "http://localhost:8000"},
    ],
)
def test_pages_of_other_sites_may_not_post(headers: dict[str, str]) -> None:
    with pytest.raises(RequestError) as caught:
        _LOOPBACK.check_origin(Headers({"host": "localhost:8000", **headers}))

    assert caught.value.detail.code == "cross_origin"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_token_lets_in(scheme: str) -> None:
    Access("swordfish").check_token(Headers({"authorization": f"{scheme} swordfish"}))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer swordfis"},
        {"authorization": "Bearer swordfishes"},
        {"authorization": "Basic swordfish"},
        {"authorization": "Bearer "},
        {"cookie": f"{COOKIE}=swordfish"},
        {"cookie": f"{COOKIE}="},
        {"cookie": "\u00e9=;;;"},
    ],
)
def test_without_the_token_nobody_gets_in(headers: dict[str, str]) -> None:
    with pytest.raises(RequestError) as caught:
        Access("swordfish").check_token(Headers(headers))

    assert caught.value.detail.code == "token_needed"


def test_cookie_of_this_server_lets_in_and_that_of_another_does_not() -> None:
    access, other = Access("swordfish"), Access("swordfish")
    headers = Headers({"cookie": f"a=b; {COOKIE}={access.session}"})

    access.check_token(headers)
    with pytest.raises(RequestError):
        other.check_token(headers)


def test_token_is_not_shown_where_settings_are_printed() -> None:
    assert "swordfish" not in repr(ServerSettings(token="swordfish"))
