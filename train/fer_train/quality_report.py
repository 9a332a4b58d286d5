"""What :mod:`fer_train.quality` found, as JSON with row numbers, contact sheets and one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract.files import write_bytes
from fer_edge.contract.labels import LABELS
from fer_train.contact_sheet import contact_sheet
from fer_train.fer2013 import SPLITS, Fer2013
from fer_train.fer2013.ferplus import majority_labels
from fer_train.page import columns, figure, gallery, picture, png, section, table, tiles, write_page
from fer_train.plots import bar_plot
from fer_train.quality import (
    CONSTANT_BELOW,
    KINDS,
    NEAR_CORRELATION,
    Quality,
    Rows,
    inspect,
    pairs_by_split,
    rows_to_drop,
)

_IN_PAGE: Final = 60
"""Pictures of each kind in the page; the contact sheets have more, the JSON has all rows."""
_IN_SHEET: Final = 360

_WHAT: Final = {
    "leaks": "Groups of equal images of which one is in Training and another in PublicTest or PrivateTest: a network "
    "has seen the answer. `drop = [\"leaks\"]` in a recipe leaves out the Training one.",
    "conflicts": "Equal images with different labels: at most one label can be right.",
    "identical": "Groups of equal images, pixel by pixel.",
    "near": f"Pairs that are alike but not equal: the same photograph cut, scaled or compressed anew (normalized "
    f"correlation of at least {NEAR_CORRELATION:.2f} at 48x48). The least alike come first.",
    "constant": f"Images whose grey levels have a standard deviation under {CONSTANT_BELOW:.0f}: they show nothing.",
    "not_faces": "Images that FER+'s ten voters most often called \"not a face\".",
    "unclear": "Images of which FER+'s voters most often said \"unknown\": faces that are hard to name. They are "
    "counted here and not among those that a recipe can drop.",
}  # fmt: skip
_TITLES: Final = {
    "leaks": "Leaks between splits",
    "conflicts": "Contradicting labels",
    "identical": "Duplicates",
    "near": "Near-duplicates",
    "constant": "Blank images",
    "not_faces": "No face",
    "unclear": "No clear expression",
}


def write_quality_report(
    data: Fer2013, out: Path, votes: NDArray[np.float32] | None = None, votes_path: Path | None = None
) -> dict[str, Any]:
    """Inspect a data set and write ``report.json``, ``report.html`` and ``KIND.png`` contact sheets in a folder.

    Args:
        data: FER2013 or a part of it. Its images go into the pages, which are the user's to keep.
        out: folder, made if need be.
        votes: (N, 10) FER+ votes on its images.
        votes_path: where the votes come from.

    Returns:
        What ``report.json`` holds.

    Raises:
        OutputError: if something cannot be written.
    """
    found = inspect(data, votes)
    groups = _groups(data, found)
    document = _document(data, found, groups, votes, votes_path)
    for name, shown in groups.items():
        if shown:
            write_bytes(out / f"{name}.png", png(_sheet(data, shown)))
    write_bytes(out / "report.json", msgspec.json.format(msgspec.json.encode(document)))
    write_page(
        out / "report.html",
        "Quality of a FER2013",
        f"{data.source}: {len(data):,} images, sha256 {data.sha256[:12]}",
        [
            _overview(document),
            _balance(data, votes),
            _across(document),
            *(_kind(data, name, shown, found) for name, shown in groups.items()),
        ],
    )
    return document


def _groups(data: Fer2013, found: Quality) -> dict[str, Sequence[Rows]]:
    """What to show of each kind: groups of positions in the data set."""
    near = found.near.pairs[np.argsort(found.near.correlation, kind="stable")]
    crossing = [g for g in found.identical if len(set((data.splits[g] == 0).tolist())) > 1]
    groups: dict[str, Sequence[Rows]] = {
        "leaks": crossing,
        "conflicts": found.conflicts,
        "identical": found.identical,
        "near": list(near),
        "constant": list(found.constant[:, None]),
    }
    if found.not_faces is not None and found.unclear is not None:
        groups |= {"not_faces": list(found.not_faces[:, None]), "unclear": list(found.unclear[:, None])}
    return groups


def _document(
    data: Fer2013,
    found: Quality,
    groups: dict[str, Sequence[Rows]],
    votes: NDArray[np.float32] | None,
    votes_path: Path | None,
) -> dict[str, Any]:
    usable = [kind for kind in KINDS if votes is not None or kind != "not_faces"]
    drops = {kind: len(rows_to_drop(data, [kind], votes)) for kind in usable} if (data.splits == 0).any() else {}
    drops |= {"all": len(rows_to_drop(data, usable, votes))} if drops else {}
    return {
        "data": data.source,
        "data_sha256": data.sha256,
        "ferplus": None if votes_path is None else str(votes_path),
        "images": data.split_counts(),
        "classes": {
            split: dict(zip(LABELS, np.bincount(data.labels[data.splits == i], minlength=7).tolist(), strict=True))
            for i, split in enumerate(SPLITS)
        },
        "thresholds": {"constant_below": CONSTANT_BELOW, "near_correlation": NEAR_CORRELATION},
        "counts": {name: len(shown) for name, shown in groups.items()},
        "images_in_groups": {
            name: len(np.unique(np.concatenate(list(shown)))) if len(shown) else 0 for name, shown in groups.items()
        },
        "pairs": {
            "identical": pairs_by_split(found.identical, data.splits),
            "near": pairs_by_split(list(found.near.pairs), data.splits),
        },
        "test_images_also_in_training": _leaked(data, found),
        "drops_from_training": drops,
        "rows": {
            "constant": data.rows[found.constant].tolist(),
            "identical": [data.rows[group].tolist() for group in found.identical],
            "conflicts": [data.rows[group].tolist() for group in found.conflicts],
            "near": [
                {"rows": data.rows[pair].tolist(), "correlation": round(float(r), 4)}
                for pair, r in zip(found.near.pairs, found.near.correlation, strict=True)
            ],
            "not_faces": None if found.not_faces is None else data.rows[found.not_faces].tolist(),
            "unclear": None if found.unclear is None else data.rows[found.unclear].tolist(),
        },
    }


def _leaked(data: Fer2013, found: Quality) -> dict[str, int]:
    """Images of PublicTest and PrivateTest that are equal to one of Training."""
    with_training = [group for group in found.identical if (data.splits[group] == 0).any()]
    splits = data.splits[np.concatenate(with_training)] if with_training else data.splits[:0]
    return {name: int((splits == i).sum()) for i, name in enumerate(SPLITS) if i}


def _overview(document: dict[str, Any]) -> str:
    counts, images, drops = document["counts"], document["images_in_groups"], document["drops_from_training"]
    leaked = document["test_images_also_in_training"]
    shown = [
        ("equal images", f"{images['identical']:,}", f"in {counts['identical']:,} groups"),
        (
            "test images also in Training",
            f"{sum(leaked.values()):,}",
            ", ".join(f"{name} {count:,}" for name, count in leaked.items()),
        ),
        ("contradicting labels", f"{counts['conflicts']:,}", f"groups, {images['conflicts']:,} images"),
        ("near-duplicates", f"{counts['near']:,}", f"pairs, {images['near']:,} images"),
        ("blank images", f"{counts['constant']:,}", "of one grey, or nearly"),
    ]
    if "not_faces" in counts:
        shown.append(("no face", f"{counts['not_faces']:,}", f"FER+; {counts['unclear']:,} more unclear"))
    rows = [(kind, f"{count:,}") for kind, count in drops.items()]
    after = table(["drop", "images"], rows, "What a recipe's `drop = [...]` would leave out of Training.")
    missing = "" if "not_faces" in counts else "Without FER+ votes (--ferplus) nothing here can tell what is no face."
    return section("What was found", tiles(shown), columns(after, "") if rows else "", note=missing)


def _balance(data: Fer2013, votes: NDArray[np.float32] | None) -> str:
    shares = [
        (f"{split} ({int((data.splits == i).sum()):,})", _shares(data.labels[data.splits == i]))
        for i, split in enumerate(SPLITS)
        if (data.splits == i).any()
    ]
    balance = figure("Share of each expression", bar_plot(LABELS, shares, form="{:.1f} %"))
    if votes is None:
        return section("Class balance", columns(balance, ""))
    labels, valid = majority_labels(votes)
    asked = [valid & (data.labels == i) for i in range(len(LABELS))]
    agreement = [100 * float((labels[rows] == i).mean()) if rows.any() else 0.0 for i, rows in enumerate(asked)]
    agreed = figure(
        "Images of each FER2013 label that FER+'s majority confirms",
        bar_plot(LABELS, [("confirmed", agreement)], form="{:.0f} %", highest=100.0),
    )
    return section("Class balance", columns(balance, agreed))


def _across(document: dict[str, Any]) -> str:
    pairs = document["pairs"]
    rows = [(name, f"{pairs['identical'][name]:,}", f"{pairs['near'][name]:,}") for name in pairs["identical"]]
    return section(
        "Pairs within and across splits",
        table(["splits", "equal", "near-duplicate"], rows),
        note="A group of three equal images makes three pairs. Blank images are not counted.",
    )


def _kind(data: Fer2013, name: str, shown: Sequence[Rows], found: Quality) -> str:
    if not len(shown):
        return section(f"{_TITLES[name]}: none", note=_WHAT[name])
    correlations = np.sort(found.near.correlation, kind="stable")
    pictures = []
    images = 0
    for i, group in enumerate(shown):
        if images >= _IN_PAGE:
            break
        part = group[:4]
        images += len(part)
        crops = [picture(data.pixels[p], _caption(data, int(p)).replace("\n", ", ")) for p in part]
        text = "\n".join(_caption(data, int(p)) for p in part)
        if name == "near":
            text += f"\ncorrelation {correlations[i]:.3f}"
        pictures.append((crops, text))
    left = len(shown) - len(pictures)
    unit = "groups" if len(shown[0]) > 1 else "images"
    more = f" {left:,} more {unit} are in {name}.png (the first {_IN_SHEET}) and report.json." if left else ""
    return section(
        f"{_TITLES[name]}: {len(shown):,}", gallery(pictures, wide=len(shown[0]) > 1), note=_WHAT[name] + more
    )


def _caption(data: Fer2013, position: int) -> str:
    split = SPLITS[data.splits[position]]
    return f"row {data.rows[position]}, {LABELS[data.labels[position]]}, {split}"


def _sheet(data: Fer2013, groups: Sequence[Rows]) -> NDArray[np.uint8]:
    short = ("Tr", "Pu", "Pr")
    return contact_sheet(
        [
            [
                (data.pixels[p], f"{data.rows[p]} {short[data.splits[p]]} {LABELS[data.labels[p]][:4]}")
                for p in group[:12]
            ]
            for group in groups[:_IN_SHEET]
        ]
    )


def _shares(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    counts = np.bincount(labels, minlength=len(LABELS))
    return 100.0 * counts / max(int(counts.sum()), 1)
