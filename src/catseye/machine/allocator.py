"""Large blocks of freed memory go back to the kernel at once.

By default the C library keeps them. Called by serving, which promises to stay within a memory limit.
"""

import ctypes

_M_MMAP_THRESHOLD = -3
LARGE_BYTES = 8_000_000  # Pillow takes images of many pixels in blocks of 16 MB


def return_large_blocks() -> None:
    """Make the C library return freed blocks of 8 MB and more to the kernel.

    By default its threshold grows with the blocks that are freed, so a decoding thread keeps as much memory as its
    largest image took. Smaller blocks are still kept, so ordinary images decode as fast as before. Only glibc can do
    this; elsewhere the call has no effect.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
