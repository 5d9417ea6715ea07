from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import replace

import pytest

from msqnet.errors import ConfigError
from msqnet.inference import endpoint
from msqnet.inference.endpoint import KEY_VARIABLE, Endpoint, NoAnswer
from tests.fixtures.large_models import Reply, completion, large_model

JPEG = b"\xff\xd8 not looked into"


def error_of(reply: Reply, **settings: object) -> NoAnswer:
    with large_model(reply) as model:
        asked = replace(Endpoint(model.url, "big"), **settings)  # type: ignore[arg-type]
        with pytest.raises(NoAnswer) as caught:
            asked.answer("what?", [JPEG])
    return caught.value


def test_request_has_the_form_of_a_chat_completion_with_pictures() -> None:
    with large_model(completion("yes")) as model:
        assert Endpoint(model.url, "big", "secret").answer("what?", [JPEG, JPEG]) == "yes"
    (received,) = model.received
    assert received.path == "/v1/chat/completions"
    assert received.headers["Authorization"] == "Bearer secret"
    assert received.headers["User-Agent"].startswith("msqnet/")
    assert received.body["model"] == "big"
    assert set(received.body) == {"model", "messages"}  # what some servers refuse is not sent
    (message,) = received.body["messages"]
    assert message["role"] == "user"
    assert [part["type"] for part in message["content"]] == ["text", "image_url", "image_url"]


def test_a_key_that_the_server_repeats_is_left_out() -> None:
    with large_model(completion("your key is secret")) as model:
        assert Endpoint(model.url, "big", "secret").answer("?", []) == "your key is [key]"
    assert "secret" not in str(error_of(Reply(body=b'{"key": "secret"}'), key="secret"))


def test_no_key_sends_no_header_and_answers_may_come_in_parts() -> None:
    with large_model(completion([{"type": "text", "text": "a"}, {"text": "b"}])) as model:
        assert Endpoint(f"{model.url}/chat/completions", "big").answer("what?", []) == "ab"
    assert "Authorization" not in model.received[0].headers
    assert model.received[0].path == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("file:///etc/passwd", "not an address"),
        ("ftp://127.0.0.1/v1", "not an address"),
        ("127.0.0.1:8000/v1", "not an address"),
        ("http://", "not an address"),
        ("http://127.0.0.1:port/v1", "not an address"),
        ("http://a..b/v1", "not an address"),
        ("http://127.0.0.1:8000/v1\r\nX: y", "not an address"),
        ("http://b\u00fccher.example/v1", "not an address"),
        ("https://me:secret@host/v1", "without a name, a password"),
        ("http://me:secret@host:99999/v1", "without a name, a password"),
        ("https://host/v1?key=secret", "without a name, a password"),
        ("https://host/v1?", "or #"),
    ],
)
def test_what_is_no_address_is_refused(url: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        Endpoint(url, "big")
    assert "secret" not in str(caught.value)


def test_key_never_travels_in_the_clear_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, " secret\n")
    with pytest.raises(ConfigError, match="unencrypted; take an https:// address"):
        Endpoint.of_user("http://gpu.example:8000/v1", "big")
    for url in ("http://localhost/v1", "http://[::1]:8000/v1", "https://gpu.example/v1"):
        found = Endpoint.of_user(url, "big")
        assert found.key == "secret"
        assert "secret" not in repr(found)
    monkeypatch.setenv(KEY_VARIABLE, "sec\nret")
    with pytest.raises(ConfigError, match="not a key") as caught:
        Endpoint.of_user("https://gpu.example/v1", "big")
    assert not {"sec", "ret"} & set(str(caught.value).split())
    assert not Endpoint("http://gpu.example/v1", "big").is_local
    assert Endpoint("http://0.0.0.0:8000/v1", "big").is_local  # so no proxy gets the frames
    assert Endpoint("HTTPS://gpu.example/v1", "big").is_encrypted


@pytest.mark.parametrize(
    ("status", "match", "is_final"),
    [
        (400, "--ask-frames sends fewer", False),
        (401, KEY_VARIABLE, True),
        (404, "--ask-model", True),
        (413, "--ask-frames", False),
        (429, "later", True),
        (500, "look at its log", False),
    ],
)
def test_status_is_named_with_the_next_step(status: int, match: str, is_final: bool) -> None:
    body = json.dumps({"error": {"message": "the key \x1b[31msecret is\n bad"}}).encode()
    error = error_of(Reply(status, body), key="secret")
    assert str(error).startswith(f"status {status}: the key [31m[key] is bad; ")
    assert match in str(error)
    assert error.is_final is is_final


def test_wait_is_that_of_the_server_if_it_is_short() -> None:
    assert error_of(Reply(429, headers={"Retry-After": "7"})).wait_seconds == 7
    assert error_of(Reply(429, headers={"Retry-After": "3600"})).wait_seconds is None
    assert error_of(Reply(429, headers={"Retry-After": "tomorrow"})).wait_seconds is None


def test_redirect_is_not_followed() -> None:
    with large_model(completion("caught")) as other:
        reply = Reply(302, headers={"Location": f"{other.url}/elsewhere"})
        error = error_of(reply, key="secret")
        assert not other.received
    assert "a redirect to http://127.0.0.1" in str(error)
    assert error.is_final


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"<html>hello</html>", "not a chat completion with text: <html>hello</html>"),
        (b"", "not a chat completion"),
        (b"[" * 100_000, "not a chat completion"),
        (b'{"choices": []}', "not a chat completion"),
        (b'{"choices": [{"message": {"content": null}}]}', "not a chat completion"),
        (b" " * (2 * 1024 * 1024), "more than 1 MiB"),
        (b"\xff\xfe\x00", "not a chat completion"),
    ],
)
def test_other_content_is_no_answer(body: bytes, match: str) -> None:
    error = error_of(Reply(body=body))
    assert match in str(error)
    assert len(str(error)) < 500
    assert not error.is_final


def test_slow_server_is_given_up() -> None:
    started = time.monotonic()
    error = error_of(Reply(seconds=1.5), timeout_seconds=0.3)
    assert "no answer within 0.3 s" in str(error)
    assert time.monotonic() - started < 5


def test_host_that_does_not_answer_is_given_up_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never shakes hands
        url = f"https://127.0.0.1:{server.getsockname()[1]}/v1"
        started = time.monotonic()
        with pytest.raises(NoAnswer, match=r"cannot be reached .*timed out") as caught:
            Endpoint(url, "big").answer("?", [])
    assert time.monotonic() - started < 5
    assert caught.value.is_final


def test_closed_port_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    started = time.monotonic()
    with pytest.raises(NoAnswer, match=r"cannot be reached .*refused") as caught:
        Endpoint(url, "big").answer("what?", [])
    assert time.monotonic() - started < 1
    assert caught.value.is_final


def test_broken_connection_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(10)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(NoAnswer, match=r"broke the connection off|cannot be reached"):
            Endpoint(f"http://127.0.0.1:{server.getsockname()[1]}/v1", "big").answer("?", [])
        thread.join()
