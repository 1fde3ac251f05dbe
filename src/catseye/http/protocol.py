"""uvicorn's HTTP/1.1 protocol (httptools) with limits it does not have: header size and number, chunks, reading time.

Enters: bytes of a connection. Leaves: ASGI calls, and a call of `scope["catseye.gone"]` when the client of a running
request hangs up. Made by `guarded` for `server.py`.
"""

import asyncio
import json
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from catseye.http.bodies import GONE
from catseye.http.limits import Limits

NEVER = float("inf")
LINGER_S = 1.0
WRITE_STALL_S = 30.0


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `sweep` has to be called every now and then; that costs nothing per request."""

    limits = Limits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first request."""
        super().connection_made(transport)
        self._refusal: tuple[int, str] | None = None
        self._in_head = True
        self._ended_one = False
        self._head_bytes = self._num_headers = self._num_chunks = 0
        self._lingering = False
        self._write_stalled_at = NEVER
        self._read_by = self.loop.time() + self.limits.header_s

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the running request that nobody waits for it any more."""
        cycle = self.cycle
        super().connection_lost(exc)
        # uvicorn 0.54 leaves the timer running where the connection was reset, and with it all of this for 30 s.
        self._unset_keepalive_if_required()
        if cycle is not None and not cycle.response_complete:
            gone = cast(dict[str, Any], cycle.scope).get(GONE)
            if gone is not None:
                gone()

    def data_received(self, data: bytes) -> None:
        """Parse, and stop a header that does not end."""
        if self._lingering:
            return
        in_head, before_bytes, self._ended_one = self._in_head, self._head_bytes, False
        if in_head and self._read_by == NEVER:
            self._read_by = self.loop.time() + self.limits.header_s  # blank lines would otherwise buy time for ever
        super().data_received(data)
        # The parser keeps an unfinished header line to itself, so its bytes are counted here. Not where an earlier
        # request ended in the same piece: most of it may have been that one's body.
        if in_head and self._in_head and not self._ended_one and not self._lingering:
            self._head_bytes = max(self._head_bytes, before_bytes + len(data))
            if self._head_bytes > self.limits.header_bytes:
                self._refusal = (
                    431,
                    f"a request line with headers has at most {self.limits.header_bytes:,} bytes; send fewer",
                )
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """Start counting anew."""
        self._in_head = True
        self._head_bytes = self._num_headers = self._num_chunks = 0
        self._read_by = self.loop.time() + self.limits.header_s
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count number and size."""
        self._num_headers += 1
        self._head_bytes += len(name) + len(value) + 4
        if self._num_headers > self.limits.max_headers or self._head_bytes > self.limits.header_bytes:
            limits = self.limits
            most = f"{limits.max_headers} headers of {limits.header_bytes:,} bytes in all"
            self._refuse(431, f"a request has at most {most}; send fewer")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the clock of the body."""
        self._in_head = False
        self._read_by = self.loop.time() + self.limits.body_s
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """Count chunks: thousands of one byte each cost far more than the bytes are worth."""
        self._num_chunks += 1
        if self._num_chunks > self.limits.max_chunks:
            self._refuse(413, f"a body comes in at most {self.limits.max_chunks:,} chunks; send a Content-Length")

    def on_message_complete(self) -> None:
        """Stop the clock, and expect the next request's headers."""
        self._read_by = NEVER
        self._in_head = self._ended_one = True
        self._head_bytes = 0
        super().on_message_complete()

    def sweep(self, now: float) -> None:
        """Close the connection if it has taken too long to send a request, or to read an answer."""
        if self.transport is None or self.transport.is_closing():
            return
        if now > self._read_by:
            if self._lingering:
                self.transport.abort()
                return
            if self._in_head and self._head_bytes == 0 and (self.cycle is None or self.cycle.response_complete):
                self.transport.close()  # nothing was asked, so nothing is answered
                return
            limits = self.limits
            self._refusal = (
                408,
                f"headers arrive within {limits.header_s:g} s and a body within {limits.body_s:g} s; these did not",
            )
            self.send_400_response("")
        if not self.flow.write_paused:
            self._write_stalled_at = NEVER
        elif self._write_stalled_at == NEVER:
            self._write_stalled_at = now
        elif now - self._write_stalled_at > WRITE_STALL_S:
            self.transport.abort()

    def _refuse(self, status: int, message: str) -> None:
        """Stop the parser: it wraps what a callback raises, and `data_received` then calls `send_400_response`."""
        self._refusal = (status, message)
        raise ValueError(message)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no acceptable request, then wait a moment for the client to read that."""
        status, message = self._refusal or (
            400,
            "this is not HTTP/1.1 as it should be; check the request and its length",
        )
        running = self.cycle is not None and not self.cycle.response_complete
        if running and (self.cycle.response_started or not self.cycle.more_body):
            self.transport.close()  # an answer is on its way or owed first: another one would be taken for it
            return
        code = {408: "too-slow", 413: "body-too-large", 431: "headers-too-large"}.get(status, "malformed-request")
        body = json.dumps({"error": message, "code": code}).encode()
        head = STATUS_LINE[status] + b"content-type: application/json\r\nx-content-type-options: nosniff\r\n"
        length = str(len(body)).encode()
        self.transport.write(head + b"content-length: " + length + b"\r\nconnection: close\r\n\r\n" + body)
        self._lingering = True
        self._read_by = self.loop.time() + LINGER_S
        if running:
            # The application still waits for the body, which will not come.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.transport.can_write_eof():
            self.transport.write_eof()


def guarded(limits: Limits) -> type[GuardedProtocol]:
    """The protocol with these limits."""
    return type("GuardedProtocol", (GuardedProtocol,), {"limits": limits})
