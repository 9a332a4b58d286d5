"""The disk of the virtual machine: Debian Trixie with its own kernel, the camera stack, and fer-edge.

``mmdebstrap`` builds the root from the archive that this machine's apt uses; it is kept. For each use a copy of it is
made, ``systemd/install.sh`` installs fer-edge there, as it would in an image that is being prepared for a card, and
``mke2fs -d`` makes a file system of it. Kernel and initramfs lie beside it for a direct boot.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.service.machine import cache, debian_archive

RELEASE: Final = "trixie"

PACKAGES: Final = (
    *("systemd", "systemd-sysv", "dbus", "udev", "kmod", "linux-image-amd64", "qemu-guest-agent"),
    *("python3", "curl", "procps", "psmisc", "v4l-utils"),
    # libcamera as Debian has it, and what apt has of picamera2's dependencies.
    *("libcamera-ipa", "libcamera-tools", "python3-libcamera", "python3-prctl", "python3-numpy", "python3-pil"),
    *("python3-av", "python3-jsonschema", "python3-libarchive-c", "python3-piexif", "python3-tqdm"),
    # PiDNG is built from source.
    *("python3-pip", "python3-setuptools", "python3-dev", "gcc", "libc6-dev"),
)
PICAMERA2: Final = ("picamera2==0.3.38", "PiDNG==4.0.9", "videodev2==0.0.4", "simplejpeg==1.9.0", "OpenEXR==3.5.3")
"""Debian has no python3-picamera2; Raspberry Pi OS has."""

FIRST_MODULES: Final = ("virtio_pci", "virtio_blk", "ext4")
_SIZE: Final = "4G"
"""Sparse; 1.2 GB are used."""

_PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps")
_PLATFORMS: Final = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")


@dataclass(frozen=True, slots=True)
class Image:
    """What a boot needs."""

    disk: Path
    kernel: Path
    initramfs: Path


def base() -> Path:
    """Return a root without fer-edge, built if there is none of this recipe yet (about eight minutes and a network)."""
    recipe = repr((PACKAGES, PICAMERA2, FIRST_MODULES))
    root = cache() / "vm" / f"{RELEASE}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if not root.exists():
        partial = root.with_name(f".{os.getpid()}-{root.name}")
        partial.mkdir(parents=True)
        try:
            _build(partial)
            partial.rename(root)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return root


def install(share: Path, folder: Path) -> Image:
    """Install fer-edge from ``share``, which holds systemd/ and wheelhouse/, and make the disk in ``folder``."""
    root = folder / "root"
    subprocess.run(["cp", "--archive", base(), root], check=True)
    (root / "share").mkdir()
    # In a name space of its own, so that the mounts go away with it. Without a /run/systemd nothing is started.
    script = 'mount --bind "$1" "$2/share" && mount -t proc proc "$2/proc" && '
    script += 'exec chroot "$2" /share/systemd/install.sh --wheelhouse /share/wheelhouse'
    subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", share, root], check=True)
    made = Image(folder / "disk.ext4", folder / "vmlinuz", folder / "initrd.img")
    for target in (made.kernel, made.initramfs):
        shutil.copy(next((root / "boot").glob(f"{target.name}-*")), target)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", root, made.disk, _SIZE], check=True)
    shutil.rmtree(root)
    return made


def _build(root: Path) -> None:
    settings = "/etc/initramfs-tools"
    few_modules = f'mkdir -p "$1{settings}/conf.d"; echo MODULES=list >"$1{settings}/conf.d/vm"; ' + (
        f'printf "%s\\n" {" ".join(FIRST_MODULES)} >"$1{settings}/modules"'
    )
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    subprocess.run([*command, f"--essential-hook={few_modules}", RELEASE, root, debian_archive()], check=True)
    _install_picamera2(root)
    (root / "etc/hostname").write_text("vm\n")


def _install_picamera2(root: Path) -> None:
    """Install picamera2 where apt would, from files that this machine's pip fetched: the root may have no network."""
    wheels = root / "wheels"
    wheels.mkdir()
    binary = [f"--platform={name}" for name in _PLATFORMS]
    binary += ["--python-version=3.13", "--implementation=cp", "--abi=cp313", "--abi=none", "--only-binary=:all:"]
    source = [name for name in PICAMERA2 if name.startswith("PiDNG")]
    subprocess.run([*_PIP, "--dest", wheels, *binary, *(set(PICAMERA2) - set(source))], check=True)
    subprocess.run([*_PIP, "--dest", wheels, "--no-build-isolation", "--no-binary=:all:", *source], check=True)
    command = ["python3", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    command += ["--no-cache-dir", "--root-user-action=ignore", "--break-system-packages"]
    packages = [f"/wheels/{path.name}" for path in wheels.iterdir()]
    target = "--target=/usr/lib/python3/dist-packages"
    subprocess.run(["chroot", root, *command, target, *packages], check=True)
    shutil.rmtree(wheels)
