"""A process watched at every system call, with nothing but Linux's ptrace: to kill it there, or to see what it wrote.

`follow(act, decide)` forks, runs `act` in the child and stops it before and after each of its system calls.
"""

import ctypes
import os
import platform
import signal
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TRACEME, SYSCALL, SETOPTIONS, POKEUSER, GET_SYSCALL_INFO = 0, 24, 0x4200, 6, 0x420E
SYSGOOD_AND_EXITKILL = 1 | 0x100000
ENTRY, EXIT = 1, 2
NAMES = {
    "x86_64": {
        1: "write", 2: "open", 3: "close", 18: "pwrite64", 20: "writev", 74: "fsync", 75: "fdatasync", 77: "ftruncate",
        82: "rename", 86: "link", 87: "unlink", 257: "openat", 263: "unlinkat", 264: "renameat", 316: "renameat2",
    },
    "aarch64": {
        64: "write", 56: "openat", 57: "close", 68: "pwrite64", 66: "writev", 82: "fsync", 83: "fdatasync",
        46: "ftruncate", 38: "renameat", 276: "renameat2", 37: "linkat", 35: "unlinkat",
    },
}.get(platform.machine(), {})  # fmt: skip
_ORIG_RAX, _RAX = 15 * 8, 10 * 8  # offsets in x86_64's struct user


@dataclass(frozen=True)
class Stop:
    """One system call, before (`entering`) or after it. `paths` are the files it names or has open."""

    number: int
    pid: int
    name: str
    entering: bool
    arguments: tuple[int, ...]
    result: int
    paths: tuple[str, ...] = ()


def why_not() -> str:
    """Why processes cannot be traced here; empty where they can."""
    if sys.platform != "linux" or not NAMES:
        return "ptrace is used as Linux on x86_64 and aarch64 has it"
    seen: list[Stop] = []
    try:
        follow(lambda: os.close(os.open("/", os.O_RDONLY)), seen.append)
    except OSError as error:
        return f"processes cannot be traced here ({error})"
    return "" if seen else "processes cannot be traced here"


def follow(act: Callable[[], object], decide: Callable[[Stop], object]) -> int:
    """Run `act` in a child; `decide(stop)` may answer "kill" or, before a call, an errno to let it fail with.

    Returns the child's wait status.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long

    def ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
        if libc.ptrace(request, pid, address, data) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    pid = os.fork()
    if pid == 0:
        try:
            ptrace(TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            act()
        except BaseException as error:  # noqa: BLE001 - told to the parent
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        raise OSError(0, "PTRACE_TRACEME is not allowed")
    ptrace(SETOPTIONS, pid, 0, SYSGOOD_AND_EXITKILL)
    number, call, fail_with, deliver = 0, ("", (0,) * 6), 0, 0
    info = ctypes.create_string_buffer(88)
    while True:
        ptrace(SYSCALL, pid, 0, deliver)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return status
        deliver = 0 if os.WSTOPSIG(status) == signal.SIGTRAP | 0x80 else os.WSTOPSIG(status)
        if deliver:
            continue
        length = libc.ptrace(GET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
        if length < 0:
            raise OSError(ctypes.get_errno(), "PTRACE_GET_SYSCALL_INFO is not known here")
        entering = info.raw[0] == ENTRY
        if entering:
            numbers = struct.unpack_from("7Q", info.raw, 24)
            call = (NAMES.get(numbers[0], ""), numbers[1:])
        elif fail_with:
            ptrace(POKEUSER, pid, _RAX, ctypes.c_ulong(-fail_with).value)
            fail_with = 0
        result = 0 if entering else struct.unpack_from("q", info.raw, 24)[0]
        stop = Stop(number, pid, call[0], entering, call[1], result, _paths(pid, *call) if call[0] else ())
        number += 1
        answer = decide(stop)
        if answer == "kill":
            os.kill(pid, signal.SIGKILL)
            return os.waitpid(pid, 0)[1]
        if isinstance(answer, int) and answer and entering:
            ptrace(POKEUSER, pid, _ORIG_RAX, ctypes.c_ulong(-1).value)  # no system call at all
            fail_with = answer


def _paths(pid: int, name: str, arguments: tuple[int, ...]) -> tuple[str, ...]:
    places = {
        "open": (0,), "openat": (1,), "rename": (0, 1), "renameat": (1, 3), "renameat2": (1, 3),
        "link": (0, 1), "linkat": (1, 3), "unlink": (0,), "unlinkat": (1,),
    }.get(name)  # fmt: skip
    if places is None:  # a call that takes a descriptor
        try:
            return (str(Path(f"/proc/{pid}/fd/{arguments[0]}").readlink()),)
        except OSError:
            return ()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        return tuple(_text(memory, arguments[place]) for place in places)


def _text(memory: object, address: int) -> str:
    content = b""
    while b"\0" not in content and len(content) < 4096:
        memory.seek(address + len(content))
        content += memory.read(64)
    return content.partition(b"\0")[0].decode("utf-8", "replace")
