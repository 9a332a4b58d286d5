"""FER2013 (Goodfellow et al. 2013, "Challenges in Representation Learning"), read in any form in which people have it.

The challenge's own split is the only one: nothing here shuffles, resamples or splits again. Needs NumPy and OpenCV,
not Keras, so that a quantized model can be evaluated with the base install.
"""

from __future__ import annotations

from fer_train.fer2013.dataset import OFFICIAL_COUNTS, SIDE, SPLITS, Fer2013, Fer2013Warning
from fer_train.fer2013.reader import load

__all__ = ["OFFICIAL_COUNTS", "SIDE", "SPLITS", "Fer2013", "Fer2013Warning", "load"]
