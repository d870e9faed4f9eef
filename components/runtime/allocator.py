"""What the C allocator does with freed memory, which decides a good part of a small network's speed on a CPU."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3), from glibc's malloc.h."""

KEPT_BYTES = 1 << 30
"""Of freed memory at the top of the heap that stay with the process."""

LARGEST_FROM_HEAP = 32 << 20
"""Bytes; the most that glibc takes, and what its own dynamic threshold ends at."""


def keep_freed_memory() -> bool:
    """Keep freed memory for the next tensor of its size; True where that is settled (Linux with glibc).

    A forward pass frees what it allocated, and by default glibc hands it back to the kernel as soon as there are
    some hundred kilobytes of it: every pass then has its pages mapped and zeroed anew, 11,000 faults a candidate of
    the embedded model. Memory between passes stays near the peak, and the peak itself grows by up to a seventh, as free
    pieces do not always fit (docs/speed.md). CUDA's allocator is another one.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none, and no need of it
        return False
    # Both, as setting either ends the dynamic threshold, which would leave all tensors above 128 KiB to mmap.
    return bool(mallopt(TRIM_THRESHOLD, KEPT_BYTES)) and bool(mallopt(MMAP_THRESHOLD, LARGEST_FROM_HEAP))
