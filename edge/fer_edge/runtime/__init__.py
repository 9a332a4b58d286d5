"""Running: from a configuration to results, for as long as it takes.

::

    runtime = Runtime(assemble(resolve_config(None)))
    summary = runtime.run()
"""

from __future__ import annotations

from fer_edge.runtime.engine import Runtime
from fer_edge.runtime.output_set import OutputPlan, planned
from fer_edge.runtime.parts import Parts, assemble
from fer_edge.runtime.summary import RunStatistics, RunSummary

__all__ = ["OutputPlan", "Parts", "RunStatistics", "RunSummary", "Runtime", "assemble", "planned"]
