"""The C library's allocator, told how a service that runs for months wants it.

Lives here: that one setting. Not here: how much anybody may keep (settings)."""

from __future__ import annotations

import ctypes
import platform
from typing import Final

LARGE_BYTES: Final = 262_144
"""A block of this size or more is mapped by itself, and goes back to the system the moment it is freed."""
SPARE_BYTES: Final = 4_194_304
"""So much free memory at the end of a heap is kept for what comes next."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def give_back_large_blocks() -> bool:
    """Has columns that are let go of return to the system. Answers whether that could be set: with glibc alone.

    By itself glibc raises the size from which a block is mapped up to 32 MiB as soon as one of that size is freed;
    from then on columns of some hundred thousand readings lie in the heaps of a dozen threads, between blocks that
    stay, and a quarter of the service's memory is holes that come and go.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, SPARE_BYTES))
