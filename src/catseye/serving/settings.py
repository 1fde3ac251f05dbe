"""The settings of `catseye serve`. Read by this whole room."""

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
    """One server: the model, where it listens, how it computes.

    0 means measured at start-up. A field whose metadata has a `help` is an option of `catseye serve` (cli/verbs.py).
    """

    model: Path = field(metadata={"help": "A file that `catseye export` wrote."})
    host: str = field(
        default="127.0.0.1", metadata=flag("--host", "Address to listen on; beyond this machine a token is needed.")
    )
    port: int = field(default=8000, metadata=flag("--port", "0 takes a free one.", min=0, max=65535))
    uds: Path | None = field(default=None, metadata=flag("--uds", "A Unix socket to listen on instead."))
    workers: int = field(
        default=1, metadata=flag("--workers", "Processes; one is replaced when it dies or hangs.", min=1, max=256)
    )
    watch: bool = field(
        default=False, metadata=flag("--watch", "Switch to a new version of the file once it has been checked.")
    )
    token_file: Path | None = field(
        default=None,
        metadata=flag("--token-file", "File with the token that callers must send.", envvar="CATSEYE_TOKEN_FILE"),
    )
    insecure: bool = field(default=False, metadata=flag("--insecure", "Listen beyond this machine without a token."))
    allow_hosts: tuple[str, ...] = field(
        default=(), metadata=flag("--allow-host", "A host name to accept, besides this machine's own.")
    )
    root_path: str = field(default="", metadata=flag("--root-path", "The prefix that a proxy serves us under: /cats."))
    cors_origins: tuple[str, ...] = field(
        default=(), metadata=flag("--cors-origin", "A site whose pages may send requests: https://example.org, or *.")
    )
    runtime: str = field(default="auto", metadata=flag("--runtime", "auto, cpu, cuda, tensorrt, openvino."))
    trust: bool = field(
        default=False,
        metadata=flag("--trust", "Open TorchScript, .pt2 and TensorRT files. They are programs: only open your own."),
    )
    concurrency: int = field(
        default=0, metadata=flag("--concurrency", "Concurrent calls of the model; 0: measured.", min=0, max=256)
    )
    batch_size: int = field(
        default=0, metadata=flag("--batch-size", "Most images per call; 0: measured.", min=0, max=1024)
    )
    drain_s: float = field(default=0.5, metadata=flag("--drain", "Seconds of `not ready` before a stop.", min=0))
    hang_s: float = field(
        default=5.0, metadata=flag("--hang-time", "Seconds without a heartbeat until a worker is replaced.", min=1)
    )
    quiet: bool = field(default=False, metadata=flag("--quiet", "Do not log successful requests."))
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.root_path and not _PREFIX.fullmatch(self.root_path):
            raise UsageError(f"--root-path looks like /cats, without a slash at its end; got {self.root_path!r}")
        for origin in self.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                raise UsageError(f"--cors-origin looks like https://example.org, or is *; got {origin!r}")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can send requests."""
        return self.uds is not None or self.host in LOOPBACK

    @property
    def hosts(self) -> frozenset[str] | None:
        """The accepted values of the Host header; None: any.

        On a server for this machine only, a page of another site could point a name of its own here and then read the
        responses in the visitor's browser (DNS rebinding).
        """
        if self.allow_hosts:
            return frozenset(LOOPBACK | {name.lower().strip("[]") for name in self.allow_hosts})
        return frozenset(LOOPBACK) if self.is_local and self.uds is None else None

    @property
    def finish_s(self) -> int:
        """The longest wait, after `drain_s`, for requests already accepted, in seconds.

        Whatever sends the signal must wait longer.
        """
        return int(self.limits.deadline_s + 5)

    def token(self) -> bytes | None:
        """The secret that callers must send, or None if none is needed.

        Raises:
            UsageError: the server would be open to the network without `--insecure`, or the file holds no token.

        """
        if self.token_file is None:
            if not self.is_local and not self.insecure:
                raise UsageError(
                    f"--host {self.host} opens the server to the network, so callers need a token; got none; "
                    "write one into a file (openssl rand -hex 32 > token) and add --token-file token, or add --insecure"
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
    """Whether all users can read or write the file; False if that is unknown."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))
    except OSError:
        return False


def require_sound(token: bytes, source: str) -> None:
    """Refuse a secret that is too short or cannot be sent in a header.

    Raises:
        UsageError: it is.

    """
    if len(token) < 16 or not token.isascii() or any(byte <= 32 or byte == 127 for byte in token):
        raise UsageError(
            f"{source} should hold 16 or more printable ASCII characters without spaces; got {len(token)} bytes; "
            "openssl rand -hex 32 makes one"
        )
