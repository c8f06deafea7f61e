"""S3 and SES that answer at once and keep nothing: `python -m tests.bench.stub PORT`.

What is measured against it is Carryout, not a server. It remembers how large an object is, for
those who ask or read it back (spaces).
"""

import asyncio
import re
import sys

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
EXPECT = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
ETAG = b'ETag: "0123456789abcdef0123456789abcdef"\r\n'
UPLOAD = (
    b"<InitiateMultipartUploadResult><UploadId>upload</UploadId></InitiateMultipartUploadResult>"
)
COMPLETE = (
    b"<CompleteMultipartUploadResult><ETag>&quot;0123&quot;</ETag></CompleteMultipartUploadResult>"
)
LIST = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
MAILED = b'{"MessageId":"0100018d3f7e1b2a-00000000-0000-0000-0000-000000000000-000000"}'
MAX_HEAD_BYTES = 65_536


class Stub(asyncio.Protocol):
    """One connection.

    Args:
        sizes: The sizes of all objects, by path; shared by all connections.
    """

    def __init__(self, sizes: dict[bytes, int]) -> None:
        self._sizes = sizes
        self._head = bytearray()
        self._left = 0
        self._request = (b"", b"", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take in a piece of a request: its body is counted, never kept."""
        while data:
            if self._left:
                passed = min(self._left, len(data))
                self._left -= passed
                data = data[passed:]
                if self._left:
                    return
                self._answer()
                continue
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                if len(self._head) > MAX_HEAD_BYTES:
                    self._transport.close()
                return
            head, data = bytes(self._head[: end + 2]), bytes(self._head[end + 4 :])
            self._head.clear()
            self._begin(head)

    def _begin(self, head: bytes) -> None:
        method, target, _ = head.split(b" ", 2)
        length = LENGTH.search(head)
        self._left = int(length[1]) if length else 0
        self._request = (method, target, self._left)
        if EXPECT.search(head):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._left:
            self._answer()

    def _answer(self) -> None:
        method, target, size = self._request
        path, _, query = target.partition(b"?")
        headers, body = b"", b""
        if method == b"PUT":
            headers = ETAG
            before = self._sizes.get(path, 0) if b"partNumber=" in query else 0
            self._sizes[path] = before + size
        elif method == b"POST" and path.endswith(b"/outbound-emails"):
            body = MAILED
        elif method == b"POST":
            body = COMPLETE if b"uploadId=" in query else UPLOAD
            if body is UPLOAD:
                self._sizes[path] = 0
        elif method == b"GET" and path in self._sizes:
            headers, body = ETAG, b" " * self._sizes[path]
        elif method == b"GET":
            body = LIST
        length = self._sizes.get(path, 0) if method == b"HEAD" else len(body)
        head = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (headers, length)
        self._transport.write(head + body)


async def serve(port: int) -> None:
    """Answer until SIGTERM."""
    sizes: dict[bytes, int] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Stub(sizes), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
