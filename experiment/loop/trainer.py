"""The trainer around a framework's loop: after each epoch it evaluates, saves checkpoints and decides when to stop."""

import json
import statistics
from functools import partial
from typing import Any, NamedTuple

from data import Loader
from experiment.backend import LoopState, ResumePoint
from experiment.config import every, to_json
from experiment.console import say
from experiment.loop import early_stopping
from experiment.loop.early_stopping import BestEpoch
from experiment.loop.metrics import Score, finite
from experiment.loop.monitor import Counts, Epoch, Monitor
from experiment.loop.not_finite import stop_at
from experiment.loop.session import Session, score_splits
from experiment.loop.tensorboard import EventWriter
from experiment.runs import checkpoint
from experiment.runs.folder import append_row
from experiment.runs.resume import past


class Outcome(NamedTuple):
    """The result of a training, complete or interrupted."""

    variables: Any
    rows: list[dict[str, Any]]  # of metrics.jsonl
    epochs: list[Epoch]
    interrupted: str  # how far it came, in words, if it was interrupted

    @property
    def examples_per_second(self) -> float | None:
        """Return the median over the epochs; the first one, which compiles, counts only if there is no other.

        None if nothing was trained (--epochs 0).
        """
        if not self.epochs:
            return None
        return statistics.median(epoch.examples / epoch.seconds for epoch in self.epochs[1:] or self.epochs)


class Trainer:
    """Handles each state that the loop hands over: at the end of an epoch, when a checkpoint is due, and at a stop."""

    def __init__(self, session: Session, loader: Loader, monitor: Monitor, events: EventWriter | None = None):
        self.session, self.loader, self.monitor, self.events = session, loader, monitor, events
        self.rows: list[dict[str, Any]] = []
        self.epochs: list[Epoch] = []
        self.best, self.counts = BestEpoch(), None
        if session.start:
            self.rows, self.epochs, self.counts = past(session.start)
            best = session.start.manifest["best"]
            accuracy, loss = best["rank"] or BestEpoch().rank
            self.best = BestEpoch(best["epoch"], best["step"], (accuracy, loss), session.start.best)
        self.variables, self.interrupted = None, ""

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
        if session.config.patience and self.best.epoch and session.group.leads and not self.interrupted:
            say(
                session.console,
                f"the weights are those of epoch {self.best.epoch}, the best on the validation examples",
            )
            self.variables = session.backend.restore(self.variables, self.best.weights)
        return Outcome(self.variables, self.rows, self.epochs, self.interrupted)

    @property
    def over(self) -> bool:
        """Whether all epochs are done, or early stopping ends the training."""
        return early_stopping.is_over(self.session.config, len(self.epochs), self.best)

    def _evaluate_and_save(self, state: LoopState) -> bool:
        """Evaluate at the end of an epoch and save if due, in process 0; return whether the training is over."""
        ended = state.batches == len(self.loader)
        counts = self.monitor.read()
        if self.monitor.bad:  # before anything is saved
            stop_at(self.session, self.loader, state.epoch, self.monitor.bad)
        if ended:
            self._evaluate(state)
            if counts.skipped:
                number = "1 step was" if counts.skipped == 1 else f"{counts.skipped} steps were"
                say(self.session.console, f"{number} not finite, and changed nothing")
        number, unit = every(self.session.config)
        due = unit == "step" and self._step(state) % number == 0
        due = due or (ended and (self.over or (unit == "epoch" and len(self.epochs) % number == 0)))
        if due or self.monitor.stopped:
            self._save(state, None if ended else counts)
        return self.over

    def _evaluate(self, state: LoopState) -> None:
        session, epoch = self.session, self.monitor.end()
        self.epochs.append(epoch)
        scores = score_splits(session, state.variables, ("validation", "test"))  # the test score decides nothing
        rows = _rows(len(self.epochs), epoch, scores)
        for row in rows:
            append_row(session.folder, row)
        self.rows += rows
        if self.events:
            self.events.write(self._step(state), rows)
        say(session.console, _line(len(self.epochs), session.config.epochs, epoch, scores))
        export = (lambda: session.backend.export(state.variables)) if session.config.patience else None
        self.best = self.best.after(len(self.epochs), self._step(state), scores["validation"], export)

    def _save(self, state: LoopState, counts: Counts | None) -> None:
        session, best = self.session, self.best
        manifest = {
            "format": 1,
            "step": self._step(state),
            "about": session.about,
            "data": session.data,
            "config": json.loads(to_json(session.config)),
            "rows": self.rows,
            "epochs": self.epochs,
            "counts": counts,
            "best": {"epoch": best.epoch, "step": best.step, "rank": best.rank if best.epoch else None},
        }
        checkpoint.save(session.folder, manifest, state.state(), best.weights, session.config.keep)

    def _step(self, state: LoopState) -> int:
        return state.epoch * len(self.loader) + state.batches


def _rows(number: int, epoch: Epoch, scores: dict[str, Score]) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl; those of train are means over the epoch's steps, while the weights changed."""
    train = {"loss": finite(epoch.loss), "accuracy": finite(epoch.accuracy)}
    results = {"train": train, **{name: result.as_dict() for name, result in scores.items()}}
    return [{"epoch": number, "split": split, **result} for split, result in results.items()]


def _line(number: int, epochs: int, epoch: Epoch, scores: dict[str, Score]) -> str:
    parts = [f"train {epoch.loss:.4f} {epoch.accuracy:7.2%}"]
    parts += [f"{name} {result.loss:.4f} {result.accuracy:7.2%}" for name, result in scores.items()]
    return f"epoch {number:2}/{epochs}  {'  '.join(parts)}  {epoch.examples / epoch.seconds:8,.0f} examples/s"
