"""The trainer around a framework's loop: after each epoch it evaluates, saves checkpoints and decides when to stop."""

import json
import statistics
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data import Loader
from experiment.backend import LoopState, ResumePoint
from experiment.config import Config, every, to_json
from experiment.console import say
from experiment.loop import early_stopping
from experiment.loop.early_stopping import BestEpoch
from experiment.loop.evaluation import keeping
from experiment.loop.metrics import Score, finite, shown
from experiment.loop.monitor import Counts, Epoch, Monitor
from experiment.loop.not_finite import stop_after, stop_at, stop_without_steps
from experiment.loop.session import Session, score_splits
from experiment.loop.task import describe_inputs
from experiment.loop.tensorboard import EventWriter
from experiment.runs import checkpoint
from experiment.runs.folder import WEIGHTS, append_row, write_weights
from experiment.runs.resume import past
from experiment.runs.snapshot import bad_tensors


class Outcome(NamedTuple):
    """The result of a training, complete or interrupted."""

    variables: Any
    rows: list[dict[str, Any]]  # of metrics.jsonl
    epochs: list[Epoch]
    interrupted: str  # how far it came, in words, if it was interrupted

    @property
    def examples_per_second(self) -> float | None:
        """Return the median over the epochs; the first one, which compiles, counts only if there is no other.

        None if no epoch took a step, as with --epochs 0.
        """
        rates = [epoch.examples / epoch.seconds for epoch in self.epochs if epoch.examples]
        return statistics.median(rates[1:] or rates) if rates else None


