"""The seven expressions and their order.

The order is that of the ids in FER2013 (Goodfellow et al. 2013, "Challenges in Representation Learning"). Folder
loaders sort class names alphabetically, which swaps sad, surprise and neutral: every room takes the order from here,
and every model file carries its own list.
"""

from __future__ import annotations

from typing import Final

LABELS: Final[tuple[str, ...]] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Label of FER2013's class id 0 to 6."""

UNCERTAIN: Final = "uncertain"
"""What the runtime reports for a face whose best score is under the model's threshold; never a class of a model."""
