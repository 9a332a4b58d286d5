"""Hiding passwords and tokens in what is shown or logged."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"

_USER_INFO = re.compile(r"(?<=://)[^/?#\s]+(?=@)")
"""``user:password`` of a URL; greedy up to the last @, because careless people put an @ into a password."""

_QUERY = re.compile(r"([?&][^=&#\s]*(?:pass|pwd|token|secret|key|auth)[^=&#\s]*=)[^&#\s]+", re.IGNORECASE)
"""``?password=...`` as cheap IP cameras want it."""


def redact(text: str) -> str:
    """Return ``text`` with the credentials of any URL in it replaced by asterisks."""
    return _QUERY.sub(rf"\1{HIDDEN}", _USER_INFO.sub(HIDDEN, text))
