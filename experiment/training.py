"""The command that trains: `python -m jaxnets.train`, and `torchnets.train` with the other framework behind it."""

import statistics
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from types import ModuleType
from typing import Any, NamedTuple, Self

import numpy as np
from rich.console import Console

from data import AUGMENTATIONS, DATASETS, Loader, UserError, find
from data.registry import lookup
from experiment import config as configs
from experiment import plots, run
from experiment.config import Config
from experiment.metrics import Score, finite
from experiment.monitor import Epoch, Monitor
from experiment.outline import print_outline
from experiment.pretrained import as_built, settle, start
from experiment.repeated import Result, repeat, tune
from experiment.shell import (
    INTERRUPTED,
    Task,
    command,
    load_framework,
    prepare,
    print_scores,
    say,
    score_split,
    training_loader,
)


class Session(NamedTuple):
    """A training that has been checked and has a folder to go to."""

    backend: ModuleType
    model: Any
    config: Config
    task: Task
    folder: Path
    about: dict[str, Any]  # the fixed part of summary.json
    console: Console


class Best(NamedTuple):
    """The best epoch so far, by the validation accuracy; of equal ones, by the loss, then the first."""

    epoch: int = 0
    rank: tuple[float, float] = (-np.inf, -np.inf)
    weights: Mapping[str, np.ndarray] = {}

    def after(self, epoch: int, validation: Score, export: Callable[[], Mapping[str, np.ndarray]]) -> Self:
        """Return the best epoch of these and one more."""
        rank = (validation.accuracy, -validation.loss)
        if not rank > self.rank:  # a loss that is not a number is no better, either
            return self
        return self._replace(epoch=epoch, rank=rank, weights={name: np.array(w) for name, w in export().items()})


class Outcome(NamedTuple):
    """What a training came to, whole or interrupted."""

    variables: Any
    rows: list[dict[str, Any]]  # of metrics.jsonl
    epochs: list[Epoch]
    interrupted: bool

    @property
    def examples_per_second(self) -> float:
        """Return the median over the epochs; the first one, which compiles, counts only if there is no other."""
        return statistics.median(epoch.examples / epoch.seconds for epoch in self.epochs[1:] or self.epochs)


def main(framework: str) -> None:
    """Run the command with "jaxnets" or "torchnets"."""
    command(lambda: _main(framework, sys.argv[1:]))


def _main(framework: str, argv: list[str]) -> int:
    config, console = configs.parse(argv, f"python -m {framework}.train"), Console()
    if lines := listing(config):
        print("\n".join(lines))
        return 0
    backend = load_framework(framework)
    if config.list_models:
        for name, entry in backend.MODELS.items():
            print(f"{name:20}{'x'.join(map(str, entry.input_shape)):12}{entry.num_params:>12,}  {entry.source}")
        return 0
    if config.summary:
        entry = as_built(lookup("model", config.model, backend.MODELS), config, backend.MODELS)
        return print_outline(console, backend.outline(entry))
    run.check_free(config)
    find(config.dataset, config.data_dir)
    backend.set_precision(config)

    def train_one(config: Config) -> Result:
        session, variables = begin(framework, backend, config, console)
        return _train(session, variables) if session else Result(0, {})

    if config.tune and not config.dry_run:
        return tune(framework, config, console, train_one)
    if config.seeds > 1 and not config.dry_run:
        return repeat(framework, config, console, train_one)
    return train_one(config).code


def listing(config: Config) -> list[str]:
    """Return what a --list option that needs no framework asks for; nothing if there is none."""
    if config.list_datasets:
        return [f"{name:16}{source.about}" for name, source in DATASETS.items()]
    if config.list_augmentations:
        return [f"{name:12}{entry.kind:11}{entry.about}" for name, entry in AUGMENTATIONS.items()]
    if config.list_recipes:
        return [
            f"{name:26}{recipe.about} ({recipe.source}); {recipe.expected or 'not yet run'}"
            for name, recipe in configs.recipes().items()
        ]
    return []


def begin(framework: str, backend: ModuleType, config: Config, console: Console) -> tuple[Session | None, Any]:
    """Check all that a training needs, say what it will be, and make its folder; no session in a dry run."""
    config = settle(config, backend.MODELS)
    task = prepare(config, backend.MODELS)
    entry = as_built(task.entry, config, backend.MODELS)
    model, variables = backend.create(entry, len(task.dataset.classes), config.seed)
    _check_batch(config, task, backend.export(variables))
    variables, loaded = start(backend, variables, config)
    about = _about(framework, backend, config, backend.count_parameters(model, variables))
    _introduce(console, task, about)
    if loaded:
        say(console, loaded)
    if config.dry_run:
        print(f"dry run, nothing written; would train with {configs.to_json(config)}", end="")
        return None, variables
    return Session(backend, model, config, task, run.make_folder(config, framework), about, console), variables


