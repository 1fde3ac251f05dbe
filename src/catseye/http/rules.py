"""The rules for one server's connections, and refusals of those that break them.

Enters: limits, and what an application adds to them. Leaves: `Rules`; refusals as bytes. Used by `protocol.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from catseye.http.door import Door
from catseye.http.limits import Limits
from catseye.http.refusals import Refusal
from catseye.http.responses import refused


def _ignore(status: int, code: str) -> None:
    """Count nothing."""


@dataclass
class Rules:
    """The rules for a server's connections.

    `hosts` are the accepted host names; None accepts any.
    """

    limits: Limits
    hosts: frozenset[str] | None = None
    health_paths: frozenset[bytes] = frozenset()  # answered for any host name
    reserved_paths: frozenset[bytes] = frozenset()  # answered even when all places are taken
    on_refusal: Callable[[int, str], None] = _ignore
    door: Door = field(init=False)

    def __post_init__(self) -> None:
        self.door = Door(self.limits)


def as_bytes(refusal: Refusal) -> bytes:
    """A refusal as the bytes to send, without the application."""
    response = refused(refusal, "")
    lines = [STATUS_LINE[refusal.status].rstrip(), b"content-type: " + response.content_type]
    lines += [b"content-length: %d" % len(response.body), b"connection: close"]
    lines += [name + b": " + value for name, value in response.headers]
    return b"\r\n".join([*lines, b"", response.body])


def malformed() -> Refusal:
    """The refusal of what the parser does not accept."""
    message = "a request is HTTP/1.1; got something that is not; check the request and its length"
    return Refusal(400, "malformed-request", message)


def head_too_long(limits: Limits) -> Refusal:
    """The refusal of too many or too long headers."""
    most = f"{limits.max_headers} headers of {limits.header_bytes:,} bytes in all, with the request line"
    return Refusal(431, "headers-too-large", f"a request has at most {most}; got more; send fewer")


def too_much_framing(limits: Limits) -> Refusal:
    """The refusal of a chunked body with too many bytes that are not body."""
    most = f"{limits.header_bytes:,} bytes of extensions and trailers"
    return Refusal(413, "body-too-large", f"a chunked body has at most {most}; got more; send a Content-Length")


def full_house(limits: Limits) -> Refusal:
    """The refusal of one connection too many."""
    most = f"{limits.max_connections:,} connections, {limits.per_address:,} of one address"
    message = f"there are at most {most}; all are in use; try again later"
    return Refusal(503, "too-many-connections", message, retry_after_s=1)
