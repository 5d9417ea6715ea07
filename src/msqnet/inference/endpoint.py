"""A server of a large model that takes pictures, by OpenAI's chat completions.

The request holds what vLLM, the server of llama.cpp, Ollama, LM Studio and hosted services all
take: a model, and one message of text and JPEGs as ``data:`` URLs. The key comes from an
environment variable of its own, so that no other key goes to an address that was typed.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msqnet import __version__
from msqnet.errors import ConfigError, check
from msqnet.labels import plain_text

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY_VARIABLE = "MSQNET_ASK_KEY"
_EXAMPLE = "http://127.0.0.1:8000/v1"
_PATH = "/chat/completions"
_MAX_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_MAX_LETTERS_SHOWN = 300
_LONGEST_WAIT_SECONDS = 60
_CONNECT_SECONDS = 10.0
# Every further request would end in the same way.
_FINAL_STATUSES = frozenset({401, 403, 404, 405, 429})
_NEXT_STEPS = {
    400: "if it takes fewer pictures, --ask-frames sends fewer",
    401: f"put its key into the environment variable {KEY_VARIABLE}",
    403: f"check what the key in {KEY_VARIABLE} may do",
    404: f"check that it serves this --ask-model, and that --ask is an address such as {_EXAMPLE}",
    413: "--ask-frames sends fewer pictures",
    422: "if it takes fewer pictures, --ask-frames sends fewer",
    429: "run the same command later: answers that are there are kept",
}


class NoAnswer(Exception):  # noqa: N818 - says what happened
    """A request failed; the text says why.

    ``is_final`` if others would fail too, ``wait_seconds`` if the server said when to try again.
    """

    def __init__(self, text: str, *, is_final: bool = False, wait_seconds: int | None = None):
        super().__init__(text)
        self.is_final, self.wait_seconds = is_final, wait_seconds


@dataclass(frozen=True)
class Endpoint:
    """Where questions go.

    Attributes:
        url: such as ``http://127.0.0.1:8000/v1``.
        model: its name there.
        key: empty for none; never shown or stored.
        timeout_seconds: for one answer.

    Raises:
        ConfigError: an address that is none, or that the key must not go to.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout_seconds: float = 300.0

    def __post_init__(self) -> None:
        check(  # first: other errors show the address
            not set(self.url) & set("@?#"),
            f"--ask: expected an address alone, such as {_EXAMPLE}, without a name, a password, ? "
            f"or #; a key goes into the environment variable {KEY_VARIABLE}",
        )
        is_plain = self.url.isascii() and self.url.isprintable() and " " not in self.url
        try:
            parts = urlsplit(self.url)
            is_address = bool(parts.hostname and parts.hostname.encode("idna")) and parts.port != 0
        except ValueError:
            is_address = False
        if not (is_plain and is_address and parts.scheme in ("http", "https")):
            raise ConfigError(f"--ask {self.url!a}: not an address; expected one as {_EXAMPLE}")
        check(bool(self.model.strip()), "--ask-model: name the model that the endpoint is to use")
        check(
            self.key.isascii() and self.key.isprintable() and " " not in self.key,
            f"{KEY_VARIABLE}: not a key: it holds white space or letters that no key has",
        )
        check(
            not self.key or parts.scheme == "https" or self.is_local,
            f"--ask {self.url}: the key in {KEY_VARIABLE} would go over the network unencrypted; "
            "take an https:// address or an SSH tunnel to 127.0.0.1, or unset the variable",
        )
        object.__setattr__(self, "url", self.url.rstrip("/").removesuffix(_PATH))

    @classmethod
    def of_user(cls, url: str, model: str) -> Endpoint:
        """With the key from the environment."""
        return cls(url, model, os.environ.get(KEY_VARIABLE, "").strip())

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        except ValueError:
            return False
        return address.is_loopback or address.is_unspecified  # 0.0.0.0, as servers show theirs

    @property
    def is_encrypted(self) -> bool:
        """Whether nobody on the way can read along."""
        return urlsplit(self.url).scheme == "https"

    def answer(self, text: str, jpegs: Sequence[bytes]) -> str:
        """Send one request, and return the text that the model wrote; `NoAnswer` if it fails."""
        content: list[dict[str, Any]] = [{"type": "text", "text": text}]
        for jpeg in jpegs:
            url = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
            content.append({"type": "image_url", "image_url": {"url": url}})
        body = {"model": self.model, "messages": [{"role": "user", "content": content}]}
        try:
            return self._without_key(_written(self._post(json.dumps(body).encode("ascii"))))
        except NoAnswer as error:
            error.args = (self._without_key(str(error)),)
            raise

    def _without_key(self, text: str) -> str:
        """A server may repeat the key, and what it says is shown and stored."""
        return text.replace(self.key, "[key]") if self.key else text

    def _post(self, body: bytes) -> bytes:
        # Some hosts refuse Python's own name.
        headers = {"Content-Type": "application/json", "User-Agent": f"msqnet/{__version__}"}
        headers |= {"Authorization": f"Bearer {self.key}"} if self.key else {}
        request = urllib.request.Request(self.url + _PATH, body, headers, method="POST")
        # What stays on this machine must not go by way of a proxy.
        direct = [urllib.request.ProxyHandler({})] if self.is_local else []
        opener = urllib.request.build_opener(_NoRedirects, _Plain, _Encrypted, *direct)
        deadline = time.monotonic() + self.timeout_seconds
        late = f"no answer within {self.timeout_seconds:g} s; --ask-frames sends fewer pictures"
        try:
            with opener.open(request, timeout=self.timeout_seconds) as response:
                return _content(response, deadline)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error, deadline) from error
        except TimeoutError as error:
            raise NoAnswer(late) from error
        except urllib.error.URLError as error:
            why = f"cannot be reached ({error.reason}); check the address, and that it runs"
            raise NoAnswer(why, is_final=True) from error
        except (OSError, http.client.HTTPException) as error:
            why = f"broke the connection off ({type(error).__name__}); look at its log"
            raise NoAnswer(why) from error

    def _refusal(self, error: urllib.error.HTTPError, deadline: float) -> NoAnswer:
        """What a status other than 200 says."""
        status = error.code
        if 300 <= status < 400:
            where = _shown(str(error.headers.get("Location", "nowhere")))
            why = f"status {status}, a redirect to {where}, which is not followed; name the address"
            return NoAnswer(f"{why} itself", is_final=True)
        try:
            told = _message(_content(error, deadline))
        except (NoAnswer, OSError, http.client.HTTPException):
            told = ""
        after = str(error.headers.get("Retry-After", ""))
        wait = int(after) if status == 429 and after.isascii() and after.isdigit() else None
        step = _NEXT_STEPS.get(status, "look at its log")
        return NoAnswer(
            f"status {status}{': ' * bool(told)}{_shown(told)}; {step}",
            is_final=status in _FINAL_STATUSES,
            wait_seconds=wait if wait is not None and wait <= _LONGEST_WAIT_SECONDS else None,
        )


