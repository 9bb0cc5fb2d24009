"""A training that is ready to start: everything that the trainer and the summary need."""

from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from experiment.backend import Backend
from experiment.config import Config
from experiment.distributed.agreement import Group
from experiment.loop.metrics import Score
from experiment.loop.task import Task, score_split
from experiment.runs.checkpoint import Checkpoint


class Session(NamedTuple):
    """A training that has passed all checks and has a run folder."""

    backend: Backend
    model: Any
    config: Config
    task: Task
    folder: Path
    about: dict[str, Any]  # the fixed part of summary.json
    data: dict[str, Any]  # see `resume.fingerprint`
    console: Console
    group: Group
    start: Checkpoint | None  # the checkpoint to resume from


def score_splits(session: Session, variables: Any, splits: tuple[str, ...]) -> dict[str, Score]:
    """Evaluate the network on some of the splits."""
    backend, model, task, config = session.backend, session.model, session.task, session.config
    return {name: score_split(backend, model, variables, task, name, config) for name in splits}
