"""What one caller may ask of a server of catseye, and the names of this machine. Read by every file of this room."""

from dataclasses import dataclass, field

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
MOST_BY_ONE = 2  # one address may hold a half of all connections, unless --max-per-address says otherwise
RESERVED = 16  # one connection in so many is kept, on top, for health and metrics


def flag(name: str, text: str) -> dict[str, str]:
    """What a field is called on the command line, and what its help says."""
    return {"option": name, "help": text}


@dataclass(frozen=True)
class Limits:
    """What one caller may ask for. Each is a flag of `catseye serve`; the defaults suit photographs.

    `max_queued` images wait or are computed at a time; `buffered_bytes` is the sum of all bodies held.
    """

    body_bytes: int = field(default=20_000_000, metadata=flag("--max-body", "Bytes of a request's body."))
    max_pixels: int = field(default=50_000_000, metadata=flag("--max-pixels", "Pixels of an image."))
    header_bytes: int = field(default=16_384, metadata=flag("--max-header", "Bytes of a request's headers."))
    max_headers: int = field(default=100, metadata=flag("--max-headers", "Number of a request's headers."))
    max_parts: int = field(default=64, metadata=flag("--max-parts", "Parts of a form."))
    part_header_bytes: int = field(
        default=4096, metadata=flag("--max-part-header", "Bytes of the headers of a form's part.")
    )
    max_chunks: int = field(default=32_768, metadata=flag("--max-chunks", "Chunks of a body without a length."))
    header_s: float = field(default=10.0, metadata=flag("--header-time", "Seconds for a request's headers."))
    body_s: float = field(default=30.0, metadata=flag("--body-time", "Seconds for its body."))
    write_s: float = field(
        default=30.0, metadata=flag("--write-time", "Seconds in which a caller reads nothing of its answer.")
    )
    keep_alive_s: float = field(
        default=30.0, metadata=flag("--keep-alive", "Seconds until an idle connection is closed.")
    )
    deadline_s: float = field(default=10.0, metadata=flag("--deadline", "Seconds until an image's answer, else 504."))
    max_queued: int = field(default=512, metadata=flag("--max-queue", "Images that wait; more get 503."))
    max_connections: int = field(
        default=2048, metadata=flag("--max-connections", "More get 503; idle ones are closed first.")
    )
    max_per_address: int = field(
        default=0, metadata=flag("--max-per-address", "Connections of one address; 0: half of all.")
    )
    buffered_bytes: int = field(
        default=400_000_000, metadata=flag("--max-held", "Bytes of all bodies held at a time; more get 503.")
    )

    @property
    def per_address(self) -> int:
        """How many connections one address may hold."""
        return self.max_per_address or max(1, self.max_connections // MOST_BY_ONE)

    @property
    def reserved(self) -> int:
        """How many connections are taken in on top of `max_connections`, to answer health and say 503."""
        return max(8, self.max_connections // RESERVED)
