"""A request's body, read within limits of size and memory.

Enters: an ASGI request. Leaves: bytes. A body that is too large is refused before it is read if the client sends its
length, else at the limit. `protocol.py` keeps the time limits. Called by app and inference_v2.
"""

import asyncio
import contextlib
import random
import secrets
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from catseye.http.images import require_plain
from catseye.http.limits import Limits
from catseye.http.refusals import Refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
# Keys of the scope: what to call when the client disconnects; a function that sends a whole response (protocol.py).
GONE, AT_ONCE = "catseye.gone", "catseye.at-once"

LINGER_S = 2.0
# Seeded once by the system: a system call per request would yield to other threads and wait for them.
_ids = random.Random(secrets.randbits(128))  # noqa: S311 - nothing is kept secret by them


@dataclass(slots=True)
class Request:
    """One request.

    `route` is a fixed name for metrics and logs, whatever path the client sent.
    """

    scope: Scope
    receive: Receive
    id: str
    headers: dict[bytes, bytes]
    route: str = "other"
    body_read: bool = False
    body_bytes: int = 0
    version: str = ""  # of the model that answers this request
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def content_type(self) -> bytes:
        """Empty if the client sent none."""
        return self.headers.get(b"content-type", b"")


def new_request_id() -> str:
    """16 digits that name a request in the log and in its response, and nowhere else."""
    return f"{_ids.getrandbits(64):016x}"


def when_gone(request: Request, forget: Callable[[], None]) -> None:
    """Call `forget` once, if the client disconnects before it has its response."""

    def gone() -> None:
        request.facts["gone"] = True
        forget()

    request.scope[GONE] = gone


class BodyMemory(Protocol):
    """Counts the bytes of all bodies in memory."""

    buffered_bytes: int


class Gone(Exception):
    """The client has disconnected; there is nobody to answer."""


@contextlib.contextmanager
def body_held(memory: BodyMemory, request: Request) -> Iterator[None]:
    """Release the memory that `read_body` counted, once the request is answered."""
    try:
        yield
    finally:
        memory.buffered_bytes -= request.body_bytes
        request.body_bytes = 0


async def read_body(request: Request, limits: Limits, memory: BodyMemory) -> bytes:
    """The whole body.

    Raises:
        Refusal: 413 too long, 415 compressed, 503 too many bytes in memory. Gone: the client has disconnected.

    """
    require_plain(request.headers.get(b"content-encoding", b"identity"))
    length = request.headers.get(b"content-length")
    if length is not None and int(length) > limits.body_bytes:
        raise _too_long(limits, f"{int(length):,} bytes")
    chunks: list[bytes] = []
    while not request.body_read:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        chunk = message.get("body", b"")
        request.body_read = not message.get("more_body", False)
        request.body_bytes += len(chunk)
        memory.buffered_bytes += len(chunk)
        if request.body_bytes > limits.body_bytes:
            raise _too_long(limits, "more")
        if memory.buffered_bytes > limits.buffered_bytes:
            raise Refusal(
                503, "busy", "too many large requests at a time; try again later", retry_after_s=1, close=True
            )
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_long(limits: Limits, got: str) -> Refusal:
    message = f"a body has at most {limits.body_bytes:,} bytes; got {got}; send a smaller image"
    return Refusal(413, "body-too-large", message, close=True)


async def drain(request: Request, limits: Limits) -> None:
    """Keep reading for a moment after a refusal.

    Closing with unread bytes would lose the refusal itself.
    """
    left = 4 * limits.body_bytes
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while not request.body_read and left > 0:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    return
                left -= len(message.get("body", b""))
                request.body_read = not message.get("more_body", False)
