"""What one caller may ask of a server of catseye, and the names of this machine. Read by every file of this room."""

from dataclasses import dataclass

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Limits:
    """What one caller may ask for. Each is a flag of `catseye serve`; the defaults suit photographs.

    `max_queued` images wait or are computed at a time; `buffered_bytes` is the sum of all bodies held.
    """

    body_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    header_bytes: int = 16_384
    max_headers: int = 100
    max_parts: int = 64
    part_header_bytes: int = 4096
    max_chunks: int = 32_768
    header_s: float = 10.0
    body_s: float = 30.0
    keep_alive_s: float = 30.0
    deadline_s: float = 10.0
    max_queued: int = 512
    max_connections: int = 2048
    buffered_bytes: int = 400_000_000
