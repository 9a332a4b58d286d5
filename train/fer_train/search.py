"""Searching for a better recipe with Optuna: trials that train as `fer-edge train` does, chosen by PublicTest alone.

A worker takes one trial after the other from the study in its storage, and any number of workers, on any number of
machines, may do so at once. A worker that dies leaves its trial to the others, who go on from its last epoch where they
share the folder of the search.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import keras
import msgspec
import optuna
from optuna.trial import TrialState
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fer_edge.contract.files import write_bytes
from fer_edge.errors import FerEdgeError, UsageError
from fer_train import torch_speed
from fer_train.checkpoint import RunState
from fer_train.distillation import load_teachers
from fer_train.fer2013 import Fer2013, load
from fer_train.fer2013.ferplus import load_votes
from fer_train.fit import fingerprint_of, fit
from fer_train.recipe import Recipe, with_changes
from fer_train.run import RunFiles, use_threads
from fer_train.search_space import Space, with_values
from fer_train.studies import RETRY_OF, open_storage, queue_again
from fer_train.training_data import prepare

Pruning = Literal["median", "hyperband", "none"]
_DONE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """What a worker is told besides recipe, space and files."""

    study: str
    storage: str
    trials: int
    """The study is over when so many are finished or pruned, whoever worked on them."""
    pruning: Pruning = "median"
    heartbeat_s: int = 30
    threads: int | None = None


class TakenUpElsewhereError(Exception):
    """Another worker took this one for dead (a suspended laptop, say) and has its trial now."""


def search(recipe: Recipe, space: Space, files: RunFiles, settings: SearchSettings) -> optuna.Study:
    """Work on a study until it has its trials.

    Args:
        recipe: what the trials start from.
        space: which of its keys are varied.
        files: the data, and the folder in which trials are kept (``trials/0007`` and so on).
        settings: of this worker.

    Returns:
        The study.

    Raises:
        UsageError: if recipe, space and data do not fit together, or the study was begun with others.
        DataError: if the data set is malformed.
        OutputError: if the storage cannot be used, or a folder cannot be written.
    """
    console = Console(stderr=True, highlight=False)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    use_threads(settings.threads)
    source = load(files.data)
    votes = None if files.ferplus is None else load_votes(files.ferplus, source)
    study = _open_study(settings, recipe, _digest(recipe, space, source))
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as bars:
        whole = bars.add_task(f"study {settings.study}", total=settings.trials)
        current = bars.add_task("trial", total=recipe.epochs, visible=False)

        def objective(trial: optuna.Trial) -> float:
            values = {key: dimension.suggest(trial, key) for key, dimension in space.items()}
            changed = with_values(recipe, values)
            described = ", ".join(f"{key} {_short(value)}" for key, value in values.items())
            console.print(f"trial {trial.number}{_retry(trial)}: {described}", soft_wrap=True)
            bars.reset(current, description=f"trial {trial.number}", total=changed.epochs, visible=True)

            def step(epoch: float) -> None:
                bars.update(current, completed=epoch)

            return _train(trial, changed, source, votes, files, step)

        def tell(trial: optuna.trial.FrozenTrial) -> None:
            value = f"PublicTest {trial.value:.4f}" if trial.value is not None else ""
            console.print(f"trial {trial.number}: {trial.state.name.lower()} {value}".rstrip())

        while _next(study, settings.trials, console):
            bars.update(whole, completed=_finished(study))
            _one_trial(study, objective, tell)
        bars.update(whole, completed=_finished(study))
    return study


def _train(
    trial: optuna.Trial, recipe: Recipe, source: Fer2013, votes: Any, files: RunFiles, step: Callable[[float], None]
) -> float:
    """Train one trial, reporting each epoch; return its best accuracy on PublicTest."""
    if recipe.precision == "auto":
        recipe = with_changes(recipe, precision=torch_speed.best_precision())
    keras.backend.clear_session()
    data = prepare(recipe, source, votes)
    teachers = load_teachers(files.teachers, recipe, data.pixels)
    # A trial that is taken up again goes on in the folder of the first try.
    folder = files.out / "trials" / f"{trial.user_attrs.get(RETRY_OF, [trial.number])[0]:04d}"
    write_bytes(folder / "config.json", msgspec.json.format(msgspec.json.encode(recipe)))
    reported = 0

    def on_epoch(state: RunState) -> None:
        nonlocal reported
        write_bytes(folder / "history.json", msgspec.json.format(msgspec.json.encode(state.history)))
        step(state.epoch)
        try:
            for entry in state.history[reported:]:
                trial.report(entry["public_accuracy"], int(entry["epoch"]))
        except optuna.exceptions.UpdateFinishedTrialError as error:
            raise TakenUpElsewhereError from error
        reported = len(state.history)
        if state.epoch < recipe.epochs and trial.should_prune():
            raise optuna.TrialPruned

    def progress(done: int, total: int, logs: dict[str, float]) -> None:
        del logs
        step(reported + done / total)

    checkpoint = folder / "checkpoint.npz"
    fingerprint = fingerprint_of(recipe, data, teachers)
    try:
        state = fit(recipe, data, checkpoint, fingerprint, teachers, on_epoch, progress)
    except optuna.TrialPruned:
        checkpoint.unlink(missing_ok=True)
        raise
    if not reported:  # it died after its last epoch, before it could say so
        on_epoch(state)
    checkpoint.unlink(missing_ok=True)
    return max(entry["public_accuracy"] for entry in state.history)


def _one_trial(
    study: optuna.Study,
    objective: Callable[[optuna.Trial], float],
    tell: Callable[[optuna.trial.FrozenTrial], None],
) -> None:
    """Take one trial from the study and finish it, or leave it to others."""
    begun: list[optuna.Trial] = []
    lost = False

    def watched(trial: optuna.Trial) -> float:
        nonlocal lost
        begun.append(trial)
        try:
            return objective(trial)
        except TakenUpElsewhereError:
            lost = True
            raise

    try:
        study.optimize(watched, n_trials=1, callbacks=[lambda _, trial: tell(trial)])
    except FerEdgeError as error:
        number = begun[0].number if begun else "?"
        raise type(error)(f"trial {number}: {error}") from error
    except KeyboardInterrupt:
        # Optuna has marked it as failed; whoever works on goes on with it.
        if begun:
            queue_again(study, study.trials[begun[0].number], times=10**6)
        raise
    except ValueError:
        if not lost:
            raise
    except TakenUpElsewhereError:
        pass


def _next(study: optuna.Study, trials: int, console: Console) -> bool:
    """Whether there is a trial to take; waits while all that are missing are being worked on elsewhere."""
    told = False
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)
        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        missing = trials - sum(state in _DONE for state in states)
        if missing <= 0:
            return False
        if missing > states.count(TrialState.RUNNING):
            return True
        if not told:
            console.print("the last trials are under way elsewhere: waiting for them, to take up those that die")
            told = True
        time.sleep(1.0)


def _open_study(settings: SearchSettings, recipe: Recipe, digest: str) -> optuna.Study:
    storage = open_storage(settings.storage, settings.heartbeat_s)
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if settings.pruning == "median":
        pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, recipe.epochs // 6))
    elif settings.pruning == "hyperband":
        pruner = optuna.pruners.HyperbandPruner(max(1, recipe.epochs // 9), recipe.epochs, 3)
    # No seed: workers with the same one would all try the same values.
    study = optuna.create_study(
        storage=storage,
        sampler=optuna.samplers.TPESampler(),
        pruner=pruner,
        study_name=settings.study,
        direction="maximize",
        load_if_exists=True,
    )
    if study.user_attrs.setdefault("digest", digest) != digest:
        raise UsageError(
            f"study {settings.study} in {settings.storage} was begun with another recipe, space, data set or backend; "
            "name another --study"
        )
    study.set_user_attr("digest", digest)
    return study


def _digest(recipe: Recipe, space: Space, source: Fer2013) -> str:
    parts = (msgspec.json.encode(recipe), msgspec.json.encode(dict(space)), source.sha256, keras.backend.backend())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _finished(study: optuna.Study) -> int:
    return sum(trial.state in _DONE for trial in study.get_trials(deepcopy=False))


def _retry(trial: optuna.Trial) -> str:
    before = trial.user_attrs.get(RETRY_OF, [])
    return f" (takes up {before[-1]}, whose worker ended)" if before else ""


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
