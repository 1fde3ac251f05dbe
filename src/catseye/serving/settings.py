"""Everything that `catseye serve` can be told. Read by this whole room."""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from catseye.errors import UsageError
from catseye.http.limits import LOOPBACK, Limits, flag

MAX_TOKEN_BYTES = 4096
_ORIGIN = re.compile(r"\*|https?://[A-Za-z0-9.:\[\]-]{1,260}")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]{1,100})+")


@dataclass(frozen=True)
class ServerSettings:
    """One server: the model, where it listens, how it computes. 0 means: measured at start-up.

    A field whose metadata has a `help` is an option of `catseye serve` (cli/verbs.py).
    """

    model: Path = field(metadata={"help": "A file that `catseye export` wrote."})
    host: str = field(
        default="127.0.0.1", metadata=flag("--host", "Address to listen at; others than this machine need a token.")
    )
    port: int = field(default=8000, metadata=flag("--port", "0 takes a free one.", min=0, max=65535))
    uds: Path | None = field(default=None, metadata=flag("--uds", "A unix socket to listen at instead."))
    workers: int = field(
        default=1, metadata=flag("--workers", "Processes; one is replaced when it dies or hangs.", min=1, max=256)
    )
    watch: bool = field(
        default=False, metadata=flag("--watch", "Take a new version of the file in, once it is proved.")
    )
    token_file: Path | None = field(
        default=None,
        metadata=flag("--token-file", "Callers have to send what stands in it.", envvar="CATSEYE_TOKEN_FILE"),
    )
    insecure: bool = field(default=False, metadata=flag("--insecure", "Listen beyond this machine without a token."))
    allow_hosts: tuple[str, ...] = field(
        default=(), metadata=flag("--allow-host", "A name to answer by, besides this machine's own.")
    )
    root_path: str = field(default="", metadata=flag("--root-path", "The prefix that a proxy serves us under: /cats."))
    cors_origins: tuple[str, ...] = field(
        default=(), metadata=flag("--cors-origin", "A site whose pages may ask: https://example.org, or *.")
    )
    runtime: str = field(default="auto", metadata=flag("--runtime", "auto, cpu, cuda, tensorrt, openvino."))
    trust: bool = field(
        default=False,
        metadata=flag("--trust", "Open TorchScript, .pt2 and TensorRT files: they are programs; only your own."),
    )
    concurrency: int = field(
        default=0, metadata=flag("--concurrency", "Calls side by side; 0: measured.", min=0, max=256)
    )
    batch_size: int = field(
        default=0, metadata=flag("--batch-size", "Images per call at most; 0: measured.", min=0, max=1024)
    )
    drain_s: float = field(default=0.5, metadata=flag("--drain", "Seconds of `not ready` before a stop.", min=0))
    hang_s: float = field(
        default=5.0, metadata=flag("--hang-time", "Seconds without a sign of life until a worker is replaced.", min=1)
    )
    quiet: bool = field(default=False, metadata=flag("--quiet", "Log no request that went well."))
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.root_path and not _PREFIX.fullmatch(self.root_path):
            raise UsageError(f"--root-path looks like /cats, without a slash at its end; got {self.root_path!r}")
        for origin in self.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                raise UsageError(f"--cors-origin looks like https://example.org, or is *; got {origin!r}")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can ask."""
        return self.uds is not None or self.host in LOOPBACK

    @property
    def hosts(self) -> frozenset[str] | None:
        """The names in Host that are answered; None: any.

        Where only this machine may ask, a page from elsewhere could make a name of its own point here and then read
        the answers in the visitor's browser (DNS rebinding).
        """
        if self.allow_hosts:
            return frozenset(LOOPBACK | {name.lower().strip("[]") for name in self.allow_hosts})
        return frozenset(LOOPBACK) if self.is_local and self.uds is None else None

    @property
    def finish_s(self) -> int:
        """The longest wait, after `drain_s`, for requests already accepted; the sender of the signal waits longer."""
        return int(self.limits.deadline_s + 5)

    def token(self) -> bytes | None:
        """The secret that callers have to send, or None where everybody may ask.

        Raises:
            UsageError: the server would be open to the network without anybody having said so, or the file is no token.

        """
        if self.token_file is None:
            if not self.is_local and not self.insecure:
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


def is_open_to_others(path: Path) -> bool:
    """Whether every user of this machine can read or write a file of secrets; False where that cannot be known."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))
    except OSError:
        return False


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
