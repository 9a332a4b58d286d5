"""Making the bundle: gathered in a folder beside the wanted one, which then takes its name in one step."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import fer_edge
from fer_edge.bundle import debs, first_boot
from fer_edge.bundle.options import BundleOptions
from fer_edge.bundle.wheels import gather_wheels
from fer_edge.contract.files import sync
from fer_edge.errors import OutputError, UsageError

FORMAT: Final = 1
"""Version of manifest.json."""

BOOT_PARTITION_BYTES: Final = 400_000_000
"""What Raspberry Pi OS leaves free of its boot partition of 512 MiB, about."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was made.

    Attributes:
        folder: where it is.
        manifest: what manifest.json says.
        size: all of its files, in bytes.
    """

    folder: Path
    manifest: dict[str, Any]
    size: int


def make_bundle(options: BundleOptions, installer: Path) -> Bundle:
    """Make the folder that is copied to a card's boot partition.

    Args:
        options: what it is made from.
        installer: the folder of install.sh, the units and ``first-boot``.

    Raises:
        UsageError: if something is in the way, or the options do not fit together.
        ConfigError: if the configuration cannot be used.
        ModelError: if a model is damaged.
        OutputError: if wheels or packages cannot be had, or the folder cannot be written; nothing is left behind.
    """
    _check(options)
    with _folder(options.out, overwrite=options.overwrite) as stage:
        inner = stage / "fer-edge"
        inner.mkdir()
        _copy_installer(installer, stage, options)
        constraints = installer / f"constraints-{options.release.name}.txt"
        wheels = gather_wheels(options.release, options.architecture, constraints, inner / "wheels", options.wheelhouse)
        packages = debs.gather_debs(options, inner / "debs") if options.with_kiosk or options.debs else []
        if options.config is not None:
            shutil.copyfile(options.config, inner / "config.toml")
        if options.models:
            (inner / "models").mkdir()
            for model in options.models:
                shutil.copyfile(model, inner / "models" / model.name)
        version = wheels.get("fer_edge", fer_edge.__version__)
        _write(inner / "settings.sh", first_boot.settings(options, version), secret=True)
        # firstrun.sh counts its attempts in there; the two lists cannot hold their own checksums.
        sums = "".join(f"{digest}  {path}\n" for path, digest, _ in _checksums(inner))
        _write(inner / "SHA256SUMS", sums)
        _write_first_boot(stage, options, hashlib.sha256(sums.encode()).hexdigest())
        _write(stage / "FER-EDGE-README.txt", _readme(options))
        manifest = _manifest(stage, options, version, wheels, packages)
        _write(inner / "manifest.json", json.dumps(manifest, indent=1) + "\n")
        size = sum(path.stat().st_size for path in stage.rglob("*") if path.is_file())
    return Bundle(options.out, manifest, size)


def _check(options: BundleOptions) -> None:
    """Refuse what could not work on the card, before anything is downloaded."""
    from fer_edge.configuration import load_config
    from fer_edge.contract.tflite_file import read_model_file

    for folder, option in ((options.wheelhouse, "--wheelhouse"), (options.debs, "--debs")):
        if folder is not None and not folder.is_dir():
            raise UsageError(f"{option} {folder}: there is no such folder")
    if options.config is not None:
        load_config(options.config, env={})
    for model in options.models:
        read_model_file(model)
    names = [model.name for model in options.models]
    if len(set(names)) < len(names):
        raise UsageError(f"two models are called {max(names, key=names.count)}: on the card they share a folder")
    if options.cmdline is not None and options.release.uses_cloud_init:
        raise UsageError(f"--cmdline is for Bookworm: {options.release.name} starts the installation by cloud-init")


@contextmanager
def _folder(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a folder beside ``target`` that takes its name in the end; readable by its owner only, for its secrets."""
    target = target.absolute()
    if target.exists() or target.is_symlink():
        if not overwrite:
            raise UsageError(
                f"{target}: is there already; add --overwrite to replace the bundle, or name another folder"
            )
        if not (target / "fer-edge" / "manifest.json").is_file():
            raise UsageError(f"{target}: is not a bundle, and is not replaced; name another folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".partial", dir=target.parent))
    except OSError as error:
        raise _cannot_write(target, error) from error
    former = stage.with_suffix(".former")
    try:
        yield stage
        for path in [*stage.rglob("*"), stage]:
            sync(path)
        if target.exists():
            target.rename(former)
        stage.rename(target)
        sync(target.parent)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise _cannot_write(target, error) from error
    finally:
        if former.exists() and not target.exists():
            former.rename(target)
        for leftover in (stage, former):
            shutil.rmtree(leftover, ignore_errors=True)


def _copy_installer(installer: Path, stage: Path, options: BundleOptions) -> None:
    """Take along install.sh with its units, and the scripts of the first boot."""
    inner = stage / "fer-edge"
    (inner / "installer").mkdir()
    for path in sorted(installer.iterdir()):
        if path.is_file():
            shutil.copyfile(path, inner / "installer" / path.name)
    shutil.copyfile(installer / "first-boot" / "first-boot.sh", inner / "first-boot.sh")
    if not options.release.uses_cloud_init:
        shutil.copyfile(installer / "first-boot" / "firstrun.sh", stage / "firstrun.sh")
        (stage / "firstrun.sh").chmod(0o755)


def _write_first_boot(stage: Path, options: BundleOptions, digest: str) -> None:
    if options.release.uses_cloud_init:
        user_data, network = first_boot.user_data(options), first_boot.network_config(options)
        digest = hashlib.sha256(f"{digest}{user_data}{network}".encode()).hexdigest()
        _write(stage / "user-data", user_data, secret=True)
        _write(stage / "network-config", network, secret=True)
        _write(stage / "meta-data", first_boot.meta_data(options, digest))
        _write(stage / "fer-edge" / "uses-cloud-init", "")
    elif options.cmdline is not None:
        try:
            text = options.cmdline.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--cmdline {options.cmdline}: cannot be read; name the card's cmdline.txt") from error
        _write(stage / "cmdline.txt", first_boot.changed_cmdline(text, str(options.cmdline)))


def _manifest(
    stage: Path, options: BundleOptions, version: str, wheels: dict[str, str], packages: list[str]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "fer_edge": version,
        "release": options.release.name,
        "architecture": options.architecture,
        "python": options.release.python,
        "kiosk": options.kiosk,
        "hostname": options.hostname or None,
        "user": options.user.name if options.user else None,
        "wifi": options.wifi is not None,
        "wheels": wheels,
        "debs": packages,
        "models": [model.name for model in options.models],
        "files": [{"path": path, "bytes": size, "sha256": digest} for path, digest, size in _checksums(stage)],
    }


def _checksums(folder: Path) -> list[tuple[str, str, int]]:
    """Return path, SHA-256 and size of each file below ``folder``, in the paths' order."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return [(name, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size) for name, path in files]


def _readme(options: BundleOptions) -> str:
    """Ten lines for the person with the card."""
    if options.release.uses_cloud_init:
        start = "Replace user-data, meta-data and network-config, which the card has already."
    elif options.cmdline is not None:
        start = "Replace cmdline.txt, which the card has already; this one belongs to that very card."
    else:
        start = f"Add to the end of the one line in the card's cmdline.txt: {' '.join(first_boot.CMDLINE_WORDS)}"
    return f"""\
fer-edge: first boot without network or keyboard
1. Flash Raspberry Pi OS (64-bit, {options.release.name.capitalize()}) with Raspberry Pi Imager. Say no to its settings.
2. Copy everything in this folder to the card's partition "bootfs", keeping the folder fer-edge.
3. {start}
4. Put the card into the Raspberry Pi, connect camera and screen, switch it on, and wait five to ten minutes.
5. If the power goes meanwhile, switch it on again: it goes on where it has to.
6. Trouble? fer-edge-first-boot.log on the card's partition tells, on any PC.
7. When it is done, keys and passwords are gone from the partition, and this bundle with them.
8. fer-edge/manifest.json says what is in here, with checksums.
9. People who can be seen by the camera must be told: see fer-edge/installer/README.md for a text and the law.
"""


def _write(path: Path, text: str, *, secret: bool = False) -> None:
    path.touch(0o600 if secret else 0o644)
    path.write_text(text, encoding="utf-8", newline="\n")


def _cannot_write(target: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{target}: the bundle cannot be written ({error.strerror or error}); free some space or name another folder"
    )
