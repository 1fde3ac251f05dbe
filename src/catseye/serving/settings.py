"""Everything that `catseye serve` can be told. Read by this whole room."""

from dataclasses import dataclass, field
from pathlib import Path

from catseye.errors import UsageError
from catseye.http.limits import LOOPBACK, Limits

MAX_TOKEN_BYTES = 4096


@dataclass(frozen=True)
class ServerSettings:
    """One server: the model, where it listens, how it computes. 0 means: measured at start-up.

    A field whose metadata has a `help` is an option of `catseye serve` (cli/verbs.py).
    """

    model: Path = field(metadata={"help": "A file that `catseye export` wrote."})
    host: str = field(
        default="127.0.0.1", metadata={"help": "Address to listen at; others than this machine need a token."}
    )
    port: int = field(default=8000, metadata={"min": 0, "max": 65535, "help": "0 takes a free one."})
    workers: int = field(default=1, metadata={"min": 1, "max": 256, "help": "Processes; one is replaced when it dies."})
    watch: bool = field(default=False, metadata={"help": "Take a new version of the file in, once it is proved."})
    token_file: Path | None = field(
        default=None, metadata={"envvar": "CATSEYE_TOKEN_FILE", "help": "Callers have to send what stands in it."}
    )
    insecure: bool = field(default=False, metadata={"help": "Listen beyond this machine without a token."})
    runtime: str = field(default="auto", metadata={"help": "auto, cpu, cuda, tensorrt, openvino."})
    trust: bool = field(
        default=False, metadata={"help": "Open TorchScript, .pt2 and TensorRT files: they are programs; only your own."}
    )
    concurrency: int = field(default=0, metadata={"min": 0, "max": 256, "help": "Calls side by side; 0: measured."})
    batch_size: int = field(
        default=0, metadata={"min": 0, "max": 1024, "help": "Images per call at most; 0: measured."}
    )
    drain_s: float = field(
        default=0.5, metadata={"option": "--drain", "min": 0, "help": "Seconds of `not ready` before a stop."}
    )
    quiet: bool = field(default=False, metadata={"help": "Log no request that went well."})
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
