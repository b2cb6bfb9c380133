"""How a serving process treats memory: settings of Python and of the C library that suit thousands of pictures an hour."""

from __future__ import annotations

import ctypes
import gc
import sys

# glibc's numbers for mallopt, from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_MIB = 1024 * 1024
# Blocks below this come from memory that the process keeps; the largest body that is accepted is above it.
MMAP_THRESHOLD_BYTES = 32 * _MIB
# Freed memory at the end of the heap that is kept for the next picture.
TRIM_THRESHOLD_BYTES = 128 * _MIB
TOP_PAD_BYTES = 8 * _MIB
# The event loop's own, and one that all other threads share.
ARENAS = 2


def collect_seldom() -> None:
    """Collect less often: code that is imported and requests make thousands of objects and hardly a cycle.

    Before the imports of a command it saves a fifth of the time that they take.
    """
    gc.set_threshold(50_000, 20, 100)


def leave_out_what_is_loaded() -> None:
    """Never look through the code itself for garbage: it never goes away."""
    gc.collect()
    gc.freeze()


def keep_freed_memory() -> None:
    """Reuse the memory of large buffers. Does nothing where the C library is not glibc.

    By itself glibc takes each megabyte anew from the system and gives it back afterwards, which costs hundreds of page faults
    for every picture: a fifth of what the event loop does for an answer of 1.5 MB.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
    mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
    mallopt(_M_TOP_PAD, TOP_PAD_BYTES)
    mallopt(_M_ARENA_MAX, ARENAS)