class _QuickConnect:
    """Gives up a host that does not answer long before a model that thinks."""

    timeout: Any
    sock: Any

    def connect(self) -> None:
        whole, self.timeout = self.timeout, min(self.timeout, _CONNECT_SECONDS)
        super().connect()  # type: ignore[misc]
        self.sock.settimeout(whole)


class _Connection(_QuickConnect, http.client.HTTPConnection):
    pass


class _EncryptedConnection(_QuickConnect, http.client.HTTPSConnection):
    pass


class _Plain(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_Connection, request)


class _Encrypted(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_EncryptedConnection, request)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Pictures and the key go to the address that was named and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _content(response: Any, deadline: float) -> bytes:
    content = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        content += chunk
        if len(content) > _MAX_BYTES:
            raise NoAnswer(f"answered with more than {_MAX_BYTES // 1024**2} MiB; look at its log")
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(content)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _message(content: bytes) -> str:
    """The words of an error response, in the forms that servers have for it."""
    found = _parsed(content)
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    return found if isinstance(found, str) else content.decode("utf-8", "replace")


def _written(content: bytes) -> str:
    """The text of the first choice of a response."""
    try:
        found = _parsed(content)["choices"][0]["message"]["content"]
        if isinstance(found, list):  # in parts
            found = "".join(part["text"] for part in found)
    except (KeyError, IndexError, TypeError):
        found = None
    if not isinstance(found, str):
        why = f"not a chat completion with text: {_shown(content.decode('utf-8', 'replace'))}"
        raise NoAnswer(f"{why}; check that --ask is an address such as {_EXAMPLE}")
    return found


def _shown(text: str) -> str:
    """A part of what a server wrote, without signs that control terminals."""
    return one_line(text, _MAX_LETTERS_SHOWN)


def one_line(text: str, max_letters: int) -> str:
    """Text in one line, of letters that can be shown, cut where it is too long."""
    line = plain_text("".join(sign if sign.isprintable() else " " for sign in text))
    return line if len(line) <= max_letters else line[: max_letters - 3] + "..."
