"""From a configuration to the parts of a run, ready to work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fer_edge.configuration import Config, Resolved
from fer_edge.configuration.settings import output_settings, schedule_settings, source_settings
from fer_edge.model_store import find_model
from fer_edge.outputs import OutputSettings
from fer_edge.pipeline import Pipeline, build_detector, build_smoother
from fer_edge.runtime.model_watch import ModelChoice
from fer_edge.runtime.output_set import OutputPlan, planned
from fer_edge.runtime.selection import selection_file
from fer_edge.sources import Source, SourceSettings, open_source, parse_source
from fer_edge.sources.supervised import longest_wait_s
from fer_edge.vision.classifier import ExpressionClassifier
from fer_edge.vision.schedule import DetectionSchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a run is made of. Nothing is opened; the model is loaded and warm."""

    config: Config
    build_source: Callable[[], Source]
    """Makes the source, unopened; called again when a live one has to be replaced."""
    source_settings: SourceSettings
    live: bool
    """Whether the source is live; else it is finite and processed whole."""
    longest_wait_s: float
    """The cap of the growing waits before a live source that failed is opened again."""
    pipeline: Pipeline
    classifier: ExpressionClassifier
    model: ModelChoice
    outputs: tuple[OutputPlan, ...]

    @property
    def runtime(self) -> str:
        """The TFLite runtime and its version."""
        runtime = self.classifier.model.runtime
        return f"{runtime.name} {runtime.version}"


def assemble(
    resolved: Resolved,
    *,
    realtime: bool = False,
    loop: bool = False,
    plan_outputs: Callable[[OutputSettings], tuple[OutputPlan, ...]] | None = None,
) -> Parts:
    """Return the parts that a configuration asks for.

    Args:
        resolved: the configuration.
        realtime: a file is read at its own pace.
        loop: a file is read again and again.
        plan_outputs: chooses the outputs in place of ``outputs.enabled``.

    Raises:
        FerEdgeError: if the source or an output is not in the grammar, or a model cannot be used.
    """
    config = resolved.config
    asked = source_settings(config, realtime=realtime, loop=loop)
    build_source = partial(open_source, config.source.spec, asked)
    live = build_source().live
    choice = choose_model(resolved)
    classifier = ExpressionClassifier.load(choice.resolve(), config.model.threads)
    schedule = DetectionSchedule(build_detector(config), schedule_settings(config))
    settings = output_settings(config, classifier.card.labels, finite=not live)
    plan = plan_outputs or partial(planned, config.outputs.enabled)
    return Parts(
        config=config,
        build_source=build_source,
        source_settings=asked,
        live=live,
        longest_wait_s=longest_wait_s(parse_source(config.source.spec).kind),
        pipeline=Pipeline(schedule, classifier, build_smoother(classifier, config), live=live),
        classifier=classifier,
        model=choice,
        outputs=plan(settings),
    )


def choose_model(resolved: Resolved) -> ModelChoice:
    """Return which model is to be used.

    What ``fer-edge model use`` chose goes before the configuration file. A model that the command line or the
    environment names is obeyed as it is.

    Raises:
        UsageError: if there is no such model.
    """
    origin = resolved.origins["model.name"].kind
    explicit = origin in ("command line", "environment")
    return ModelChoice(find_model(resolved.config.model.name), None if explicit else selection_file())
