"""The course of a training, around the framework's loop: judging, early stopping, checkpoints, bad numbers."""

import json
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Self

import numpy as np
from rich.console import Console

from data import Loader, UserError
from experiment import checkpoint, run
from experiment.checkpoint import Checkpoint
from experiment.config import Config, every
from experiment.events import Events
from experiment.group import Group
from experiment.metrics import Score, finite
from experiment.monitor import BadStep, Epoch, Monitor
from experiment.point import Point, Start
from experiment.resume import past
from experiment.run import pack
from experiment.shell import Task, say, score_split, training_loader

BAD_JSON, BAD_BATCH = "not-finite.json", "not-finite.safetensors"


class Session(NamedTuple):
    """A training that has been checked and has a folder to go to."""

    backend: ModuleType
    model: Any
    config: Config
    task: Task
    folder: Path
    about: dict[str, Any]  # the fixed part of summary.json
    data: dict[str, Any]  # see `resume.fingerprint`
    console: Console
    group: Group
    start: Checkpoint | None  # what it goes on from


class Best(NamedTuple):
    """The best epoch so far, by the validation accuracy; of equal ones, by the loss, then the first."""

    epoch: int = 0
    step: int = 0  # the steps of the training that were done at its end
    rank: tuple[float, float] = (-np.inf, -np.inf)
    weights: Mapping[str, np.ndarray] = {}  # kept for early stopping only

    def after(
        self, epoch: int, step: int, validation: Score, export: Callable[[], Mapping[str, np.ndarray]] | None
    ) -> Self:
        """Return the best epoch of these and one more."""
        rank = (validation.accuracy, -validation.loss)
        if not rank > self.rank:  # a loss that is not a number is no better, either
            return self
        weights = {name: np.array(w) for name, w in export().items()} if export else {}
        return self._replace(epoch=epoch, step=step, rank=rank, weights=weights)


class Outcome(NamedTuple):
    """What a training came to, whole or interrupted."""

    variables: Any
    rows: list[dict[str, Any]]  # of metrics.jsonl
    epochs: list[Epoch]
    interrupted: str  # how far it came, in words, if it was

    @property
    def examples_per_second(self) -> float:
        """Return the median over the epochs; the first one, which compiles, counts only if there is no other."""
        return statistics.median(epoch.examples / epoch.seconds for epoch in self.epochs[1:] or self.epochs)


