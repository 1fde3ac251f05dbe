"""uvicorn's HTTP/1.1 protocol (httptools) with limits, one request at a time.

Enters: bytes of a connection. Leaves: ASGI calls, and a call of `scope["catseye.gone"]` when the client of a running
request disconnects. Made by `guarded` for `listening.py`.

Bytes that a client sends before it has the response to an earlier request are kept unparsed, a read or two of them;
then reading stops. So a pipeline costs no more than its bytes, and bad bytes after a good request cannot affect its
response. Longer than other files: it is one class, whose methods share the state of one connection.
"""

import asyncio
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from catseye.http.bodies import AT_ONCE, GONE
from catseye.http.door import place_of
from catseye.http.heads import head_fault
from catseye.http.limits import Limits
from catseye.http.refusals import Refusal
from catseye.http.rules import Rules, as_bytes, full_house, head_too_long, malformed, too_much_framing

NEVER = float("inf")
LINGER_S = 1.0
ON_TOP_S = 2.0  # for the head of a request that came when all places were taken
LAST_CHANCE_S = 1.0  # for the request of a connection made just before the server stops
LAST_LOOK_S = 0.05  # for a request on its way over an idle connection when the server stops
LAST_READ_S = 0.5  # for a client to close its side of an idle connection that we have closed
WAITING_BYTES = 65_536  # kept unparsed while a request is being answered; then reading stops
HEAD_SLICE, CHUNK_SLICE = 4096, 1024  # bytes parsed at a time while the end of the request is unknown