def _train(session: Session, variables: Any) -> Result:
    """Train and leave a whole run folder, also after Ctrl-C."""
    config, task, console = session.config, session.task, session.console
    loader = training_loader(config, task)
    with Monitor(len(loader), config.epochs, console) as monitor:  # until all is saved: Ctrl-C must not cut that short
        outcome = _learn(session, variables, loader, monitor)
        scores = _score(session, outcome.variables, ("train", "validation", "test"))
        summary = _write_results(session, outcome, scores)
    print_scores(console, scores, task.dataset.classes)
    say(console, f"{outcome.examples_per_second:,.0f} examples/s in training; saved in {session.folder}")
    if any(finite(result.loss) is None for result in scores.values()):
        say(console, "the loss is not finite: the training diverged; try a smaller --lr")
    if outcome.interrupted:
        last = outcome.epochs[-1]
        done = f"{len(outcome.epochs) - 1} epochs and {last.steps} of {len(loader)} steps"
        print(f"interrupted after {done}; what was trained until then is in {session.folder}", file=sys.stderr)
        return Result(INTERRUPTED, summary)
    return Result(0, summary)


def _learn(session: Session, variables: Any, loader: Loader, monitor: Monitor) -> Outcome:
    config, backend, total = session.config, session.backend, session.config.epochs
    rows: list[dict[str, Any]] = []
    epochs: list[Epoch] = []
    best = Best()
    for trained in backend.fit(session.model, variables, loader, config, monitor):
        variables = trained
        epochs.append(monitor.end())
        scores = _score(session, variables, ("validation", "test"))  # the test set's are reported, and decide nothing
        for row in _rows(len(epochs), epochs[-1], scores):
            run.append_row(session.folder, row)
            rows.append(row)
        say(session.console, _line(len(epochs), total, epochs[-1], scores))
        if config.patience:
            best = best.after(len(epochs), scores["validation"], lambda now=variables: backend.export(now))
            if len(epochs) - best.epoch >= config.patience:
                break
    interrupted = monitor.stopped and (len(epochs) < total or epochs[-1].steps < len(loader))
    if config.patience:
        say(session.console, f"the weights are those of epoch {best.epoch}, the best on the validation examples")
        variables = backend.restore(variables, best.weights)
    return Outcome(variables, rows, epochs, interrupted)


def _score(session: Session, variables: Any, splits: tuple[str, ...]) -> dict[str, Score]:
    backend, model, task, config = session.backend, session.model, session.task, session.config
    return {name: score_split(backend, model, variables, task, name, config) for name in splits}


def _check_batch(config: Config, task: Task, weights: dict[str, Any]) -> None:
    if config.batch_size == 1 and any("num_batches_tracked" in name for name in weights):
        raise UserError(f"--batch-size is 1, but {config.model} has BatchNorm, which needs at least 2 to train")
    examples = len(task.splits["train"].labels)
    if config.batch_size > examples:
        raise UserError(f"--batch-size is {config.batch_size}, but there are only {examples:,} training examples")


def _about(framework: str, backend: ModuleType, config: Config, parameters: int) -> dict[str, Any]:
    device, versions = backend.describe()
    return {
        "framework": framework,
        "model": config.model,
        "dataset": config.dataset_name,
        "seed": config.seed,
        "parameters": parameters,
        "device": device,
        "versions": {"python": python_version(), "numpy": version("numpy"), **versions},
    }


def _introduce(console: Console, task: Task, about: dict[str, Any]) -> None:
    sizes = ", ".join(f"{len(split.labels):,} {name}" for name, split in task.splits.items())
    say(console, f"{about['model']}: {about['parameters']:,} parameters, {about['framework']} on {about['device']}")
    say(console, f"{about['dataset']}: {sizes} examples")
    if task.note:
        say(console, task.note)


def _rows(number: int, epoch: Epoch, scores: dict[str, Score]) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl; train's are the mean over the epoch's steps, while the network changed."""
    train = {"loss": finite(epoch.loss), "accuracy": finite(epoch.accuracy)}
    results = {"train": train, **{name: result.as_dict() for name, result in scores.items()}}
    return [{"epoch": number, "split": split, **result} for split, result in results.items()]


def _line(number: int, epochs: int, epoch: Epoch, scores: dict[str, Score]) -> str:
    parts = [f"train {epoch.loss:.4f} {epoch.accuracy:7.2%}"]
    parts += [f"{name} {result.loss:.4f} {result.accuracy:7.2%}" for name, result in scores.items()]
    return f"epoch {number:2}/{epochs}  {'  '.join(parts)}  {epoch.examples / epoch.seconds:8,.0f} examples/s"


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
    summary |= {"interrupted": outcome.interrupted, "seconds": sum(epoch.seconds for epoch in outcome.epochs)}
    summary |= {"inputs": _about_inputs(session.task)}
    run.write_summary(folder, summary)  # last: a folder with a summary is a whole one
    return summary


def _about_inputs(task: Task) -> dict[str, Any]:
    """Return what has to be known to classify other files as the examples were."""
    dataset = task.dataset
    statistics = {name: getattr(dataset, name).astype(float).tolist() for name in ("mean", "std")}
    return {"shape": list(task.shape), "rate": dataset.rate, **statistics, "classes": list(dataset.classes)}