class Course:
    """Takes each point that the loop hands over: at the end of an epoch, and where it is to be saved or to stop."""

    def __init__(self, session: Session, loader: Loader, monitor: Monitor, watcher: Events | None = None):
        self.session, self.loader, self.monitor = session, loader, monitor
        self.rows: list[dict[str, Any]] = []
        self.epochs: list[Epoch] = []
        self.best = Best()
        self.counts = None
        if session.start:
            self.rows, self.epochs, self.counts = past(session.start)
            best = session.start.manifest["best"]
            accuracy, loss = best["rank"] or Best().rank
            self.best = Best(best["epoch"], best["step"], (accuracy, loss), session.start.best)
        self.events = watcher
        self.variables, self.interrupted = None, ""

    def run(self, variables: Any) -> Outcome:
        """Train, from `variables` or from the checkpoint, until all is done or a signal asks to stop."""
        session, self.variables = self.session, variables
        start = session.start and Start(self.counts, len(self.epochs), session.start.state)
        if session.start:
            self.variables = variables = session.backend.restore(variables, session.start.weights())
        if not self.over:
            for point in session.backend.fit(
                session.model, variables, self.loader, session.config, self.monitor, start
            ):
                if self.see(point):
                    break
        return self.outcome()

    def see(self, point: Point) -> bool:
        """Take a point of a loop, in all processes; return whether there is nothing left to train."""
        self.variables = point.variables
        if self.session.group.first(partial(self.take, point)):
            return True
        if self.monitor.stopped:
            self.interrupted = f"{len(self.epochs)} epochs and {point.batches % len(self.loader)} of"
            self.interrupted += f" {len(self.loader)} steps"
        return False

    def outcome(self) -> Outcome:
        """Return what it has come to, with the best weights if those are to be kept."""
        session = self.session
        if session.config.patience and session.group.leads and not self.interrupted:
            say(
                session.console,
                f"the weights are those of epoch {self.best.epoch}, the best on the validation examples",
            )
            self.variables = session.backend.restore(self.variables, self.best.weights)
        return Outcome(self.variables, self.rows, self.epochs, self.interrupted)

    @property
    def over(self) -> bool:
        """Whether there is nothing left to train."""
        config, done = self.session.config, len(self.epochs)
        return done >= config.epochs or (config.patience > 0 and done - self.best.epoch >= config.patience)

    def take(self, point: Point) -> bool:
        """Judge an epoch that has ended, save what is due, and stop at numbers that are none.

        Returns:
            Whether there is nothing left to train.
        """
        ended = point.batches == len(self.loader)
        counts = self.monitor.read()
        if self.monitor.bad:  # before anything is saved
            self._stop_at(point.epoch, self.monitor.bad)
        if ended:
            self._judge(point)
            if counts.skipped:
                number = "1 step was" if counts.skipped == 1 else f"{counts.skipped} steps were"
                say(self.session.console, f"{number} not finite, and changed nothing")
        number, unit = every(self.session.config)
        due = unit == "step" and self._step(point) % number == 0
        due = due or (ended and (self.over or (unit == "epoch" and len(self.epochs) % number == 0)))
        if due or self.monitor.stopped:
            self._save(point, None if ended else counts)
        return self.over

    def _judge(self, point: Point) -> None:
        session, epoch = self.session, self.monitor.end()
        self.epochs.append(epoch)
        scores = score(session, point.variables, ("validation", "test"))  # the test set's decides nothing
        rows = _rows(len(self.epochs), epoch, scores)
        for row in rows:
            run.append_row(session.folder, row)
        self.rows += rows
        if self.events:
            self.events.write(self._step(point), rows)
        say(session.console, _line(len(self.epochs), session.config.epochs, epoch, scores))
        export = (lambda: session.backend.export(point.variables)) if session.config.patience else None
        self.best = self.best.after(len(self.epochs), self._step(point), scores["validation"], export)

    def _save(self, point: Point, counts: Any) -> None:
        session, best = self.session, self.best
        manifest = {
            "format": 1,
            "step": self._step(point),
            "about": session.about,
            "data": session.data,
            "config": json.loads(run.to_json(session.config)),
            "rows": self.rows,
            "epochs": self.epochs,
            "counts": counts,
            "best": {"epoch": best.epoch, "step": best.step, "rank": best.rank if best.epoch else None},
        }
        checkpoint.save(session.folder, manifest, point.state(), best.weights, session.config.keep)

    def _step(self, point: Point) -> int:
        return point.epoch * len(self.loader) + point.batches

    def _stop_at(self, epoch: int, bad: BadStep) -> None:
        """Leave all that says which batch it was, and end the command; the last checkpoint is from before it."""
        session, indices = self.session, self.loader.indices(epoch, bad.number)
        step = epoch * len(self.loader) + bad.number + 1
        whole = training_loader(session.config, session.task)  # `loader` may yield but a share of each batch
        batch = next(iter(whole.epoch(epoch, bad.number)))
        found = {"step": step, "epoch": epoch, "batch": bad.number, "examples": indices.tolist()}
        found |= {"loss": finite(bad.loss), "grad_norm": finite(bad.grad_norm)}
        run.write(session.folder / BAD_JSON, (json.dumps(found) + "\n").encode())
        run.write(session.folder / BAD_BATCH, pack({"inputs": batch.inputs, "labels": batch.labels}))
        last = next(iter(checkpoint.folders(session.folder)), None)
        rest = f"the last good checkpoint is {last}" if last else "no checkpoint was due before it"
        numbers = f"loss {bad.loss}, norm of the gradients {bad.grad_norm}"
        few = ", ".join(map(str, indices[:8])) + ("..." if len(indices) > 8 else "")
        raise UserError(
            f"step {step} (epoch {epoch + 1}, batch {bad.number + 1}, training examples {few}) is not finite:"
            f" {numbers}. The batch is in {session.folder / BAD_BATCH}; {rest}."
            " Try a smaller --lr, --clip-norm or --on-nan skip"
        )


def score(session: Session, variables: Any, splits: tuple[str, ...]) -> dict[str, Score]:
    """Judge the network on some of the splits."""
    backend, model, task, config = session.backend, session.model, session.task, session.config
    return {name: score_split(backend, model, variables, task, name, config) for name in splits}


def _rows(number: int, epoch: Epoch, scores: dict[str, Score]) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl; train's are the mean over the epoch's steps, while the network changed."""
    train = {"loss": finite(epoch.loss), "accuracy": finite(epoch.accuracy)}
    results = {"train": train, **{name: result.as_dict() for name, result in scores.items()}}
    return [{"epoch": number, "split": split, **result} for split, result in results.items()]


def _line(number: int, epochs: int, epoch: Epoch, scores: dict[str, Score]) -> str:
    parts = [f"train {epoch.loss:.4f} {epoch.accuracy:7.2%}"]
    parts += [f"{name} {result.loss:.4f} {result.accuracy:7.2%}" for name, result in scores.items()]
    return f"epoch {number:2}/{epochs}  {'  '.join(parts)}  {epoch.examples / epoch.seconds:8,.0f} examples/s"
