"""`fer-edge` with a thread beside it that notes how much memory is in use, not how much was ever asked for.

    python benchmarks/heap_watch.py FILE run --source clip.avi ...

A process hardly ever gives memory back, so its resident memory is a high-water mark, which can only rise: each rare
event that needs a little more leaves a step. What is allocated at a moment can fall, and so tells a leak from such
steps. FILE gets a line of JSON each tenth of a second: monotonic seconds, bytes that malloc (glibc's) has given
out, and the number of Python's own small blocks.

Two stocks of free memory would count as used, and they are high-water marks themselves: Python's free lists (2,000
tuples of each length, floats, lists), which a full collection empties, and so one goes before each look; and malloc's
cache for each thread, which :data:`WITHOUT_CACHE` switches off when the process starts.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import threading
import time
from pathlib import Path
from typing import Final

from fer_edge.cli import main

_EVERY_S: Final = 0.1
WITHOUT_CACHE: Final = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""Environment of the process. What the cache keeps for threads, up to 7 pieces of each size, is used to glibc."""
_FIELDS: Final = (
    "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"  # struct mallinfo2 of malloc.h
)


class _MallInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS.split()]


def watch(path: Path) -> None:
    """Note until the process ends."""
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = _MallInfo
    with path.open("w", buffering=1) as file:
        while True:
            gc.collect()
            info = library.mallinfo2()
            heap = info.uordblks + info.hblkhd
            file.write(json.dumps({"at": time.monotonic(), "heap": heap, "blocks": sys.getallocatedblocks()}) + "\n")
            time.sleep(_EVERY_S)


if __name__ == "__main__":
    threading.Thread(target=watch, args=(Path(sys.argv[1]),), daemon=True).start()
    sys.exit(main(sys.argv[2:]))
