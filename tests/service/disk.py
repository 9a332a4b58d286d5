"""A disk that can lose its power: an ext4 image on a loop device, shut down without writing anything more.

Killing processes is no power cut: what they wrote lies in the kernel's memory and reaches the disk later. ext4's
shutdown (the ioctl that XFS calls "going down"; fstests use it for the same) forgets all of that at once. What had been
written stays, and the journal is replayed when the file system is mounted again, as after a real cut.
"""

from __future__ import annotations

import fcntl
import functools
import os
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

SIZE_BYTES: Final = 8 << 30
"""Sparse: it takes what is written."""

_SHUTDOWN: Final = 0x8004587D
"""EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32), of the kernel's <linux/ext4.h>."""

_WITHOUT_JOURNAL: Final = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: not even the journal is written."""


class Disk:
    """A disk, mounted from the beginning.

    Args:
        image: the file that it is.
        mount_point: the folder where it is mounted; made if need be.
        size: of the disk, in bytes.
    """

    def __init__(self, image: Path, mount_point: Path, size: int = SIZE_BYTES) -> None:
        self._image = image
        self.mount_point = mount_point
        with image.open("xb") as file:
            file.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        self.attach()

    def cut(self) -> None:
        """Forget what is not on the disk; from now on everything fails."""
        descriptor = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("=I", _WITHOUT_JOURNAL))
        finally:
            os.close(descriptor)

    def attach(self) -> None:
        """Mount it."""
        self.mount_point.mkdir(exist_ok=True, parents=True)
        subprocess.run(["mount", "-o", "loop", self._image, self.mount_point], check=True)

    def remove(self) -> None:
        """Unmount it and remove the image."""
        self.detach()
        self._image.unlink()

    def detach(self) -> None:
        """Unmount it."""
        # The mounts of a container go a moment after its last process.
        for _ in range(100):
            done = subprocess.run(["umount", self.mount_point], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                break
            time.sleep(0.1)
        else:
            raise AssertionError(done.stderr)
        if not self._is_free():
            # A container that was started meanwhile has a copy of all mounts, this one, too: mounted again, the image
            # would still be the file system that was shut down. So go on with a copy of what is on the disk.
            copy = self._image.with_name(f"copy-of-{self._image.name}")
            subprocess.run(["cp", "--reflink=auto", self._image, copy], check=True)
            copy.replace(self._image)

    def _is_free(self) -> bool:
        """Whether no loop device holds the image any more, or soon."""
        for _ in range(100):
            if not subprocess.run(["losetup", "-j", self._image], capture_output=True, text=True, check=True).stdout:
                return True
            time.sleep(0.1)
        return False


@functools.cache
def forgets() -> bool:
    """Whether this machine can have such disks: tried with a small one, which really has to forget."""
    with tempfile.TemporaryDirectory() as folder:
        mount_point = Path(folder, "mounted")
        try:
            disk = Disk(Path(folder, "image"), mount_point, 16 << 20)
        except (OSError, subprocess.CalledProcessError):
            return False
        try:
            (mount_point / "kept").touch()
            subprocess.run(["sync", "--file-system", mount_point], check=True)
            (mount_point / "forgotten").touch()
            disk.cut()
            disk.detach()
            disk.attach()
            return [path.name for path in mount_point.iterdir() if path.is_file()] == ["kept"]
        except OSError:
            return False
        finally:
            disk.remove()
