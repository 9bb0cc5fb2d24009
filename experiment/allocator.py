"""Memory that a process frees stays with the process, so that the next training step finds it there.

A step on a CPU allocates and frees the same large blocks again and again. By default the C library returns them to
the kernel, which has to clear every page anew: a third of the time of small networks, in both frameworks (measured in
docs/speed.md).
"""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of mallopt(3)
LARGEST = 2**31 - 1  # bytes; mallopt takes an int


def keep_freed_memory() -> None:
    """Make glibc's malloc keep freed memory for the whole process; elsewhere do nothing.

    Call it before threads start. If the environment has settings for malloc already, they stand.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc" in tunables or any(name.startswith("MALLOC_") for name in os.environ):
        return
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return
    mallopt(M_MMAP_THRESHOLD, LARGEST)  # a block with a mapping of its own always goes back to the kernel
    mallopt(M_TRIM_THRESHOLD, LARGEST)
    mallopt(M_ARENA_MAX, 1)  # another thread's arena grows by 64 MB at most, and maps what is larger
