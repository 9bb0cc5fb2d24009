"""The results of a run: summary.json, weights and pictures in its folder, and the printed table."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from data.terminal import printable
from experiment.console import say
from experiment.loop.evaluation import keeping
from experiment.loop.metrics import Score, finite, shown
from experiment.loop.session import Session, score_splits
from experiment.loop.task import describe_inputs
from experiment.loop.trainer import Outcome
from experiment.runs import folder as run_folder
from experiment.runs import plots
from experiment.runs.pictures import write_pictures

MANY, FEW = 50, 10  # classes of which not all are printed, and how many of the worst and of the best are then


def save(session: Session, outcome: Outcome) -> tuple[dict[str, Score], dict[str, Any]]:
    """Write the results of a training; return its scores and summary, both empty if it was interrupted."""
    if outcome.interrupted:
        run_folder.write_weights(session.folder, session.backend.export(outcome.variables))
        rest = f"go on with --resume {session.folder}, where all until then is"
        print(f"interrupted after {outcome.interrupted}; {rest}", file=sys.stderr)
        return {}, {}
    run_folder.write_weights(session.folder, session.backend.export(outcome.variables))
    if not outcome.rows:  # --epochs 0
        run_folder.write_rows(session.folder, [])
    with keeping(session.folder, None):
        scores = score_splits(session, outcome.variables, ("train", "validation", "test"))
    summary = _write_summary(session, outcome, scores)
    _draw(session, outcome, scores["test"])  # last: the run is complete without
    return scores, summary


def report(session: Session, outcome: Outcome, scores: dict[str, Score]) -> None:
    """Print the results of a training; nothing if it was interrupted."""
    console = session.console
    if scores:
        print_scores(console, scores, session.task.dataset.classes)
        rate = f"{shown(outcome.examples_per_second, ',.0f')} examples/s in training"
        say(console, f"{rate if outcome.epochs else 'not trained (--epochs 0)'}; saved in {session.folder}")
    if outcome.epochs and any(finite(result.loss) is None for result in scores.values()):
        say(console, "the loss is not finite: the training diverged; try a smaller --lr")


def _draw(session: Session, outcome: Outcome, test: Score) -> None:
    classes = session.task.dataset.classes
    title = f"{session.config.model_name} on {session.config.dataset_name}, {session.about['framework']}"
    found = {"curves.png": lambda: plots.curves(outcome.rows, title)} if outcome.rows else {}
    found |= {"confusion.png": lambda: plots.confusion(test.confusion, classes, f"{title}: test set")}
    write_pictures(session.folder, found)


def _write_summary(session: Session, outcome: Outcome, scores: dict[str, Score]) -> dict[str, Any]:
    folder, classes = session.folder, session.task.dataset.classes
    summary = session.about | {name: result.as_dict() for name, result in scores.items()}
    summary["test"] |= scores["test"].of_classes(classes)
    summary |= {"examples_per_second": outcome.examples_per_second, "epochs": len(outcome.epochs)}
    summary |= {"seconds": sum(epoch.seconds for epoch in outcome.epochs)}
    summary |= {"inputs": describe_inputs(session.task), "data": session.data}
    run_folder.write_summary(folder, summary)
    return summary


def print_scores(console: Console, scores: Mapping[str, Score], classes: tuple[str, ...]) -> None:
    """Print the metrics of each split, and those of each class on the test set."""
    # Counts beside percentages: 0.01% of MNIST's training examples is five of them.
    table = Table("split", "examples", "correct", "loss", "accuracy")
    for name, result in scores.items():
        counts = f"{result.confusion.sum():,}", f"{np.trace(result.confusion):,}"
        table.add_row(name, *counts, f"{result.loss:.4f}", f"{result.accuracy:.2%}")
    console.print(table)
    table = Table("split", "balanced accuracy", "macro F1")
    several, areas = (any(getattr(one, name) is not None for one in scores.values()) for name in ("top5", "auc"))
    for name in ["top-5 accuracy"] * several + ["ROC-AUC"] * areas:
        table.add_column(name)
    for name, result in scores.items():
        shares = (result.balanced_accuracy(), result.macro_f1(), *[result.top5] * several)
        area = [shown(finite(result.roc_auc()), ".4f")] * areas
        table.add_row(name, *(shown(share, ".2%") for share in shares), *area)
    console.print(table)
    _print_classes(console, scores["test"], classes)


def _print_classes(console: Console, test: Score, classes: tuple[str, ...]) -> None:
    """Print a row for each class; of very many those with the smallest and the largest F1 score."""
    chosen, between = np.arange(len(classes)), 0
    if len(classes) > MANY:
        order = np.argsort(test.f1(), kind="stable")
        chosen, between = np.concatenate([order[:FEW], order[-FEW:]]), len(classes) - 2 * FEW
    table = Table(Column("class of the test set", overflow="fold"), "examples", "precision", "recall", "F1")
    if test.auc is not None:
        table.add_column("ROC-AUC")
    rows = list(test.report(tuple(map(str, range(len(classes))))).values())
    for place, at in enumerate(chosen):
        if between and place == FEW:
            table.add_row(f"({between:,} classes between)")
        row = rows[at]
        recall = row["recall"] if row["examples"] else None
        shares = [shown(share, ".2%") for share in (row["precision"], recall, row["f1"])]
        area = [shown(row["roc_auc"], ".4f")] if test.auc is not None else []
        table.add_row(printable(classes[at]), f"{row['examples']:,}", *shares, *area)
    console.print(table)
