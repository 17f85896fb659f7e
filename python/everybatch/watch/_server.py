"""The server behind the page: a few fixed addresses, and nothing is ever looked up by a path that a request names."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import socket
import sys
import threading
import traceback
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from everybatch._core import __version__
from everybatch.watch._asked import Asked
from everybatch.watch._guard import Guard
from everybatch.watch._watch import Watch

__all__ = ["PORT", "Server"]

PORT = 6464
"""Where the page is, unless that port is taken."""
_MOST_CONNECTIONS = 32
_MOST_ASKED = 1 << 16
"""Bytes of a question."""
_SILENCE = 30.0
"""Seconds after which a connection that says nothing is closed."""
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/chart.js": ("chart.js", "text/javascript; charset=utf-8"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
}
_HEADERS = {
    # Nothing from elsewhere, nothing inline, and nobody may frame the page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TOO_MANY = b"too many connections are open: close some pages\n"
_REFUSED = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_TOO_MANY), _TOO_MANY)
)

_logger = logging.getLogger("everybatch.watch")


class Server(ThreadingHTTPServer):
    """Serves the page about a folder.

    Parameters
    ----------
    watch
        What is below the folder.
    host
        The address to be bound to.
    port
        Where; None: `PORT`, or any free one if that is taken. 0: any free one.

    Raises
    ------
    OSError
        The address is not one of this machine, or the port is taken.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, watch: Watch, host: str = "127.0.0.1", port: int | None = None) -> None:
        self.watch, self.guard = watch, Guard(host)
        self._given_host = host
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, PORT if port is None else port), Handler)
        except OSError as error:
            if port is not None or error.errno != errno.EADDRINUSE:
                raise
            super().__init__((host, 0), Handler)

    @property
    def url(self) -> str:
        """The address of the page, with the token if it takes one."""
        host = self._given_host
        if host in ("0.0.0.0", "::"):
            host = _own_address(self.address_family) or host
        host = f"[{host}]" if ":" in host else host
        token = "" if self.guard.token is None else f"?token={self.guard.token}"
        return f"http://{host}:{self.server_port}/{token}"

    def server_bind(self) -> None:
        """Bind without asking a name server for the machine's name, which may take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self._given_host, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, if there are not too many."""
        if not self._free.acquire(blocking=False):
            with contextlib.suppress(OSError):  # it is not waited for
                request.setblocking(False)
                request.send(_REFUSED)
                request.recv(_MOST_ASKED)  # what is not read when it is closed would take the answer away
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for others."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - given by socketserver
        """Say nothing of a browser that went away."""
        _logger.debug("a connection ended with %r", sys.exception())


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE

    def do_GET(self) -> None:
        """Answer with a file of the page, or with the list of runs."""
        self._guarded({**dict.fromkeys(_FILES, self._file), "/api/runs": self._runs})

    def do_HEAD(self) -> None:
        """Answer as GET does, without what `_send` would send."""
        self.do_GET()

    def do_POST(self) -> None:
        """Answer with curves."""
        self._guarded({"/api/curves": self._curves})

    def _guarded(self, answers: dict[str, Any]) -> None:
        try:
            asked = urlsplit(self.path)
            bare = asked.path == "/" and self.command != "POST"
            refusal = self.server.guard.refusal(self.headers, bare=bare)
            if refusal is not None:
                self._say(HTTPStatus.FORBIDDEN, refusal)
            elif not self.server.guard.opens(asked.query, self.headers.get("Cookie", ""), self.server.server_port):
                self._say(HTTPStatus.FORBIDDEN, "open the address with ?token= that everybatch watch has printed")
            elif asked.path == "/" and self.server.guard.token is not None and asked.query:
                self._keep_token()
            elif asked.path in answers:
                answers[asked.path](asked.path)
            else:
                self._say(HTTPStatus.NOT_FOUND, "there is nothing at this address")
        except (ConnectionError, TimeoutError):
            raise
        except ValueError as error:  # a path, or a question, that is none
            self._say(HTTPStatus.BAD_REQUEST, str(error))
        except Exception:
            _logger.debug("an answer failed: %s", traceback.format_exc())
            self._say(HTTPStatus.INTERNAL_SERVER_ERROR, "the answer failed; everybatch watch --debug tells why")

    def _file(self, path: str) -> None:
        name, kind = _FILES[path]
        self._send(HTTPStatus.OK, kind, resources.files(__package__).joinpath("static", name).read_bytes())

    def _runs(self, _: str) -> None:
        told = json.dumps(self.server.watch.overview(), allow_nan=False)
        self._send(HTTPStatus.OK, "application/json", told.encode())

    def _curves(self, _: str) -> None:
        if self.headers.get_content_type() != "application/json":  # which no form of another page can send
            raise ValueError("a question is JSON")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _MOST_ASKED:
            raise ValueError("a question says how long it is, and is not long")
        asked = Asked.read(self.rfile.read(int(length)))
        self._send(HTTPStatus.OK, "application/octet-stream", self.server.watch.curves(asked))

    def _keep_token(self) -> None:
        """Turn the token into a cookie, so that it does not stay in the address.

        Lax, so that the page has it that a link elsewhere led to; `Guard` refuses what else comes from there.
        """
        name = self.server.guard.cookie(self.server.server_port)
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", "/")
        self.send_header("Set-Cookie", f"{name}={self.server.guard.token}; Path=/; HttpOnly; SameSite=Lax")
        self.send_header("Content-Length", "0")
        self._end()

    def _say(self, status: HTTPStatus, sentence: str) -> None:
        self.close_connection = True  # what follows of a request that was not read is none
        self._send(status, "text/plain; charset=utf-8", f"{sentence}\n".encode("utf-8", "replace"))

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self._end()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _end(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Say what is wrong with a request that is none."""
        with contextlib.suppress(ValueError):
            self._say(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def version_string(self) -> str:
        """Return who answers."""
        return f"everybatch/{__version__}"

    def log_message(self, *_: Any) -> None:
        """Keep quiet: a page asks every second."""


def _own_address(family: int) -> str | None:
    """Return the address of this machine that others would use. Nothing is sent for it."""
    target = ("2001:db8::1", 9) if family == socket.AF_INET6 else ("192.0.2.1", 9)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError:
        return None
