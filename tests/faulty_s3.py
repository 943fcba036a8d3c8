"""A proxy on loopback that stands before the S3 server of the tests and makes requests go wrong.

It is a real HTTP server: what it breaks is broken on the wire, for boto3, Arrow and child processes alike. The Host
header and the path are handed on as they were signed, so that the server behind it still checks signatures.

    with running_proxy(s3_server.endpoint, rate=0.1, seed=1) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        ...
        assert proxy.injected["corrupt"]
"""

import contextlib
import http.client
import http.server
import random
import socket
import struct
import threading
import time
import urllib.parse
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

FAULTS = ("error", "busy", "reset", "lost", "reset-body", "stall", "truncate", "corrupt")
"""What can happen to a request.

- error, busy: 500 InternalError and 503 SlowDown; the server never sees the request.
- reset: the connection is reset before the server sees the request.
- lost: the server does what it was asked to, and the connection is reset instead of the answer.
- reset-body: the connection is reset in the middle of the answer's body; of the request's, if that has one.
- stall: nothing comes for `stall_seconds`; in the middle of the answer's body, if it has one.
- truncate: half the body under the full Content-Length, then the end; for a write it is the server that is cut off.
- corrupt: one byte of an object's body is another, in either direction. Only objects: listings have no checksum in the
  protocol, so that nobody could tell.
"""

MODES = ("", "deny", "deny-writes", "expired", "full", "cold", "gone")
"""What all requests are answered with: 403 AccessDenied (or only writes are), 400 ExpiredToken, 507 to writes, or, to
reads, 403 InvalidObjectState as of an object in cold storage; 404 NoSuchUpload. In a script they answer one request."""

_ANSWERS = {
    "error": (500, "InternalError", "We encountered an internal error. Please try again."),
    "busy": (503, "SlowDown", "Please reduce your request rate."),
    "deny": (403, "AccessDenied", "Access Denied"),
    "deny-writes": (403, "AccessDenied", "Access Denied"),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "full": (507, "InsufficientStorage", "There is no space left."),
    "gone": (404, "NoSuchUpload", "The specified multipart upload does not exist."),
    "cold": (403, "InvalidObjectState", "The operation is not valid for the object's storage class"),
}
_OF_ONE_CONNECTION = {"connection", "keep-alive", "expect", "transfer-encoding"}


@dataclass(frozen=True)
class Request:
    """A request as the proxy saw it."""

    method: str
    path: str
    headers: dict[str, str]
    """With names in small letters."""

    @property
    def key(self) -> str:
        """The object's key, as the path spells it; empty if it is about a bucket. For path-style requests."""
        return urllib.parse.urlsplit(self.path).path.lstrip("/").partition("/")[2]


@dataclass
class FaultyProxy:
    """What the proxy does, which may be changed at any time, and what it has done."""

    endpoint: str
    rate: float
    faults: Sequence[str]
    stall_seconds: float
    latency: float
    mode: str = ""
    """One of MODES."""
    methods: tuple[str, ...] = ("GET", "HEAD", "PUT", "POST", "DELETE")
    """The requests that faults are for; the others pass."""
    script: deque[str] = field(default_factory=deque)
    """Faults for the next requests of `methods`, whatever the rate; an empty string lets one pass."""
    injected: Counter[str] = field(default_factory=Counter)
    """How often each fault and mode came to pass."""
    requests: deque[Request] = field(default_factory=lambda: deque(maxlen=10_000))
    """The last requests, oldest first."""
    generator: random.Random = field(default_factory=random.Random)
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    creating: threading.Lock = field(default_factory=threading.Lock)
    """Held during a conditional write. Swift looks whether there is an object long before it writes one; one at a time
    they are as atomic as Amazon's."""

    def draw(self, request: Request) -> str:
        """Say what is to happen to a request: a fault, a mode, or nothing."""
        with self.lock:
            self.requests.append(request)
            refused = {"deny-writes": _WRITES, "full": _WRITES, "cold": ("GET", "HEAD")}.get(self.mode, self.methods)
            if self.mode and request.method in refused:
                return self.mode
            if request.method not in self.methods:
                return ""
            if self.script:
                return self.script.popleft()
            return self.generator.choice(self.faults) if self.generator.random() < self.rate else ""

    def count(self, what: str) -> None:
        """Note that a fault came to pass."""
        with self.lock:
            self.injected[what] += 1


_WRITES = ("PUT", "POST", "DELETE")


@contextlib.contextmanager
def running_proxy(
    upstream: str,
    *,
    rate: float = 0.0,
    seed: int = 0,
    faults: Sequence[str] = FAULTS,
    stall_seconds: float = 2.0,
    latency: float = 0.0,
) -> Iterator[FaultyProxy]:
    """Serve on a free port of loopback until the block ends.

    Args:
        upstream: the endpoint of the server behind it.
        rate: the share of requests that go wrong, each in one way drawn from `faults`.
        seed: of the draws. Which request gets which draw depends on the order in which threads send them.
        faults: some of FAULTS.
        stall_seconds: how long a stalled connection is silent; to be longer than the client's read timeout.
        latency: seconds added to every request.
    """
    unknown = set(faults) - set(FAULTS)
    assert not unknown, f"no such faults: {unknown}"
    proxy = FaultyProxy("", rate, faults, stall_seconds, latency, generator=random.Random(seed))
    address = urllib.parse.urlsplit(upstream)

    class Handler(_Handler):
        state = proxy
        server_behind = (address.hostname, address.port)

    with _Server(("127.0.0.1", 0), Handler) as server:
        proxy.endpoint = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        serving.start()
        try:
            yield proxy
        finally:
            proxy.over.set()
            server.shutdown()
            serving.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # clients keep connections open
    request_queue_size = 256

    def handle_error(self, *_arguments) -> None:
        """Say nothing: connections that break are what it is for."""


