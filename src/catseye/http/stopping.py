"""The end of a server in good order: nobody who has connected is left without an answer.

Enters: listening sockets. Leaves: the same, with nobody waiting in them and nobody let in any more. A socket that is
closed while connections wait in it resets them, and their requests with them; so first nobody new is let in, then those
who wait are taken. Called by `listening.py` and by the supervisor.
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

LAST_HANDSHAKE_S = 0.05  # for connections that were half made
MOST_S = 2.0
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER of Linux; Python's socket has no name for it
# A program for the kernel's packet filter that drops SYN, the first packet of a connection, and lets all others pass:
# load the byte of flags; its second bit set? drop : keep.
_NO_SYN = struct.pack("=HBBI", 0x30, 0, 0, 13) + struct.pack("=HBBI", 0x45, 0, 1, 0x02)
_NO_SYN += struct.pack("=HBBI", 0x06, 0, 0, 0) + struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF)


def let_nobody_in(listener: socket.socket) -> None:
    """From now on nobody can connect; who has connected already stays in the queue. Linux only; elsewhere nothing."""
    if listener.family == getattr(socket, "AF_UNIX", None):
        remove_path(listener)
    elif sys.platform == "linux":
        program = ctypes.create_string_buffer(_NO_SYN)
        with suppress(OSError):  # an old kernel: a handful of connections may be lost, as before
            listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", 4, ctypes.addressof(program)))


def remove_path(listener: socket.socket) -> None:
    """Take a unix socket out of its folder, if it is still the one that lies there."""
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
    """Wait while the loop accepts those who wait. `shared` with other processes, whose callers are let in still."""
    if not shared:
        for listener in listeners:
            let_nobody_in(listener)
    await asyncio.sleep(LAST_HANDSHAKE_S)
    end = asyncio.get_running_loop().time() + MOST_S
    while any(map(somebody_waits, listeners)) and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.005)
