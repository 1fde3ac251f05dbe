"""What the C library does with memory that is freed.

Leaves: large blocks go back to the kernel at once. Called by serving, whose limit of memory is a promise.
"""

import ctypes

_M_MMAP_THRESHOLD = -3
LARGE_BYTES = 8_000_000  # Pillow takes images of many pixels in blocks of 16 MB


def return_large_blocks() -> None:
    """Ask the C library to hand freed blocks of 8 MB and more back instead of keeping them for the thread.

    By itself it keeps larger ones the larger they were, so that a decoding thread holds on to what its largest image
    took. Smaller blocks are kept, and ordinary images decoded as fast as before. Without effect where it is not glibc.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
