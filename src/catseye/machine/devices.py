"""Which device computes, in which precision, and what becomes of freed memory."""

import ctypes
import gc
import time
from functools import cache

import torch

from catseye.errors import UsageError

_NO_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "ALLOC_FAILED")
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h
_RELEASE_EVERY_S = 10.0  # what is released has to be mapped in anew, some tenths of a second for a gigabyte
_released_at: float | None = None  # since when freed memory is kept in this process; None: it is not


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        UsageError: the named device does not exist here.

    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        # torch raises AssertionError where it was built without CUDA.
        raise UsageError(f"device {name!r} cannot be used here; leave --device out or say cpu") from None
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """The autocast type, or None for full fp32.

    `fastest` means bf16 on devices that compute in it natively: elsewhere it is emulated and slower. `auto` does the
    same on CUDA and stays in fp32 on CPUs, so that a run comes out alike on an old and on a new processor.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" and _native_bf16(device) else None
    if name == "fastest":
        return torch.bfloat16 if _native_bf16(device) else None
    return torch.bfloat16 if name == "bf16" else None


@cache
def _native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    able: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 does not tell
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def keep_freed_memory() -> None:
    """Ask the C library to keep what tensors free instead of handing it back to the kernel.

    A step frees and takes the same hundreds of megabytes again; each time the kernel would have to zero them. What is
    kept between two different kinds of work is of no use to either: `release_freed_memory` belongs in between.
    Without effect where the library is not glibc.
    """
    global _released_at
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 2**28)
    _released_at = time.monotonic()


def release_freed_memory() -> None:
    """Hand freed memory back to the kernel, where `keep_freed_memory` kept it: after an epoch, after an evaluation.

    Large tensors of one kind of work leave gaps that those of another do not fit into; memory grew from epoch to
    epoch. At most every ten seconds, so that short epochs keep what keeping gains.
    """
    global _released_at
    if _released_at is not None and time.monotonic() - _released_at >= _RELEASE_EVERY_S:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        _released_at = time.monotonic()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; processors have no error class of their own for it, only words.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    True
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error)
    # The last is what oneDNN says, of that alone: what it cannot compute it calls a "primitive descriptor".
    known = any(words in said for words in _NO_MEMORY) or said.strip() == "could not create a primitive"
    return isinstance(error, RuntimeError) and known


def free_cached_memory(device: torch.device) -> None:
    """Give back what torch keeps for later, so that smaller pieces find room."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
