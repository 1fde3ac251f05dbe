"""Which device computes, and in which precision."""

import gc

import torch

from catseye.errors import UsageError


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

    `auto` means bf16 on CUDA devices that compute in it natively. CPUs stay in fp32: without AMX
    units bf16 is emulated and slower.
    """
    if name == "auto":
        native = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if native else None
    return torch.bfloat16 if name == "bf16" else None


_NO_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "ALLOC_FAILED")


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
