"""Catching what native libraries print on file descriptor 2, where ``sys.stderr`` and ``logging`` do not reach."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def native_messages(is_noise: Callable[[str], bool]) -> Iterator[list[str]]:
    """Catch the lines for which ``is_noise`` holds while the block runs; all others are passed on after it.

    Lines of other threads may be caught too, so ``is_noise`` must know what it is looking for. Blocks must not overlap
    in time across threads.

    Args:
        is_noise: tells from a line, stripped, whether it is kept back.

    Yields:
        A list, filled when the block ends, with the lines that were kept back.
    """
    messages: list[str] = []
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as caught:
        stderr = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield messages
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(stderr, 2)
            caught.seek(0)
            for line in caught:
                text = line.decode(errors="replace").strip()
                if is_noise(text):
                    messages.append(text)
                elif text:
                    os.write(stderr, line)
            os.close(stderr)
