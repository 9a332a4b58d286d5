"""``python -m fer_edge`` is the same as ``fer-edge``."""

from __future__ import annotations

import sys

from fer_edge.cli import main

sys.exit(main())