class GuardedProtocol(HttpToolsProtocol):
    """One connection.

    `sweep` has to be called regularly; it costs nothing per request.
    """

    rules = Rules(Limits())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first request."""
        super().connection_made(transport)
        self.address = place_of(self.client[0]) if self.client else None
        self._refusal: Refusal | None = None
        self._behind = bytearray()  # received while an earlier request was being answered
        self._running: RequestResponseCycle | None = None
        self._in_head, self._whole, self._chunked = True, False, False
        self._head_bytes = self._num_chunks = self._body_left = self._framing_bytes = 0
        self._lingering = self._stopping = self._left = False
        self._stalled_at, self._unread_bytes = NEVER, 0
        self.has_place = self.rules.door.enter(self)
        header_s = self.rules.limits.header_s
        self._read_by = self.loop.time() + (header_s if self.has_place else min(ON_TOP_S, header_s))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the running request that its client has disconnected."""
        self._leave()
        self._behind.clear()
        self.pipeline.clear()
        running = self._running
        super().connection_lost(exc)
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
            gone = cast(dict[str, Any], running.scope).get(GONE)
            if gone is not None:
                gone()

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self.rules.door.leave(self, had_place=self.has_place)

    def dismiss(self) -> None:
        """Close this idle connection, to make room for another."""
        self._leave()
        self.transport.close()

    # Reading

    def data_received(self, data: bytes) -> None:
        """Parse the bytes of the current request, and keep the rest."""
        if self._lingering or self.transport.is_closing():
            return
        if self._behind or self._is_busy():
            self._keep(data)
            return
        rest = self._parse(data)
        if rest:
            self._keep(rest)

    def _is_busy(self) -> bool:
        """Whether the next request must wait.

        It waits for the response to this one, or for the client to read.
        """
        if self._refusal is not None or self.flow.write_paused:
            return True
        return self._whole and self.cycle is not None and not self.cycle.response_complete

    def _keep(self, data: bytes) -> None:
        self._behind += data
        if len(self._behind) > WAITING_BYTES:
            self.flow.pause_reading()
        if len(self._behind) > 32 * WAITING_BYTES:  # each call of `receive` resumes reading, so this can still grow
            self.transport.abort()

    def _go_on(self) -> None:
        """Parse the kept bytes, if the next request may begin."""
        if self._behind and not self._is_busy() and not self.transport.is_closing():
            data = bytes(self._behind)
            self._behind.clear()
            self.data_received(data)

    def _parse(self, data: bytes) -> bytes:
        at, end, view = 0, len(data), memoryview(data)
        while at < end and not self._is_busy():
            stop = self._slice_end(data, at)
            piece = data if stop - at == end else view[at:stop]
            if self._in_head:
                if not self._head_bytes:  # also for blank lines, which would otherwise extend the time limit
                    self._read_by = min(self._read_by, self.loop.time() + self.rules.limits.header_s)
                self._head_bytes += stop - at
                if self._head_bytes > self.rules.limits.header_bytes:
                    self._end_with(head_too_long(self.rules.limits))
                    return b""
            elif self._chunked:
                self._framing_bytes += stop - at  # `on_body` subtracts the body
            try:
                try:
                    self.parser.feed_data(piece)
                except httptools.HttpParserUpgrade as upgrade:
                    self._start_again_without_upgrade()
                    stop = at + cast(int, upgrade.args[0])
            except httptools.HttpParserError:
                self._end_with(self._refusal or malformed())
                return b""
            if self._chunked and self._framing_bytes > self._most_framing():
                self._end_with(too_much_framing(self.rules.limits))
                return b""
            if self._lingering or self.transport.is_closing():
                return b""
            at = stop
        return data[at:] if at else data

    def _slice_end(self, data: bytes, at: int) -> int:
        """The latest end of this request.

        The next one must not be parsed before this one is answered.
        """
        if self._in_head:
            end = data.find(b"\r\n\r\n", at, at + HEAD_SLICE)
            return end + 4 if end >= 0 else min(len(data), at + HEAD_SLICE)
        return min(len(data), at + (CHUNK_SLICE if self._chunked else max(1, self._body_left)))

    def _most_framing(self) -> int:
        """The most bytes that a chunked body may have besides its content.

        Sizes and ends of chunks are short; extensions and trailers may be as long as a head.
        """
        return self.rules.limits.header_bytes + CHUNK_SLICE + 16 * self._num_chunks

    def _start_again_without_upgrade(self) -> None:
        """Ignore Upgrade, as RFC 9110 section 7.8 allows.

        Otherwise the parser would read the body as another protocol.
        """
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"\r\n".join(lines) + b"\r\n\r\n")

    # What the parser calls

    def on_message_begin(self) -> None:
        """Reset the counters."""
        self._num_chunks = self._framing_bytes = self._body_left = 0
        self._in_head, self._whole, self._chunked = True, False, False
        self.rules.door.busy(self)
        if self.has_place:
            self._read_by = self.loop.time() + self.rules.limits.header_s
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep it, as uvicorn does; trailers after a body are ignored."""
        if self._in_head:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the head, and start the clock of the body."""
        parser, rules = self.parser, self.rules
        method = parser.get_method()
        if parser.should_upgrade() and method != b"CONNECT":
            return
        if len(self.headers) > rules.limits.max_headers:
            self._refuse(head_too_long(rules.limits))
        path = self.url.partition(b"?")[0]
        hosts = None if path in rules.health_paths else rules.hosts
        fault = head_fault(parser.get_http_version(), method, self.url, self.headers, hosts)
        if fault is not None:
            self._refuse(fault)
        if not self.has_place and path not in rules.reserved_paths:
            self._refuse(full_house(rules.limits))
        if b"://" in path and path.count(b"/") < 3:  # http://host is http://host/
            self.url = self.url.replace(path, path + b"/", 1)
        self._in_head = False
        self._head_bytes = 0
        self._read_by = self.loop.time() + rules.limits.body_s
        headers = dict(self.headers)  # `head_fault` has refused duplicates of these two
        self._body_left, self._chunked = int(headers.get(b"content-length", b"0")), b"transfer-encoding" in headers
        super().on_headers_complete()
        if self._stopping or not self.has_place:
            self.cycle.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        cast(dict[str, Any], cycle.scope)[AT_ONCE] = self.answer_at_once
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Count the bytes left."""
        if self._chunked:
            self._framing_bytes -= len(body)
        else:
            self._body_left -= len(body)
        super().on_body(body)

    def on_chunk_header(self) -> None:
        """Count chunks: thousands of one byte each cost far more than the bytes do."""
        self._num_chunks += 1
        most = self.rules.limits.max_chunks
        if self._num_chunks > most:
            message = f"a body comes in at most {most:,} chunks; got more; send a Content-Length"
            self._refuse(Refusal(413, "body-too-large", message))

    def on_message_complete(self) -> None:
        """Stop the clock, and expect the next request's headers."""
        if self._in_head:  # the head was parsed again without its Upgrade
            return
        self._in_head = self._whole = True
        self._read_by = NEVER
        super().on_message_complete()
        if self.cycle.response_complete:
            self._wait_for_the_next()

    # Answers

    def answer_at_once(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send the whole response to the running request.

        This is faster than two calls of uvicorn's `send`. Header names are in lower case and include `content-length`.
        False: nothing was sent; use `send`.
        """
        cycle = self._running
        if cycle is None or cycle.response_started or cycle.disconnected or self.flow.write_paused:
            return False
        lines = [STATUS_LINE[status], *[b"%b: %b\r\n" % header for header in headers]]
        if (b"connection", b"close") in headers:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines):  # a value with a line end in it
            return False
        cycle.response_started, cycle.waiting_for_100_continue = True, False
        self.transport.write(head if cycle.scope["method"] == "HEAD" else head + body)
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def on_response_complete(self) -> None:
        """Let the next request begin.

        `sweep` closes idle connections, so they need no timers.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._end_with(self._refusal)
        elif self._whole:
            self._wait_for_the_next()
            if self._behind:
                self._go_on()

    def _wait_for_the_next(self) -> None:
        self._read_by = self.loop.time() + self.rules.limits.keep_alive_s
        self.rules.door.idle(self)

    def resume_writing(self) -> None:
        """The client is reading again: continue."""
        super().resume_writing()
        self._go_on()

    def sweep(self, now: float) -> None:
        """Close the connection if the client takes too long to send or to read."""
        self._end_if_unread(now)
        if self.transport.is_closing() or now <= self._read_by:
            return
        if self._lingering:
            self.transport.abort()
        elif self._in_head and self._head_bytes == 0 and (self.cycle is None or self.cycle.response_complete):
            self._end_idle()  # there was no request, so there is no response
        else:
            limits = self.rules.limits
            times = f"headers arrive within {limits.header_s:g} s and a body within {limits.body_s:g} s"
            self._end_with(Refusal(408, "too-slow", f"{times}; these did not; send them faster"))

    def _end_if_unread(self, now: float) -> None:
        """End a connection whose client has stopped reading.

        This also applies while it is closing: the last bytes stay in our memory until they are read.
        """
        unread = self.transport.get_write_buffer_size()
        if not unread or unread != self._unread_bytes:
            self._stalled_at, self._unread_bytes = now, unread
        elif now - self._stalled_at > self.rules.limits.write_s:
            self.transport.abort()

    def shutdown(self) -> None:
        """Answer all requests, even those that have only just arrived, then close."""
        self._stopping = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        elif self.cycle is None or not self._in_head or self._head_bytes:  # a new connection is about to send a request
            self._read_by = min(self._read_by, self.loop.time() + LAST_CHANCE_S)
        else:
            # Bytes that are already in the socket are read first.
            self.loop.call_later(LAST_LOOK_S, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.transport.is_closing():  # the client closed it first
            return
        if self._in_head and self._head_bytes == 0 and self.cycle.response_complete and not self._lingering:
            self._end_idle()

    def _end_idle(self) -> None:
        """Send FIN, then wait a moment for the client's.

        A request on its way would otherwise be answered by a reset, which can also destroy earlier responses.
        """
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self._lingering = True
        self._read_by = self.loop.time() + LAST_READ_S
        self.transport.write_eof()

    # Refusals

    def _refuse(self, refusal: Refusal) -> None:
        """Stop the parser with this refusal.

        The parser wraps what a callback raises, and `_parse` then ends the connection.
        """
        self._refusal = refusal
        raise ValueError(refusal.message)

    def _end_with(self, refusal: Refusal) -> None:
        """Send a refusal, then wait a moment for the client to read it."""
        self._refusal = refusal
        running = self._running is not None and not self._running.response_complete
        if running and (self._running is not self.cycle or not self.cycle.more_body):
            return  # the request before this one is answered first, see on_response_complete
        if running and self.cycle.response_started:
            self.transport.close()  # a second response would be read as part of the first
            return
        self.rules.on_refusal(refusal.status, refusal.code)
        self.transport.write(as_bytes(refusal))
        self._lingering = True
        self._behind.clear()
        self.flow.resume_reading()
        self._read_by = self.loop.time() + LINGER_S
        if running:
            # The application still waits for the body, which will not come.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.transport.can_write_eof():
            self.transport.write_eof()


def guarded(rules: Rules) -> type[GuardedProtocol]:
    """The protocol with these rules."""
    return type("GuardedProtocol", (GuardedProtocol,), {"rules": rules})