class Trainer:
    """Handles each state that the loop hands over: at the end of an epoch, when a checkpoint is due, and at a stop."""

    def __init__(self, session: Session, loader: Loader, monitor: Monitor, events: EventWriter | None = None):
        self.session, self.loader, self.monitor, self.events = session, loader, monitor, events
        self.rows: list[dict[str, Any]] = []
        self.epochs: list[Epoch] = []
        self.best, self.counts = BestEpoch(), None
        if session.start:
            self.rows, self.epochs, self.counts = past(session.start)
            self.best = early_stopping.from_manifest(session.start.manifest["best"], session.start.best)
        self.variables, self.interrupted = None, ""
        self._kept: Path | None = None  # the weights of the latest epoch, until a checkpoint has them
        self.failed = ""  # why, if it is one of several trainings that go on without it

    def run(self, variables: Any) -> Outcome:
        """Train, from `variables` or from the checkpoint, until all epochs are done or a signal asks to stop."""
        session, self.variables = self.session, variables
        start = session.start and ResumePoint(self.counts, len(self.epochs), session.start.state)
        if session.start:
            self.variables = variables = session.backend.restore(variables, session.start.weights())
        if not self.over:
            for state in session.backend.fit(
                session.model, variables, self.loader, session.config, self.monitor, start
            ):
                if self.handle(state):
                    break
        return self.outcome()

    def handle(self, state: LoopState) -> bool:
        """Handle a state of the loop, in every process; return whether the training is over."""
        self.variables = state.variables
        if self.session.group.broadcast(partial(self._evaluate_and_save, state)):
            return True
        if self.monitor.stopped:
            self.interrupted = f"{len(self.epochs)} epochs and {state.batches % len(self.loader)} of"
            self.interrupted += f" {len(self.loader)} steps"
        return False

    def outcome(self) -> Outcome:
        """Return the result, with the weights of the best epoch under --patience."""
        session = self.session
        if session.config.patience and self.epochs and session.group.leads and not self.interrupted:
            best, metric = self.best.epoch, session.config.monitor
            line = f"the weights are those of epoch {best}, the best on the validation examples, by {metric}"
            line = line if best else "the weights are the latest: no epoch had finite outputs, so none is the best"
            say(session.console, line)
            if best:
                self.variables = session.backend.restore(self.variables, self.best.weights)
        return Outcome(self.variables, self.rows, self.epochs, self.interrupted)

    @property
    def over(self) -> bool:
        """Whether all epochs are done, or early stopping ends the training."""
        return early_stopping.is_over(self.session.config, len(self.epochs), self.best)

    def _evaluate_and_save(self, state: LoopState) -> bool:
        """Evaluate at the end of an epoch and save if due, in process 0; return whether the training is over."""
        ended, session = state.batches == len(self.loader), self.session
        counts = self.monitor.read()
        if self.monitor.bad:  # before anything is saved
            stop_at(session, self.loader, state.epoch, self.monitor.bad)
        arrays = state.state()
        if tensors := bad_tensors(arrays):  # of finite gradients, too, an update can be too large
            stop_after(session, self.loader, state.epoch, self.monitor.latest, tensors)
        lines = self._evaluate(state, counts.skipped) if ended else []
        none_taken = ended and counts.skipped == counts.steps
        if not none_taken and (self._is_due(state) or self.monitor.stopped):
            self._save(state, arrays, None if ended else counts)
        for line in lines:  # once everything is saved: printing may take as long as the terminal likes
            say(session.console, line)
        if none_taken:
            stop_without_steps(session, state.epoch, counts.steps)
        return self.over

    def _is_due(self, state: LoopState) -> bool:
        """Return whether to save: by --checkpoint-every, at the end, and the best epoch when it occurs."""
        number, unit = every(self.session.config)
        if unit == "step" and self._step(state) % number == 0:
            return True
        if state.batches < len(self.loader):
            return False
        epochs = len(self.epochs)
        return self.over or self.best.epoch == epochs or (unit == "epoch" and epochs % number == 0)

    def _evaluate(self, state: LoopState, skipped: int) -> list[str]:
        """Evaluate an epoch; return the lines to print about it."""
        session, epoch = self.session, self.monitor.end()
        self.epochs.append(epoch)
        rows = [_train_row(len(self.epochs), epoch)]
        append_row(session.folder, rows[0])  # and the weights, before evaluation, which may take too much memory
        export = partial(session.backend.export, state.variables)
        if not checkpoint.folders(session.folder):
            write_weights(session.folder, export())
            self._kept = session.folder / WEIGHTS
        with keeping(session.folder, None if self._kept else export):
            scores = score_splits(session, state.variables, ("validation", "test"))  # the test score decides nothing
        rows += _rows(len(self.epochs), scores)
        for row in rows[1:]:
            append_row(session.folder, row)
        self.rows += rows
        if self.events:
            self.events.write(self._step(state), rows)
        number, step = len(self.epochs), self._step(state)
        kept = export if session.config.patience else None
        self.best = self.best.after(session.config, number, step, scores["validation"], kept)
        lines = [_line(session.config, len(self.epochs), epoch, scores)]
        if skipped:
            number = "1 step was" if skipped == 1 else f"{skipped} steps were"
            lines.append(f"{number} not finite, and changed nothing")
        return lines

    def _save(self, state: LoopState, arrays: Mapping[str, np.ndarray], counts: Counts | None) -> None:
        session, best = self.session, self.best
        manifest = {
            "format": 1,
            "step": self._step(state),
            "about": session.about,
            "data": session.data,
            "inputs": describe_inputs(session.task),
            "config": json.loads(to_json(session.config)),
            "rows": self.rows,
            "epochs": self.epochs,
            "counts": counts,
            "best": {"epoch": best.epoch, "step": best.step, "value": best.value},
        }
        checkpoint.save(session.folder, manifest, arrays, best.weights, session.config.keep)
        if self._kept:  # the checkpoint has them
            self._kept.unlink(missing_ok=True)
            self._kept = None

    def _step(self, state: LoopState) -> int:
        return state.epoch * len(self.loader) + state.batches


def _train_row(number: int, epoch: Epoch) -> dict[str, Any]:
    """Return the row of metrics.jsonl for the means over the epoch's steps, while the weights changed."""
    means = {"loss": finite(epoch.loss), "accuracy": finite(epoch.accuracy)}
    return {"epoch": number, "split": "train", **means}


def _rows(number: int, scores: dict[str, Score]) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl for the splits that were evaluated after the epoch."""
    return [{"epoch": number, "split": split, **result.as_dict()} for split, result in scores.items()]


def _line(config: Config, number: int, epoch: Epoch, scores: dict[str, Score]) -> str:
    parts = [f"train {shown(epoch.loss, '6.4f')} {shown(epoch.accuracy, '7.2%')}"]
    parts += [f"{name} {result.loss:.4f} {result.accuracy:7.2%}" for name, result in scores.items()]
    if config.monitor == "macro-f1":
        parts.append(f"macro-F1 {scores['validation'].macro_f1():7.2%}")
    rate = shown(epoch.examples / epoch.seconds if epoch.examples else None, "8,.0f")
    return f"epoch {number:2}/{config.epochs}  {'  '.join(parts)}  {rate} examples/s"
