"""The socket that a server listens at. Called by `command.py`."""

import os
import socket
from pathlib import Path

from catseye.errors import CatseyeError

BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """The socket, listening already: from now on nobody else has this address. Who connects waits until we are ready.

    Raises:
        CatseyeError: the address cannot be had.

    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # Windows: REUSEADDR would let another program take the same address; elsewhere it only forgives old connections.
    exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR if exclusive is None else exclusive, 1)
    try:
        listener.bind((host, port))
        # Two that are bound and do not listen yet are both allowed: only listening decides whose it is.
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise CatseyeError(
            f"an address that is free is needed; {host} port {port} cannot be had ({error}); --port 0 takes a free one"
        ) from None
    listener.set_inheritable(True)
    return listener


def bind_path(path: Path) -> socket.socket:
    """A unix socket, listening already; what a killed server left there is replaced.

    Raises:
        CatseyeError: there is something else at the path, or another server listens at it.

    """
    if not hasattr(socket, "AF_UNIX"):
        raise CatseyeError("--uds needs unix sockets, which this system has not; say --host and --port instead")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _is_answered(path):
            path.unlink()
        listener.bind(os.fspath(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CatseyeError(
            f"--uds takes a path that is free, of at most some 100 characters; {path} cannot be had ({error}); "
            "name another one"
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
            return True  # busy, or not ours to judge
        return True


def address(listener: socket.socket, root_path: str = "") -> str:
    """What to type into a browser; of a unix socket, its path behind `unix:`."""
    if listener.family == getattr(socket, "AF_UNIX", None):
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)  # noqa: S104 - only compared
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{root_path}"
