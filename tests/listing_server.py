"""A server on loopback that lists the keys of one bucket as some servers of objects do, and can do nothing else.

with running_listing(keys, mode="token beyond", page=5) as server:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
"""

import contextlib
import http.server
import threading
import urllib.parse
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

MODES = ("sound", "token beyond", "v1", "unordered", "lost")
"""How it lists.

- sound: as Amazon does.
- token beyond: after a StartAfter that is no key, the token of the page leads behind the first key of the next page.
- v1: it knows ListObjects V1 only: neither StartAfter nor tokens.
- unordered: the keys of a page come in the wrong order.
- lost: it says that there are more keys, and gives neither keys nor a token.
"""
BUCKET = "listed"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-central-1"}


class ListingServer(http.server.ThreadingHTTPServer):
    """The server, and how many pages it was asked for."""

    daemon_threads = True

    def __init__(self, keys: Sequence[str], mode: str, page: int) -> None:
        """Listen."""
        super().__init__(("127.0.0.1", 0), _Answer)
        assert mode in MODES
        self.keys, self.mode, self.page, self.requests = sorted(keys), mode, page, 0

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def listing(self, asked: dict[str, str]) -> str:
        """Answer a request in XML."""
        self.requests += 1
        after = asked.get("marker", "")
        if self.mode != "v1":
            after = asked.get("continuation-token") or asked.get("start-after", "")
        rest = [key for key in self.keys if key > after and key.startswith(asked.get("prefix", ""))]
        page, token = rest[: self.page], ""
        if len(rest) > len(page) and self.mode not in ("v1", "lost"):
            skips = self.mode == "token beyond" and asked.get("start-after", "") not in ("", *self.keys)
            token = rest[len(page)] if skips and "continuation-token" not in asked else page[-1]
        if self.mode == "unordered":
            page.reverse()
        if self.mode == "lost":
            page = []
        truncated = str(len(rest) > len(page)).lower()
        return "".join(
            (
                f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated><EncodingType>url</EncodingType>",
                f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else "",
                *(
                    f"<Contents><Key>{urllib.parse.quote(key)}</Key><Size>{len(key)}</Size><ETag>v</ETag></Contents>"
                    for key in page
                ),
                "</ListBucketResult>",
            )
        )


class _Answer(http.server.BaseHTTPRequestHandler):
    server: ListingServer

    def do_GET(self) -> None:
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query, keep_blank_values=True))
        body = self.server.listing(asked).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def running_listing(keys: Sequence[str], mode: str, page: int) -> Iterator[ListingServer]:
    """Serve until the block ends."""
    with ListingServer(keys, mode, page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
