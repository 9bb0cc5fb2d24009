"""The results of a run: summary.json, weights and pictures in its folder, and the printed table."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from data.terminal import printable
from experiment.console import say
from experiment.loop.metrics import Score, finite, shown
from experiment.loop.session import Session, score_splits
from experiment.loop.task import describe_inputs
from experiment.loop.trainer import Outcome
from experiment.runs import atomic, plots
from experiment.runs import folder as run_folder


def save(session: Session, outcome: Outcome) -> tuple[dict[str, Score], dict[str, Any]]:
    """Write the results of a training; return its scores and summary, both empty if it was interrupted."""
    if outcome.interrupted:
        run_folder.write_weights(session.folder, session.backend.export(outcome.variables))
        rest = f"go on with --resume {session.folder}, where all until then is"
        print(f"interrupted after {outcome.interrupted}; {rest}", file=sys.stderr)
        return {}, {}
    scores = score_splits(session, outcome.variables, ("train", "validation", "test"))
    return scores, _write_results(session, outcome, scores)


def report(session: Session, outcome: Outcome, scores: dict[str, Score]) -> None:
    """Print the results of a training; nothing if it was interrupted."""
    console = session.console
    if scores:
        print_scores(console, scores, session.task.dataset.classes)
        rate = f"{shown(outcome.examples_per_second, ',.0f')} examples/s in training"
        say(console, f"{rate if outcome.epochs else 'not trained (--epochs 0)'}; saved in {session.folder}")
    if outcome.epochs and any(finite(result.loss) is None for result in scores.values()):
        say(console, "the loss is not finite: the training diverged; try a smaller --lr")


def _write_results(session: Session, outcome: Outcome, scores: dict[str, Score]) -> dict[str, Any]:
    folder, classes = session.folder, session.task.dataset.classes
    run_folder.write_weights(folder, session.backend.export(outcome.variables))
    title = f"{session.config.model_name} on {session.config.dataset_name}, {session.about['framework']}"
    if outcome.rows:
        atomic.write(folder / "curves.png", plots.curves(outcome.rows, title))
    else:  # --epochs 0
        run_folder.write_rows(folder, [])
    atomic.write(folder / "confusion.png", plots.confusion(scores["test"].confusion, classes, f"{title}: test set"))
    summary = session.about | {name: result.as_dict() for name, result in scores.items()}
    per_class = zip(classes, scores["test"].per_class(), strict=True)
    summary["test"]["per_class"] = {name: finite(accuracy) for name, accuracy in per_class}
    summary |= {"examples_per_second": outcome.examples_per_second, "epochs": len(outcome.epochs)}
    summary |= {"seconds": sum(epoch.seconds for epoch in outcome.epochs)}
    summary |= {"inputs": describe_inputs(session.task), "data": session.data}
    run_folder.write_summary(folder, summary)  # last: a folder with a summary is complete
    return summary


def print_scores(console: Console, scores: Mapping[str, Score], classes: tuple[str, ...]) -> None:
    """Print the table of a run: loss and accuracy of each split, and the accuracy of each class on the test set."""
    # Counts beside percentages: 0.01% of MNIST's training examples is five of them.
    table = Table("split", "examples", "correct", "loss", "accuracy")
    for name, result in scores.items():
        counts = f"{result.confusion.sum():,}", f"{np.trace(result.confusion):,}"
        table.add_row(name, *counts, f"{result.loss:.4f}", f"{result.accuracy:.2%}")
    console.print(table)
    table = Table(Column("test accuracy of class", overflow="fold"), "examples", "accuracy")
    test = scores["test"]
    for name, count, accuracy in zip(classes, test.confusion.sum(axis=1), test.per_class(), strict=True):
        table.add_row(printable(name), f"{count:,}", "-" if np.isnan(accuracy) else f"{accuracy:.2%}")
    console.print(table)
