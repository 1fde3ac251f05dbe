"""What this computer has, and how much of it may be used.

Called by every room that chooses a number of threads, a device or a size by itself. `cores` and `groups`
import no torch.

    allocator.py  returns large freed blocks of memory to the kernel
    cores.py      how many cores this process may use, and how old it is
    devices.py    which device computes, in which precision; its freed memory
    groups.py     the control groups that limit this process
    waiting.py    a progress line for a long loop over images: done, rate, time left
    memory.py     how much memory is free, on the machine and in the container
"""
