"""The benchmark's result for people."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fer_convert.latency_stages import STAGES


def print_tables(result: dict[str, Any], console: Console) -> None:
    """Print the document of :func:`fer_convert.benchmark.run_benchmark` as tables."""
    machine, models = result["machine"], result["models"]
    # A short name is enough as long as no two files share it.
    names = _names([model["path"] for model in models])
    head = f"{machine['board'] or machine['cpu']}, {machine['architecture']}, {machine['cores']} cores"
    console.print(f"{head}, {machine['os']}, {machine['runtime']}{', EMULATED' if machine['emulated'] else ''}")
    if not result["valid"]:
        console.print(f"[bold red]INVALID[/]: {'; '.join(result['invalid_because'])}")
    console.print(_latency(models, names))
    console.print(_costs(models, names))
    if any(model["stages"] for model in models):
        console.print(_stages(models, names))
    for name, model in zip(names, models, strict=True):
        if any("ms" in one for one in model["operators"] or ()):
            console.print(_operators(name, model))
        if "sustained" in model:
            sustained = model["sustained"]
            console.print(
                f"{name}: {sustained['seconds'] / 60:.1f} minutes without a pause, {sustained['threads']} threads: "
                f"the last tenth takes {sustained['slowdown']:.2f} times as long as the first"
            )
    state = result["board"]["after"]
    told = [
        f"{state['temperature_c']:.1f} C" if state["temperature_c"] is not None else "",
        f"{state['clock_mhz']:.0f} MHz" if state["clock_mhz"] is not None else "",
        f"governor {state['governor']}" if state["governor"] else "",
        f"load {state['load']:.1f}",
    ]
    console.print(f"after the run: {', '.join(part for part in told if part)}")


def _latency(models: list[dict[str, Any]], names: list[str]) -> Table:
    table = _table("classifier alone, ms an invocation", ("thr", "p50", "95 %", "p90", "p95", "p99", "max", "ratio"))
    base = {one["threads"]: one["latency_ms"]["p50"] for one in models[0]["threads"]}
    for name, model in zip(names, models, strict=True):
        for one in model["threads"]:
            latency = one["latency_ms"]
            table.add_row(
                name,
                str(one["threads"]),
                _ms(latency["p50"]) + ("" if one["stable"] else "*"),
                f"{_ms(latency['p50_low'])}-{_ms(latency['p50_high'])}",
                *(_ms(latency[key]) for key in ("p90", "p95", "p99", "max")),
                f"{latency['p50'] / base[one['threads']]:.2f}",
            )
    if not all(one["stable"] for model in models for one in model["threads"]):
        table.caption = "* the warm-up never became stable: something else uses this machine"
    return table


def _costs(models: list[dict[str, Any]], names: list[str]) -> Table:
    """What else a model costs, with the fewest threads, and what it gives."""
    columns = ["cold start", "first", "RSS MB", "arena kB", "kB"]
    accuracy = any("accuracy" in model for model in models)
    table = _table(
        "start, ms (medians), memory and size" + (", accuracy on FER2013" if accuracy else ""),
        columns + (["accuracy", "macro F1", "ECE"] if accuracy else []),
    )
    for name, model in zip(names, models, strict=True):
        one = model["threads"][0]
        cells = [
            f"{median(one['cold_start_ms']):.0f}",
            _ms(median(one["first_inference_ms"])),
            f"{one['peak_rss_mb']:.0f}",
            "?" if model["arena_bytes"] is None else f"{model['arena_bytes'] / 1000:.0f}",
            f"{model['bytes'] / 1000:.0f}",
        ]
        if "accuracy" in model:
            figures = model["accuracy"]
            cells += [f"{figures['accuracy']:.2%}", f"{figures['macro_f1']:.2%}", f"{figures['ece']:.3f}"]
        table.add_row(name, *cells)
    return table


def _stages(models: list[dict[str, Any]], names: list[str]) -> Table:
    threads = next(model["stages"]["threads"] for model in models if model["stages"])
    title = f"demo scene, mean ms a frame by stage, {threads} thread{'s' * (threads != 1)}"
    table = _table(title, (*STAGES, "total p50", "faces", "RSS MB"))
    for name, model in zip(names, models, strict=True):
        if stages := model["stages"]:
            table.add_row(
                name,
                *(_ms(stages["mean_ms"][stage]) for stage in STAGES),
                _ms(stages["ms_a_frame"]["total"]["p50"]),
                f"{stages['faces_a_frame']:.2f}",
                f"{stages['peak_rss_mb']:.0f}",
            )
    return table


def _operators(name: str, model: dict[str, Any]) -> Table:
    """What each operator adds to an invocation."""
    threads = model["threads"][0]["threads"]
    table = Table(
        title=f"{name}, operators in their order, {threads} thread{'s' * (threads != 1)}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in ("operator", "output", "MMAC", "ms", "share"):
        table.add_column(column, justify="left" if column == "operator" else "right", no_wrap=True)
    whole = sum(one["ms"] for one in model["operators"]) or 1.0
    for one in model["operators"]:
        output = "x".join(map(str, one["output"]))
        share = f"{one['ms'] / whole:.1%}"
        table.add_row(one["operator"], output, f"{one['multiplications'] / 1e6:.2f}", f"{one['ms']:.4f}", share)
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("model", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _ms(value: float) -> str:
    """Three digits that matter: 0.123, 1.23, 12.3, 123."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def _names(paths: list[str]) -> list[str]:
    short = [path.rsplit("/", 1)[-1].removesuffix(".tflite") for path in paths]
    return short if len(set(short)) == len(short) else paths
