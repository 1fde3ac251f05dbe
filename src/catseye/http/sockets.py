"""The socket that a server listens on. Called by `command.py`."""

import os
import socket
from pathlib import Path

from catseye.errors import CatseyeError

BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, whose address no other program can take.

    Connections wait until the server is ready.

    Raises:
        CatseyeError: the address cannot be used.

    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # On Windows REUSEADDR would let another program take the same address; elsewhere it only ignores old connections.
    exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR if exclusive is None else exclusive, 1)
    try:
        listener.bind((host, port))
        # Two programs can be bound to an address; only one can listen.
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise CatseyeError(
            f"the address must be free; {host} port {port} cannot be used ({error}); --port 0 takes a free one"
        ) from None
    listener.set_inheritable(True)
    return listener


def bind_path(path: Path) -> socket.socket:
    """A listening Unix socket; one left by a killed server is replaced.

    Raises:
        CatseyeError: there is something else at the path, or another server listens on it.

    """
    if not hasattr(socket, "AF_UNIX"):
        raise CatseyeError("--uds needs Unix sockets, which this system does not have; use --host and --port instead")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _is_answered(path):
            path.unlink()
        listener.bind(os.fspath(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CatseyeError(
            f"--uds takes a free path of about 100 characters at most; {path} cannot be used ({error}); choose another"
        ) from None
    listener.set_inheritable(True)
    return listener


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True  # busy, or not accessible to this user
        return True


def address(listener: socket.socket, root_path: str = "") -> str:
    """What to type into a browser; for a Unix socket `unix:` and its path."""
    if listener.family == getattr(socket, "AF_UNIX", None):
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)  # noqa: S104 - only compared
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{root_path}"
