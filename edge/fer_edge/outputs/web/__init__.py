"""``web[:[HOST:]PORT]``: the dashboard, by default on http://127.0.0.1:8787/.

::

    output = WebOutput(WebSettings(), control)
    output.open()
    output.write(observation, image)
    output.status(status)
    output.close()

Nothing is stored: the newest frame and five minutes of counts are kept in memory, and both are gone at the end.
"""

from __future__ import annotations

from fer_edge.outputs.web.output import WebOutput

__all__ = ["WebOutput"]
