"""One finding of the doctor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

Status: TypeAlias = Literal["ok", "warn", "fail", "skip"]


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was looked at, what was found, and what to do about it."""

    name: str
    status: Status
    """``fail``: fer-edge cannot do its work. ``warn``: it can, but something is missing or wrong. ``skip``: there is
    nothing of that kind here."""
    found: str
    advice: str = ""
    """The way out, with the exact command where one mends it; "" when all is well."""


def failed(checks: Sequence[Check]) -> bool:
    """Whether one of ``checks`` failed."""
    return any(check.status == "fail" for check in checks)