class _BrokenError(Exception):
    """The connection to the client is to end here."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """One client connection, with a connection to the server behind of its own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body of an answer in one packet
    state: FaultyProxy
    server_behind: tuple[str, int]
    _behind: http.client.HTTPConnection | None = None

    def handle_expect_100(self) -> bool:
        """Let the client send its body, at once: it would wait a second."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def _handle(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers)
        fault = self.state.draw(request)
        if self.state.latency:
            time.sleep(self.state.latency)
        try:
            self._forward(request, fault)
        except (_BrokenError, OSError, http.client.HTTPException):
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815  (the names that http.server looks for)

    def _forward(self, request: Request, fault: str) -> None:
        sends_object = request.method == "PUT" and bool(request.key)
        if fault == "reset-body" and request.method in ("PUT", "POST"):
            self._count(fault)
            self.rfile.read(int(request.headers.get("content-length", 0)) // 2)
            self._reset()
        body = self._body(request)
        if fault in _ANSWERS:
            self._count(fault)
            return self._refuse(fault)
        if fault == "reset":
            self._count(fault)
            self._reset()
        if fault == "truncate" and body:
            self._count(fault)
            self._cut_off_server(request, body)
            self._reset()
        if fault == "corrupt" and sends_object and body:
            self._count(fault)
            body = self._flip(body)
        with self.state.creating if "if-none-match" in request.headers else contextlib.nullcontext():
            answer, content = self._ask(request, body)
        if fault == "lost":
            self._count(fault)
            self._reset()
        if fault == "stall" and not (request.method == "GET" and content):
            self._count(fault)
            self._stall()
        if fault == "corrupt" and request.method == "GET" and request.key and answer.status == 200 and content:
            self._count(fault)
            content = self._flip(content)
        self._begin_answer(request, answer, len(content))
        if fault in ("truncate", "reset-body", "stall") and request.method == "GET" and content:
            self._count(fault)
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            if fault == "stall":
                self._stall()
            if fault == "reset-body":
                self._reset()
            raise _BrokenError
        self.wfile.write(content)

    def _body(self, request: Request) -> bytes:
        """Read the request's body; chunked ones too, as Arrow may send."""
        if request.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(request.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _ask(self, request: Request, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """Send the request on and read the whole answer. A kept connection may have ended meanwhile: then once more."""
        for last in (self._behind is None, True):
            try:
                if self._behind is None:
                    self._behind = http.client.HTTPConnection(*self.server_behind, timeout=60)
                self._send(self._behind, request, body)
                answer = self._behind.getresponse()
                content = answer.read()
                if answer.will_close:
                    self._behind = None
                return answer, content
            except (OSError, http.client.HTTPException):
                self._behind = None
                if last:
                    raise
        raise AssertionError("not reached")

    def _send(self, behind: http.client.HTTPConnection, request: Request, body: bytes, part: int | None = None) -> None:
        behind.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _OF_ONE_CONNECTION | {"content-length"}:
                behind.putheader(name, value)
        if body or request.method in ("PUT", "POST"):
            behind.putheader("Content-Length", str(len(body)))
        behind.endheaders(body[:part])

    def _cut_off_server(self, request: Request, body: bytes) -> None:
        with contextlib.closing(http.client.HTTPConnection(*self.server_behind, timeout=60)) as behind:
            self._send(behind, request, body, part=len(body) // 2)

    def _begin_answer(self, request: Request, answer: http.client.HTTPResponse, size: int) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.headers.items():
            if name.lower() not in _OF_ONE_CONNECTION | {"content-length"}:
                self.send_header(name, value)
        if request.method == "HEAD":
            self.send_header("Content-Length", answer.headers.get("Content-Length", "0"))
        elif answer.status != 204:
            self.send_header("Content-Length", str(size))
        self.end_headers()

    def _refuse(self, why: str) -> None:
        status, code, message = _ANSWERS[why]
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()
        if self.command == "HEAD":
            body = b""
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _count(self, what: str) -> None:
        self.state.count(what)

    def _flip(self, body: bytes) -> bytes:
        with self.state.lock:
            position = self.state.generator.randrange(len(body))
        return body[:position] + bytes([body[position] ^ 0x10]) + body[position + 1 :]

    def _stall(self) -> None:
        self.state.over.wait(self.state.stall_seconds)
        raise _BrokenError

    def _reset(self) -> None:
        """End the connection with RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise _BrokenError

    def log_message(self, *_arguments) -> None:
        """Say nothing."""
