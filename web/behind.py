"""The listener behind nginx: granian on a unix socket, in this process.

Requests that wait for nothing but the trail are answered by few threads of granian's, without waiting: the trail's own
thread sends the answer when the event is written. Everything else is answered by as many threads as `web.threads`.

Who may connect to the socket is believed in two fields: `Client-Cert` is the certificate that the client proved to our
proxy's TLS, `X-Real-IP` its address. Both leave the environ, which is made anew from what the request says: granian's own
holds every environment variable of the process, of which one called `HTTP_…` would pass for a field.
"""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from granian._futures import _new_cbscheduler
from granian._granian import UnixListenerSpec, WorkerSignal, WSGIWorker
from granian.http import HTTP1Settings

from core.errors import Malformed
from ops.claims import Claim
from web import compose, handover, problems
from web.answers import LATER

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from ops.node import Node

#: Connections that may wait to be accepted, and those that are served at one time; nginx keeps fewer open.
BACKLOG, MAX_CONNECTIONS = 1024, 512
#: Threads in which granian calls us. They share one interpreter: more would only get in each other's way.
QUICK_THREADS = 2
#: Seconds for the head of a request. Bodies come whole: nginx gathers them first.
HEAD_SECONDS = 10
#: Bytes of a request's head, roughly: granian reads in blocks.
MAX_HEAD_BYTES = 65_536
#: Largest body that is read only to be refused: more than nginx lets through.
MAX_UNREAD_BYTES = 2_097_152
#: Seconds for which answers close their connections before the end: what nginx sends into one that is closed, it may not repeat.
DRAIN_SECONDS = 1.0
#: Seconds that requests which were begun may take at the end.
STOP_SECONDS = 15.0

