"""What this computer has, and how much of it may be used.

Called by every room that chooses a number of threads, a device or a size by itself. `cores` and `groups`
import no torch.

    allocator.py  freed blocks of memory, large ones, go back to the kernel
    cores.py      how many cores this process may use
    devices.py    which device computes, in which precision
    groups.py     the control groups that limit this process
    waiting.py    a line while a loop over images takes long: done, rate, time left
    memory.py     how much memory is free, on the machine and in the container
"""
