"""The REST client of a person: HTTPS to one pinned authority, problem documents turned back into the error tree.

It trusts no system store: the server must chain to the certificate file given at login, under the host name of its
address. It follows no redirect and sends nothing but what the caller gave.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from core import errors
from core.errors import CodeUsed, Error, Malformed, RateLimited, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where Yumen is, what proves that it is Yumen, and how the caller shows himself."""

    #: Such as `https://localhost:8443`.
    url: str
    #: PEM file with the root that the server's certificate must chain to.
    ca_file: Path
    #: Session token (`ys_…`) or API key (`yk_…`); empty before login.
    token: str = ""
    #: PEM files of a client certificate (leaf first) and its key.
    cert_file: Path | None = None
    key_file: Path | None = None


class Api:
    """Calls of one caller on one server. Use as a context manager; safe for one thread."""

    def __init__(self, server: Server, *, timeout_seconds: float = 20.0) -> None:
        """Prepare the connection; nothing is sent yet.

        Raises:
            Unavailable: the authority's file or the client certificate cannot be read.
        """
        self.server = server
        headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
        self._http = httpx.Client(
            base_url=server.url, verify=_context(server), headers=headers, timeout=timeout_seconds, trust_env=False, follow_redirects=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int | None) -> Any:
        """The parsed JSON of a GET; parameters that are `None` are left out."""
        return self._json(self.send("GET", path, query=query))

    def text(self, path: str, accept: str = "text/plain") -> str:
        """The text of a GET in the media type `accept`."""
        return self.send("GET", path, accept=accept).text

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The parsed JSON of a POST of `body`, or of nothing; `None` for an empty answer."""
        return self._json(self.send("POST", path, body=body))

    def download(self, path: str, body: Mapping[str, Any]) -> bytes:
        """The bytes that a POST of `body` answers with."""
        return self.send("POST", path, body=body, accept="*/*").content

    def delete(self, path: str) -> None:
        """A DELETE; its answer is of no interest."""
        self.send("DELETE", path)

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str | int | None] | None = None,
        accept: str = "application/json",
    ) -> httpx.Response:
        """Send one request and give its successful answer.

        Raises:
            Error: the member of the tree that the problem document names; `Unavailable` when no answer came.
        """
        params = {name: value for name, value in (query or {}).items() if value is not None}
        headers = {"Accept": accept} | ({"Content-Type": "application/json"} if method != "GET" else {})
        content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        try:
            answer = self._http.request(method, path, content=content, params=params, headers=headers)
        except httpx.HTTPError as error:
            raise Unavailable(
                "no answer from `{url}`: {reason}; see that the service runs there",
                url=str(self._http.base_url),
                reason=str(error) or type(error).__name__,
            ) from error
        if answer.status_code >= 300:
            raise _error(answer)
        return answer

    def _json(self, answer: httpx.Response) -> Any:
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise Unavailable(
                "the server answered with something else than JSON; is `{url}` a Yumen?", url=str(self._http.base_url)
            ) from error


def _context(server: Server) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(server.ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if server.cert_file:
            context.load_cert_chain(str(server.cert_file), str(server.key_file) if server.key_file else None)
    except OSError as error:
        raise Unavailable(
            "the certificate files cannot be read: {reason}; name them with --ca-file, --cert and --key", reason=str(error)
        ) from error
    return context


#: The error of each code. Only those of the tree itself: other rooms refine some of them under the same code.
_KINDS: Mapping[str, type[Error]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Error)
}


def _error(answer: httpx.Response) -> Error:
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    problem = problem if isinstance(problem, dict) else {}
    detail = str(problem.get("detail") or problem.get("title") or f"the server answered {answer.status_code}")
    kind = _KINDS.get(
        str(problem.get("code")), Malformed if answer.status_code == 400 else Unavailable if answer.status_code >= 500 else Error
    )
    if issubclass(kind, RateLimited):
        wait = answer.headers.get("retry-after", "")
        kind = kind if kind is CodeUsed else RateLimited
        return kind(detail, retry_after_seconds=int(wait) if wait.isascii() and wait.isdigit() else 30)
    error = kind(detail)
    error.facts = {key: value for key, value in problem.items() if key not in {"type", "title", "status", "detail"}}
    return error
