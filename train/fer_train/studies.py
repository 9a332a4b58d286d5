"""Optuna's storages, as a search uses them: shared by many processes, and aware of workers that have died."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import optuna
import sqlalchemy
import sqlalchemy.event
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages._heartbeat import BaseHeartbeat  # what is there to make a storage notice dead workers
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from fer_edge.errors import OutputError, UsageError

SQLITE: Final = (".db", ".sqlite", ".sqlite3")
JOURNALS: Final = (".journal", ".log", ".jsonl")
RETRIES: Final = 3
"""How often a trial whose worker died is taken up again; one that brings its machine down would do so for ever."""
RETRY_OF: Final = "retry_of"
BEATS_OF_GRACE: Final = 5
"""Heartbeats that a worker may miss before its trial is given to another."""


def open_storage(where: str, heartbeat_s: int) -> Any:
    """Open a storage of studies, making it if it is a file that does not exist.

    Args:
        where: path of an SQLite database (.db, .sqlite) or a journal (.journal, .log: for network file systems), or the
            URL of a database, such as ``postgresql://user@host/name``.
        heartbeat_s: seconds between two signs of life of a worker.

    Raises:
        UsageError: if the path has another suffix.
        OutputError: if it cannot be opened.
    """
    suffix = Path(where).suffix
    if "://" not in where and suffix not in (*SQLITE, *JOURNALS):
        raise UsageError(
            f"--storage {where}: name a file that ends in {', '.join((*SQLITE, *JOURNALS))}, or the URL of a database"
        )
    try:
        if "://" not in where:
            Path(where).parent.mkdir(parents=True, exist_ok=True)
        if "://" not in where and suffix in JOURNALS:
            return BeatingJournal(Path(where), heartbeat_s)
        url = where if "://" in where else f"sqlite:///{Path(where).absolute()}"
        # SQLite serves one writer at a time; the others wait for it, longer than its default of 5 s.
        options = {"connect_args": {"timeout": 100}} if url.startswith("sqlite") else {}
        return _open_database(url, options, heartbeat_s)
    except (SQLAlchemyError, ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise OutputError(f"{where}: cannot be opened as a storage of studies ({reason}); name another one") from error


def _open_database(url: str, options: dict[str, Any], heartbeat_s: int) -> Any:
    for attempt in range(5):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                storage = RDBStorage(
                    url,
                    engine_kwargs=options,
                    heartbeat_interval=heartbeat_s,
                    grace_period=BEATS_OF_GRACE * heartbeat_s,
                    heartbeat_stale_trial_callback=queue_again,
                )
            if storage.engine.dialect.name == "sqlite":
                _lock_whole_transactions(storage.engine)
            return storage
        except DBAPIError:
            # Two workers that begin in the same moment both make the tables of an empty database, and one loses.
            if attempt == 4:
                raise
            time.sleep(0.5 * (attempt + 1))
    raise AssertionError("unreachable")


def _lock_whole_transactions(engine: sqlalchemy.Engine) -> None:
    """Make each transaction of an SQLite database take the write lock at its start.

    Optuna reads a waiting trial's state under ``SELECT ... FOR UPDATE`` before it claims it. SQLite has no such lock,
    and Python's driver begins a transaction with the first write only: of 100 trials in a queue, four workers took 23
    twice. How to: SQLAlchemy, "Serializable isolation / Savepoints / Transactional DDL" of its SQLite dialect.
    """

    @sqlalchemy.event.listens_for(engine, "connect")
    def leave_transactions_to_us(connection: Any, record: Any) -> None:
        del record
        connection.isolation_level = None

    @sqlalchemy.event.listens_for(engine, "begin")
    def lock(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections from before


def queue_again(study: optuna.Study, trial: optuna.trial.FrozenTrial, times: int = RETRIES) -> None:
    """Put a trial that was not finished into the queue again, as a new one with the same values, up to ``times`` times.

    The new trial's attribute ``retry_of`` lists the numbers of those before it.
    """
    before = [*trial.user_attrs.get(RETRY_OF, ()), trial.number]
    if len(before) > times:
        return
    # Two workers may find the same dead one in the same moment, and Optuna calls both of them.
    if not any(other.user_attrs.get(RETRY_OF) == before for other in study.get_trials(deepcopy=False)):
        study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={RETRY_OF: before},
            )
        )


class BeatingJournal(JournalStorage, BaseHeartbeat):
    """A journal file that notices dead workers, which Optuna's own leaves to databases.

    The beats are attributes of the trial with the wall-clock time, so the clocks of the machines that share a journal
    have to agree to well below the time of grace.
    """

    def __init__(self, path: Path, heartbeat_s: int) -> None:
        super().__init__(JournalFileBackend(str(path)))
        self._heartbeat_s = heartbeat_s

    def record_heartbeat(self, trial_id: int) -> None:
        """Note that the worker of a trial is alive."""
        try:
            self.set_trial_system_attr(trial_id, "heartbeat", time.time())
        except optuna.exceptions.UpdateFinishedTrialError:
            return

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        last = time.time() - BEATS_OF_GRACE * self._heartbeat_s
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        return [trial._trial_id for trial in running if _last_beat(trial) < last]

    def get_heartbeat_interval(self) -> int | None:
        """Seconds between two beats."""
        return self._heartbeat_s

    def get_heartbeat_stale_trial_callback(self) -> Callable[..., None] | None:
        """What to do with a trial whose worker died."""
        return queue_again


def _last_beat(trial: optuna.trial.FrozenTrial) -> float:
    """When a running trial was last known to be worked on: its beginning, if its worker died before the first beat."""
    begun = trial.datetime_start.timestamp() if trial.datetime_start else time.time()
    return float(trial.system_attrs.get("heartbeat", begun))