#: What of granian's scope is passed on beside the fields.
_OF_THE_REQUEST = frozenset({"REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "CONTENT_LENGTH"})
#: What every environ holds, until the request says otherwise.
_ALWAYS: dict[str, Any] = {
    "SCRIPT_NAME": "",
    "SERVER_NAME": "yumen",
    "SERVER_PORT": "443",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "https",
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "yumen.peer_certificate": None,
    "yumen.oversize": False,
}
#: Fields that can hold no comma: with one they were sent twice.
_ONCE = ("HTTP_HOST", "HTTP_AUTHORIZATION", "HTTP_ORIGIN", "CONTENT_LENGTH", "HTTP_X_ORIGINAL_METHOD")
#: What granian's worker is told of TLS and of measuring: there is none.
_NO_TLS: tuple[object, ...] = (False, None, None, None, "tls1.3", None, [], False)
_NO_METRICS = (None, None)

log = structlog.get_logger()


#: Whether the request of an environ waits for nothing but the trail.
Quick = Callable[[Mapping[str, Any]], bool]


class SocketListener:
    """One unix socket that Yumen listens on."""

    def __init__(self, path: Path, app: WSGIApplication, *, threads: int, max_body_bytes: int, quick: Quick = lambda _: False) -> None:
        self._path, self._app, self._max_body_bytes, self._quick = path, app, max_body_bytes, quick
        self._claim = Claim(path.with_name(path.name + ".lock"))
        self._signal, self._ended = WorkerSignal(), threading.Event()
        self._signal.add_cb(self._ended.set)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._aside = ThreadPoolExecutor(threads, "web")
        self._closing = threading.Event()

    def start(self) -> None:
        """Take the path, replacing the socket of a process that is gone, and serve in threads of granian's.

        Raises:
            OSError: another process listens there, or the path cannot be had.
        """
        held = self._take()
        self._loop = asyncio.new_event_loop()  # granian asks for one, and runs nothing in it
        settings = HTTP1Settings(header_read_timeout=HEAD_SECONDS * 1000, max_buffer_size=MAX_HEAD_BYTES)
        numbers = (1, 512, QUICK_THREADS, 30, MAX_CONNECTIONS)  # of threads that speak HTTP and that run Python, idle seconds, connections
        make, schedule = _untyped(WSGIWorker), _untyped(_new_cbscheduler)
        worker = make(1, (None, held), None, *numbers, "1", settings, None, None, *_NO_TLS, _NO_METRICS)
        worker.serve_mtr_uds(schedule(self._loop, self.answer, impl_asyncio=True), self._loop, self._signal)

    def _take(self) -> Any:
        if not self._claim.take():
            raise OSError(f"another process listens on {self._path}")
        try:
            if self._path.is_socket():
                self._path.unlink()
            return UnixListenerSpec(str(self._path), BACKLOG, 0o660).build()
        except (OSError, RuntimeError) as error:
            self._claim.release()
            raise OSError(f"{self._path}: {str(error).splitlines()[0]}") from error

    def stop(self) -> None:
        """Let nobody connect any more, finish the requests that were begun, and leave no socket behind."""
        if self._loop is None:
            return
        self._path.unlink(missing_ok=True)
        self._closing.set()
        time.sleep(DRAIN_SECONDS)
        self._signal.set()
        if not self._ended.wait(STOP_SECONDS):
            log.warning("requests were still under way at the end", seconds=STOP_SECONDS)
        self._aside.shutdown(wait=False)
        self._loop.close()
        self._claim.release()

    def answer(self, proto: Any, scope: Mapping[str, Any]) -> int:
        """Let the application answer one request; granian calls this in one of its threads, and `proto` takes the answer."""
        reply = _Reply(proto, self._aside, self._closing)
        reply.finish(lambda: self._begin(scope, reply))
        return 0

    def _begin(self, scope: Mapping[str, Any], reply: _Reply) -> Iterable[bytes]:
        environ = environ_of(scope, self._max_body_bytes)  # here: granian lets go of the body when its thread returns
        if self._quick(environ):
            environ["yumen.later"] = reply
            return self._app(environ, reply)
        reply.finish_aside(lambda: self._app(environ, reply))
        return LATER


class _Reply:
    """One answer under way: WSGI's `start_response`, and `web.answers.Later`."""

    def __init__(self, proto: Any, aside: ThreadPoolExecutor, closing: threading.Event) -> None:
        self._proto, self._aside, self._closing = proto, aside, closing
        self._status = 500
        self._fields: list[tuple[str, str]] = []

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        self._status, self._fields = int(status[:3]), headers

    def finish(self, answer: Callable[[], Iterable[bytes]], /) -> None:
        """Send what `answer` gives, called here and now."""
        try:
            parts = answer()
            if parts is LATER:
                return
            try:
                body = b"".join(parts)
            finally:
                getattr(parts, "close", bool)()
        except Exception:  # one client's bad luck, answered and logged, must not end the thread
            log.exception("request failed")
            body = problems.document("internal", "something went wrong inside; the operator's log has the reason")
            self("500 Internal Server Error", [("Content-Type", problems.MEDIA_TYPE), ("Cache-Control", "no-store")])
        fields = [*self._fields, ("Connection", "close")] if self._closing.is_set() else self._fields
        self._proto.response_bytes(self._status, fields, body)

    def finish_aside(self, answer: Callable[[], Iterable[bytes]], /) -> None:
        """The same in another thread, which may wait."""
        self._aside.submit(self.finish, answer)


def _untyped(found: Any) -> Any:
    """`found` without its hints: those of granian are of an older version of it."""
    return found


def serve(node: Node) -> SocketListener:
    """The listener of `node` on the socket that the settings name. Call `start` on what this gives."""
    web = node.settings.web
    front = compose.portal(node)
    return SocketListener(web.socket, front, threads=web.threads, max_body_bytes=web.max_body_bytes, quick=front.is_quick)


def environ_of(scope: Mapping[str, Any], max_body_bytes: int) -> dict[str, Any]:
    """The WSGI environ of the request that granian describes, with what our proxy says of the client.

    What may not be believed or passed on stands under `yumen.refusal`, for the door to refuse and record.
    """
    environ = _ALWAYS | {name: value for name, value in scope.items() if name.startswith("HTTP_") or name in _OF_THE_REQUEST}
    own, address = environ.pop("HTTP_CLIENT_CERT", None), environ.pop("HTTP_X_REAL_IP", None)
    environ.pop("HTTP_EXPECT", None)
    environ["wsgi.errors"], environ["wsgi.input"] = sys.stderr, io.BytesIO()
    try:
        if address is not None:
            environ["REMOTE_ADDR"] = handover.address(address)
        if own is not None:
            environ["yumen.peer_certificate"] = handover.certificate(own)
        _require_one_meaning(environ)
        _take_body(environ, scope["wsgi.input"], max_body_bytes)
    except Malformed as error:
        environ["yumen.refusal"] = error
    return environ


def _require_one_meaning(environ: Mapping[str, Any]) -> None:
    """Refuse what two servers in a row could understand in two ways: RFC 9112 sections 3.2 and 6.3, RFC 3986 section 6.2.2.3."""
    path = environ["PATH_INFO"]
    if not path.startswith("/") or ("." in path and {".", ".."} & set(path.replace("\\", "/").split("/"))):
        raise Malformed("the address has dot segments or is none; write it as it is meant", reason="path")
    if "HTTP_TRANSFER_ENCODING" in environ:
        raise Malformed("send the body with a Content-Length", reason="transfer-encoding")
    if not environ.get("HTTP_HOST") or "," in "".join([environ[name] for name in _ONCE if name in environ]):
        raise Malformed("a header field is given twice, or Host is missing", reason="header-field")


def _take_body(environ: dict[str, Any], stream: Any, max_body_bytes: int) -> None:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > max_body_bytes:
        if length <= MAX_UNREAD_BYTES:
            stream.read(length)  # nginx sends it all before it listens, and would take the end of the connection for a failure
        environ["yumen.oversize"], environ["CONTENT_LENGTH"] = True, "0"
        return
    body = stream.read(length) if length else b""
    if len(body) != length:
        raise Malformed("the body is shorter than it was said to be", reason="body")
    environ["wsgi.input"] = io.BytesIO(body)
