"""The limits of a server, and the names of this machine.

Read by every file of this room.
"""

from dataclasses import dataclass, field
from typing import Any

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
MOST_BY_ONE = 2  # one address may hold half of all connections, unless --max-per-address is set
RESERVED = 16  # one extra connection per this many is reserved for health and metrics


def flag(name: str, text: str, **more: Any) -> dict[str, Any]:
    """The metadata of a field that is an option: name, help, bounds (cli/verbs.py)."""
    return {"option": name, "help": text, **more}


@dataclass(frozen=True)
class Limits:
    """The limits of a server; the defaults suit photographs.

    At most `max_queued` images wait or are computed at a time; `buffered_bytes` limits the sum of all bodies in memory.
    A field whose metadata has a `help` is an option of `catseye serve` (cli/verbs.py).
    """

    body_bytes: int = field(default=20_000_000, metadata=flag("--max-body", "Bytes of a request's body.", min=1024))
    max_pixels: int = field(default=50_000_000, metadata=flag("--max-pixels", "Pixels of an image.", min=1))
    header_bytes: int = field(default=16_384, metadata=flag("--max-header", "Bytes of a request's headers.", min=1024))
    max_headers: int = 100
    max_parts: int = field(default=64, metadata=flag("--max-parts", "Parts of a form.", min=1))
    part_header_bytes: int = 4096
    max_chunks: int = 32_768
    header_s: float = field(default=10.0, metadata=flag("--header-time", "Seconds for a request's headers.", min=0.1))
    body_s: float = field(default=30.0, metadata=flag("--body-time", "Seconds for its body.", min=0.1))
    write_s: float = field(
        default=30.0, metadata=flag("--write-time", "Seconds a caller may read nothing of its response.", min=0.1)
    )
    keep_alive_s: float = 30.0
    deadline_s: float = field(
        default=10.0, metadata=flag("--deadline", "Seconds to answer an image, else 504.", min=0.01)
    )
    max_queued: int = field(default=512, metadata=flag("--max-queue", "Images that wait; more get 503.", min=1))
    max_connections: int = field(
        default=2048, metadata=flag("--max-connections", "More get 503; idle ones are closed first.", min=1)
    )
    max_per_address: int = field(
        default=0, metadata=flag("--max-per-address", "Connections of one address; 0: half of all.", min=0)
    )
    buffered_bytes: int = 400_000_000

    @property
    def per_address(self) -> int:
        """How many connections one address may hold."""
        return self.max_per_address or max(1, self.max_connections // MOST_BY_ONE)

    @property
    def reserved(self) -> int:
        """How many extra connections are accepted, to answer health checks and send 503."""
        return max(8, self.max_connections // RESERVED)
