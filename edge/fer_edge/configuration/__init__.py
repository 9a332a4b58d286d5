"""The configuration: TOML, environment and command line, checked key by key.

::

    config = load_config(Path("config.toml"), os.environ, {"source.spec": args.source})
"""

from __future__ import annotations

from fer_edge.configuration.load import Origin, Resolved, find_config, find_faults, load_config, resolve_config
from fer_edge.configuration.schema import Config

__all__ = ["Config", "Origin", "Resolved", "find_config", "find_faults", "load_config", "resolve_config"]
