"""The command that evaluates a run, of either framework, or weights: `python -m jaxnets.evaluate RUN`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from data import DATASETS
from experiment.arguments import parse_arguments
from experiment.cli.command import command, load_framework
from experiment.cli.evaluate_weights import WeightsArguments, check_options, evaluate_weights
from experiment.loop.task import prepare, score_split
from experiment.runs import folder as run_folder
from experiment.runs.summary import print_scores
from experiment.weights.pretrained import as_built


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Evaluate a trained network, a run folder or weights: print its table of losses and accuracies."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Run folder, trained by either framework."""
    data_dir: Path | None = None
    """Folder of the datasets. Default: the one that the run was trained with."""
    in_place_of_run: Annotated[WeightsArguments, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=WeightsArguments
    )


def main(framework: str) -> None:
    """Run the command with "jaxnets" or "torchnets"."""
    command(lambda: _main(framework, sys.argv[1:]))


def _main(framework: str, argv: list[str]) -> int:
    arguments = parse_arguments(Arguments, argv, f"python -m {framework}.evaluate")
    check_options(arguments.run, arguments.in_place_of_run)
    if arguments.run is None:
        return evaluate_weights(framework, arguments.in_place_of_run, arguments.data_dir)
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
