"""Which device computes, in which precision, and what happens to freed memory."""

import ctypes
import gc
import time
from functools import cache

import torch

from catseye.errors import UsageError

_NO_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "ALLOC_FAILED")
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h
_RELEASE_EVERY_S = 10.0  # mapping released memory in again costs some tenths of a second per gigabyte
_released_at: float | None = None  # when freed memory was last released; None: this process does not keep it


def choose_device(name: str = "auto") -> torch.device:
    """The named device; `auto` prefers CUDA, then Apple's MPS, then the CPU.

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
        raise UsageError(f"device {name!r} cannot be used here; leave --device out or set it to cpu") from None
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """The autocast type, or None for full fp32.

    `fastest` means bf16 on devices that support it natively: elsewhere it is emulated and slower. `auto` does the
    same on CUDA but stays in fp32 on CPUs, so that a run gives the same result on an old and on a new processor.
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
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # missing in torch 2.11
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def keep_freed_memory() -> None:
    """Make the C library keep the memory of freed tensors for later use.

    Each step frees and allocates the same hundreds of megabytes, which the kernel would have to zero every time.
    Between two different kinds of work the kept memory is of no use: call `release_freed_memory` there. Only glibc can
    do this; elsewhere the call has no effect.
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
    """Return what `keep_freed_memory` kept, after an epoch or an evaluation.

    The large tensors of one kind of work leave gaps that those of another do not fit into, so memory would grow from
    epoch to epoch. It is returned at most every ten seconds, so that short epochs stay fast.
    """
    global _released_at
    if _released_at is not None and time.monotonic() - _released_at >= _RELEASE_EVERY_S:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        _released_at = time.monotonic()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; on a CPU only the message of the error tells.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    True
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    message = str(error)
    # oneDNN's message for a lack of memory only: for what it cannot compute it says "primitive descriptor".
    known = any(words in message for words in _NO_MEMORY) or message.strip() == "could not create a primitive"
    return isinstance(error, RuntimeError) and known


def free_cached_memory(device: torch.device) -> None:
    """Free the memory that torch caches, so that smaller tensors fit."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
