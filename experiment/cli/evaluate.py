"""The command that evaluates a run, of either framework, or a file of weights: `python -m jaxnets.evaluate RUN`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from data import DATASETS, UserError
from experiment.arguments import parse_arguments
from experiment.cli.command import command, load_framework
from experiment.config import Config
from experiment.console import say
from experiment.loop.task import prepare, score_split
from experiment.runs import folder as run_folder
from experiment.runs.summary import print_scores
from experiment.weights.pretrained import as_built, settle, start


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Evaluate a trained network, a run folder or a file of weights: print its table of losses and accuracies."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Run folder, trained by either framework."""
    data_dir: Path | None = None
    """Folder of the datasets. Default: the one that the run was trained with."""
    weights: str | None = None
    """Evaluate these in place of a run: a file of weights in any usual format of either framework, or the word
    torchvision; with --model and --dataset."""
    model: str | None = None
    """With --weights: the network, see --list-models of train."""
    dataset: str | None = None
    """With --weights: the dataset, or the path of a folder of pictures."""
    frontend: Literal["none", "logmel"] = "none"
    """With --weights: what audio becomes for a network that takes images."""
    loss: Literal["cross-entropy", "bce"] = "cross-entropy"
    """With --weights: the loss that the network was trained with."""
    like_torchvision: bool = False
    """With --weights: build the network as torchvision's weights need it (GoogLeNet: inputs transformed)."""


def main(framework: str) -> None:
    """Run the command with "jaxnets" or "torchnets"."""
    command(lambda: _main(framework, sys.argv[1:]))


def _main(framework: str, argv: list[str]) -> int:
    arguments = parse_arguments(Arguments, argv, f"python -m {framework}.evaluate")
    if arguments.weights is not None:
        return _evaluate_weights(framework, arguments)
    if not arguments.run:
        raise UserError("no run folder is named; or give --weights FILE --model NAME --dataset NAME")
    if given := [name for name in ("model", "dataset") if getattr(arguments, name)]:
        raise UserError(f"--{given[0]} goes with --weights FILE; a run folder says that itself")
    config, weights = run_folder.read_run(arguments.run)
    if arguments.data_dir:
        name = config.dataset if config.dataset in DATASETS else "folder"  # a folder of pictures that has moved
        config = dataclasses.replace(config, dataset=name, data_dir=arguments.data_dir)
    backend = load_framework(framework)
    task = prepare(config, backend.MODELS)
    backend.set_precision(config)
    model, template = backend.create(
        as_built(task.entry, config, backend.MODELS), len(task.dataset.classes), config.seed
    )
    variables = backend.restore(template, weights)
    scores = {name: score_split(backend, model, variables, task, name, config) for name in task.splits}
    print_scores(Console(), scores, task.dataset.classes)
    return 0


def _evaluate_weights(framework: str, arguments: Arguments) -> int:
    """Evaluate weights that no run folder describes; inputs are normalised by the dataset's own statistics."""
    if arguments.run:
        raise UserError(
            f"{arguments.run} and --weights {arguments.weights} both say what to evaluate; give one of them"
        )
    if missing := [f"--{name}" for name in ("model", "dataset") if not getattr(arguments, name)]:
        raise UserError(f"--weights does not say what to evaluate it on; give {' and '.join(missing)}, too")
    options = ("weights", "model", "dataset", "data_dir", "frontend", "loss", "like_torchvision")
    backend, console = load_framework(framework), Console()
    config = settle(Config(**{name: getattr(arguments, name) for name in options}), backend.MODELS)
    task = prepare(config, backend.MODELS)
    backend.set_precision(config)
    entry = as_built(task.entry, config, backend.MODELS)
    model, template = backend.create(entry, len(task.dataset.classes), config.seed)
    variables, line = start(backend, template, config, trains=False)
    say(console, line)
    if task.note:
        say(console, task.note)
    scores = {name: score_split(backend, model, variables, task, name, config) for name in task.splits}
    print_scores(console, scores, task.dataset.classes)
    return 0
