"""HTTP requests as they come off a socket: uvicorn's protocol over httptools, with a bound on what precedes a body.

Lives here: that bound. Not here: answers (dcim.app.api), bounds on bodies (the app's own)."""

from __future__ import annotations

from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX: Final = 65_536
"""Of a request's line and headers together, counted from the second piece that they come in. httptools has no bound of
its own and keeps all of it until the head is over: one client could take all memory."""


class Requests(HttpToolsProtocol):
    """One connection. Whoever sends a longer head is told so with 400, and the connection is over."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._head = False
        """Whether a request has begun whose head is not over."""
        self._bytes = 0
        """Of that head, without its first piece, in which the request before may end; a piece is bounded itself."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head, self._bytes = True, 0

    def on_headers_complete(self) -> None:
        """Its head is over."""
        self._head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """A piece of whatever length."""
        self._bytes += len(data)
        super().data_received(data)
        if self._head and self._bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self.send_400_response(f"Line and headers of a request are {HEAD_BYTES_MAX} bytes at most.")
