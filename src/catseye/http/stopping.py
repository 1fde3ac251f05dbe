"""Ends a server so that every connection gets a response.

Enters: listening sockets. Leaves: the same sockets, with no waiting connections and refusing new ones. Closing a socket
resets the connections that wait in it; so first new connections are refused, then the waiting ones are accepted. Called
by `listening.py` and by the supervisor.
"""

import asyncio
import ctypes
import select
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

LAST_HANDSHAKE_S = 0.05  # for connections that are half open
MOST_S = 2.0
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER of Linux; Python's socket has no name for it
# A program for the kernel's packet filter that drops SYN, the first packet of a connection, and lets all others pass:
# load the byte of flags; its second bit set? drop : keep.
_NO_SYN = struct.pack("=HBBI", 0x30, 0, 0, 13) + struct.pack("=HBBI", 0x45, 0, 1, 0x02)
_NO_SYN += struct.pack("=HBBI", 0x06, 0, 0, 0) + struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF)


def let_nobody_in(listener: socket.socket) -> None:
    """Refuse new connections; waiting ones stay in the queue.

    TCP connections are refused on Linux only; elsewhere it does nothing about them.
    """
    if listener.family == getattr(socket, "AF_UNIX", None):
        remove_path(listener)
    elif sys.platform == "linux":
        program = ctypes.create_string_buffer(_NO_SYN)
        with suppress(OSError):  # an old kernel: a handful of connections may be lost, as before
            listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", 4, ctypes.addressof(program)))


def remove_path(listener: socket.socket) -> None:
    """Delete a Unix socket's file, if it is still there."""
    with suppress(OSError):
        path = Path(listener.getsockname())
        if path.is_socket():
            path.unlink()


def somebody_waits(listener: socket.socket) -> bool:
    """Whether a connection waits to be accepted."""
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    return bool(waiting.poll(0))


async def take_the_last(listeners: Sequence[socket.socket], *, shared: bool) -> None:
    """Wait while the loop accepts the waiting connections.

    `shared`: other processes still accept new ones.
    """
    if not shared:
        for listener in listeners:
            let_nobody_in(listener)
    await asyncio.sleep(LAST_HANDSHAKE_S)
    end = asyncio.get_running_loop().time() + MOST_S
    while any(map(somebody_waits, listeners)) and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.005)
