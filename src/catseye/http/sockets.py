"""The socket that a server listens at. Called by `command.py`."""

import socket

from catseye.errors import CatseyeError


def bind(host: str, port: int) -> socket.socket:
    """The listening socket.

    Raises:
        CatseyeError: the address cannot be had.

    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise CatseyeError(
            f"an address that is free is needed; {host} port {port} cannot be had ({error}); --port 0 takes a free one"
        ) from None
    listener.set_inheritable(True)
    return listener


def address(listener: socket.socket) -> str:
    """What to type into a browser."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)  # noqa: S104 - only compared
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
