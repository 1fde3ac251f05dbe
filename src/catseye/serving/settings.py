"""Everything that `catseye serve` can be told. Read by this whole room."""

from dataclasses import dataclass, field
from pathlib import Path

from catseye.errors import UsageError
from catseye.http.limits import LOOPBACK, Limits

MAX_TOKEN_BYTES = 4096


@dataclass(frozen=True)
class ServerSettings:
    """One server: the model, where it listens, how it computes. 0 means: measured at start-up."""

    model: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    watch: bool = False
    token_file: Path | None = None
    insecure: bool = False
    runtime: str = "auto"
    trust: bool = False
    concurrency: int = 0
    batch_size: int = 0
    drain_s: float = 0.5
    quiet: bool = False
    limits: Limits = field(default_factory=Limits)

    @property
    def finish_s(self) -> int:
        """After `drain_s`, the most that is waited for what was accepted; whoever sends a stop signal waits longer."""
        return int(self.limits.deadline_s + 5)

    def token(self) -> bytes | None:
        """The secret that callers have to send, or None where everybody may ask.

        Raises:
            UsageError: the server would be open to the network without anybody having said so, or the file is no token.

        """
        if self.token_file is None:
            if self.host not in LOOPBACK and not self.insecure:
                raise UsageError(
                    f"--host {self.host} opens the server to the network, so callers need a token; got none; "
                    "write one into a file (openssl rand -hex 32 > token) and say --token-file token, or --insecure"
                )
            return None
        try:
            with self.token_file.open("rb") as stream:
                token = stream.read(MAX_TOKEN_BYTES).strip()
        except OSError as error:
            raise UsageError(f"--token-file {self.token_file} cannot be read ({error.strerror})") from None
        require_sound(token, f"--token-file {self.token_file}")
        return token


def require_sound(token: bytes, where: str) -> None:
    """Refuse a secret that is short or that a header cannot carry.

    Raises:
        UsageError: otherwise.

    """
    if len(token) < 16 or not token.isascii() or any(byte <= 32 or byte == 127 for byte in token):
        raise UsageError(
            f"{where} should hold 16 or more printable ASCII characters without spaces; got {len(token)} bytes; "
            "openssl rand -hex 32 makes one"
        )
