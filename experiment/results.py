"""What a training leaves in its folder, and says at its end."""

import sys
from typing import Any

from experiment import plots, run
from experiment.learning import Outcome, Session, score
from experiment.metrics import Score, finite
from experiment.shell import Task, print_scores, say


def save(session: Session, outcome: Outcome) -> tuple[dict[str, Score], dict[str, Any]]:
    """Write what a training has come to; return its scores and summary, none if it was interrupted."""
    if outcome.interrupted:
        run.write_weights(session.folder, session.backend.export(outcome.variables))
        rest = f"go on with --resume {session.folder}, where all until then is"
        print(f"interrupted after {outcome.interrupted}; {rest}", file=sys.stderr)
        return {}, {}
    scores = score(session, outcome.variables, ("train", "validation", "test"))
    return scores, _write_results(session, outcome, scores)


def report(session: Session, outcome: Outcome, scores: dict[str, Score]) -> None:
    """Print what a training has come to; nothing if it was interrupted."""
    console = session.console
    if scores:
        print_scores(console, scores, session.task.dataset.classes)
        say(console, f"{outcome.examples_per_second:,.0f} examples/s in training; saved in {session.folder}")
    if any(finite(result.loss) is None for result in scores.values()):
        say(console, "the loss is not finite: the training diverged; try a smaller --lr")


def _write_results(session: Session, outcome: Outcome, scores: dict[str, Score]) -> dict[str, Any]:
    folder, classes = session.folder, session.task.dataset.classes
    run.write_weights(folder, session.backend.export(outcome.variables))
    title = f"{session.config.model} on {session.config.dataset_name}, {session.about['framework']}"
    run.write(folder / "curves.png", plots.curves(outcome.rows, title))
    run.write(folder / "confusion.png", plots.confusion(scores["test"].confusion, classes, f"{title}: test set"))
    summary = session.about | {name: result.as_dict() for name, result in scores.items()}
    per_class = zip(classes, scores["test"].per_class(), strict=True)
    summary["test"]["per_class"] = {name: finite(accuracy) for name, accuracy in per_class}
    summary |= {"examples_per_second": outcome.examples_per_second, "epochs": len(outcome.epochs)}
    summary |= {"seconds": sum(epoch.seconds for epoch in outcome.epochs)}
    summary |= {"inputs": _about_inputs(session.task)}
    run.write_summary(folder, summary)  # last: a folder with a summary is a whole one
    return summary


def _about_inputs(task: Task) -> dict[str, Any]:
    """Return what has to be known to classify other files as the examples were."""
    dataset = task.dataset
    statistics = {name: getattr(dataset, name).astype(float).tolist() for name in ("mean", "std")}
    return {"shape": list(task.shape), "rate": dataset.rate, **statistics, "classes": list(dataset.classes)}
