"""What one caller may ask of a server of catseye, and the names of this machine. Read by every file of this room."""

from dataclasses import dataclass, field

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Limits:
    """What one caller may ask for; the defaults suit photographs.

    `max_queued` images wait or are computed at a time; `buffered_bytes` is the sum of all bodies held. A field whose
    metadata has a `help` is an option of `catseye serve` (cli/verbs.py).
    """

    body_bytes: int = field(
        default=20_000_000, metadata={"option": "--max-body", "min": 1024, "help": "Bytes of a request's body."}
    )
    max_pixels: int = field(default=50_000_000, metadata={"min": 1, "help": "Pixels of an image."})
    header_bytes: int = field(
        default=16_384, metadata={"option": "--max-header", "min": 1024, "help": "Bytes of a request's headers."}
    )
    max_headers: int = 100
    max_parts: int = field(default=64, metadata={"min": 1, "help": "Parts of a form."})
    part_header_bytes: int = 4096
    max_chunks: int = 32_768
    header_s: float = field(
        default=10.0, metadata={"option": "--header-time", "min": 0.1, "help": "Seconds for a request's headers."}
    )
    body_s: float = field(default=30.0, metadata={"option": "--body-time", "min": 0.1, "help": "Seconds for its body."})
    keep_alive_s: float = 30.0
    deadline_s: float = field(
        default=10.0,
        metadata={"option": "--deadline", "min": 0.01, "help": "Seconds until an image's answer, else 504."},
    )
    max_queued: int = field(
        default=512, metadata={"option": "--max-queue", "min": 1, "help": "Images that wait; more get 503."}
    )
    max_connections: int = field(default=2048, metadata={"min": 1, "help": "More get 503."})
    buffered_bytes: int = 400_000_000
