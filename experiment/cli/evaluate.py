"""The command that evaluates a run, of either framework, or weights: `python -m jaxnets.evaluate RUN`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from data import DATASETS
from data.terminal import command
from experiment.arguments import parse_arguments
from experiment.cli.command import load_framework
from experiment.cli.evaluate_weights import WeightsArguments, check_options, evaluate_weights
from experiment.console import make_console, say
from experiment.loop.task import Task, prepare, score_split
from experiment.runs import folder as run_folder
from experiment.runs.inputs import saved_inputs
from experiment.runs.resume import fingerprint
from experiment.runs.source import locate
from experiment.runs.summary import print_scores
from experiment.weights.pretrained import as_built


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Evaluate a trained network, a run folder or weights: print its table of losses and accuracies."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Run folder, trained by either framework."""
    data_dir: Path | None = None
    """Folder of the datasets. Default: the one that the run was trained with."""
    probabilities: bool = False
    """Compute the area under the ROC curve, too, from the probabilities of the classes."""
    cache_dir: Path | None = None
    """Folder of the decoded files of own folders. Default: the one that the run was trained with."""
    on_bad_file: Literal["stop", "skip"] | None = None
    """When files of an own folder cannot be read: stop, or leave them out. Default: what the run was trained with."""
    tta: Literal["none", "flip", "shift"] | None = None
    """Evaluate each image by several views, as in train. Default: the views that the run was evaluated by."""
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
        about = {"data_dir": arguments.data_dir, "probabilities": arguments.probabilities, **_given(arguments)}
        return evaluate_weights(framework, arguments.in_place_of_run, about)
    config, weights = run_folder.read_run(arguments.run)
    own = {"probabilities": config.probabilities or arguments.probabilities}
    config = dataclasses.replace(config, **own, **_given(arguments))
    config, lines = locate(config, arguments.run, arguments.in_place_of_run.model)
    if arguments.data_dir:
        name = config.dataset if config.dataset in DATASETS else "folder"  # an own folder that has moved
        config = dataclasses.replace(config, dataset=name, data_dir=arguments.data_dir)
    backend = load_framework(framework)
    about = saved_inputs(arguments.run)
    task = prepare(config, backend.MODELS, about["inputs"] if about else None)
    console = make_console()
    for line in [*lines, *doubts(task, about)]:
        say(console, f"warning: {line}")
    backend.set_precision(config)
    model, template = backend.create(
        as_built(task.entry, config, backend.MODELS), len(task.dataset.classes), config.seed
    )
    variables = backend.restore(template, weights)
    scores = {name: score_split(backend, model, variables, task, name, config) for name in task.splits}
    print_scores(console, scores, task.dataset.classes)
    return 0


def _given(arguments: Arguments) -> dict[str, Any]:
    """Return the given ones of the options that say how an own folder is read and what views an image has."""
    given = {name: getattr(arguments, name) for name in ("cache_dir", "on_bad_file", "tta")}
    return {name: value for name, value in given.items() if value is not None}


def doubts(task: Task, about: dict[str, Any] | None) -> list[str]:
    """Return a line for each way in which the data may not be those of the run; `about`: see `saved_inputs`."""
    lines = list(task.warnings)
    if about is None:
        lines.append(
            "the run does not say how its inputs were normalised: the statistics are those of the data as now"
        )
    elif about["data"] and about["data"] != (now := fingerprint(task)):
        counts = f"{about['data'].get('examples', 0):,} then, {now['examples']:,} now"
        lines.append(f"the training examples have changed since the run was trained ({counts})")
    return lines
