"""The command that evaluates a run, of either framework: `python -m jaxnets.evaluate RUN`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from data import DATASETS
from data.terminal import command
from experiment.arguments import parse_arguments
from experiment.cli.command import load_framework
from experiment.console import make_console
from experiment.loop.task import prepare, score_split
from experiment.runs import folder as run_folder
from experiment.runs.summary import print_scores
from experiment.weights.pretrained import as_built


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Evaluate a trained network: load a run folder, print its table of losses and accuracies."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder, trained by either framework."""
    data_dir: Path | None = None
    """Folder of the datasets. Default: the one that the run was trained with."""


def main(framework: str) -> None:
    """Run the command with "jaxnets" or "torchnets"."""
    command(lambda: _main(framework, sys.argv[1:]))


def _main(framework: str, argv: list[str]) -> int:
    arguments = parse_arguments(Arguments, argv, f"python -m {framework}.evaluate")
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
    print_scores(make_console(), scores, task.dataset.classes)
    return 0
