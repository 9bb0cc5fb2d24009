"""The command that draws what a network has learned: `python -m jaxnets.visualize RUN --out DIR`."""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from data import DATASETS, UserError
from data.terminal import command, outlive, printable
from experiment.arguments import parse_arguments
from experiment.backend import Backend
from experiment.cli.command import load_framework
from experiment.cli.evaluate import doubts
from experiment.cli.predict import read_files
from experiment.config import Config
from experiment.loop.task import Task, describe_inputs, network, prepare
from experiment.registry import with_shape
from experiment.runs import folder as run_folder
from experiment.runs.inputs import read_inputs, saved_inputs
from experiment.runs.source import locate
from experiment.visualize.album import Findings
from experiment.visualize.compute import Trained, study
from experiment.visualize.folder import check_out, write
from experiment.visualize.page import draw
from experiment.weights.pretrained import as_built


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Draw what a trained network has learned, and what happens in it for one input: a page with pictures."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Run folder, trained by either framework."""
    image: Path | None = None
    """Look at this picture or sound."""
    index: int | None = None
    """Look at this test example, from 0. Default: 0, if there is no --image."""
    layer: str | None = None
    """Draw the filters of this layer, and Grad-CAM at its output. Default: the first convolution, and the last
    activations with several positions. The page lists all layers."""
    out: Path | None = None
    """Write the pictures and index.html into this new folder."""
    overwrite: bool = False
    """Replace the files in --out that this command has written before."""
    data_dir: Path | None = None
    """Folder of the datasets. Default: the one that the run was trained with."""
    cache_dir: Path | None = None
    """Folder of the decoded files of own folders. Default: the one that the run was trained with."""
    on_bad_file: Literal["stop", "skip"] | None = None
    """When files of an own folder cannot be read: stop, or leave them out. Default: what the run was trained with."""
    model: str | None = None
    """Where the network is, if it is one of your own that has moved: my_net.py:Net."""


def main(framework: str) -> None:
    """Run the command with "jaxnets" or "torchnets"."""
    command(lambda: _main(framework, sys.argv[1:]))


def _main(framework: str, argv: list[str]) -> int:
    arguments = parse_arguments(Arguments, argv, f"python -m {framework}.visualize")
    run, out = _check(arguments)
    backend = load_framework(framework)
    config, weights = run_folder.read_run(run)
    config, lines = locate(config, run, arguments.model)
    config, saved = _reading(config, arguments), saved_inputs(run)
    task, reason = _task(config, backend, saved, arguments)
    lines += doubts(task, saved) if task else []
    about = saved["inputs"] if saved else describe_inputs(task) if task else read_inputs(run)
    entry = as_built(network(config, backend.MODELS), config, backend.MODELS)
    example, source, true = _example(arguments, config, about, entry.input_shape, task)
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)
    trained = Trained(config, with_shape(entry, example.shape), weights, about)
    tested = (task.splits["test"], task.windows.get("test")) if task else (None, None)
    found = study(backend, trained, example, arguments.layer, *tested)._replace(source=source, true=true)
    outlive()
    count = write(out, draw(found, _notes(found, reason)))
    print(printable(f"{count} pictures in {out}; open {out / 'index.html'}"))
    return 0


def _check(arguments: Arguments) -> tuple[Path, Path]:
    """Return the run folder and the folder to write.

    Raises:
        UserError: one is missing, or the arguments do not go together.
    """
    if arguments.run is None:
        raise UserError("no run folder is named; give the folder of a training, such as runs/NAME")
    if arguments.out is None:
        raise UserError("no folder for the pictures is named; give --out DIR")
    if arguments.image and arguments.index is not None:
        raise UserError("--image and --index both say what to look at; give one of them")
    if arguments.index is not None and arguments.index < 0:
        raise UserError(f"--index is {arguments.index}, expected at least 0")
    check_out(arguments.out, overwrite=arguments.overwrite)
    return arguments.run, arguments.out


def _reading(config: Config, arguments: Arguments) -> Config:
    """Return the options of the run with those that say where its data are."""
    given = {name: getattr(arguments, name) for name in ("cache_dir", "on_bad_file", "data_dir")}
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.data_dir and config.dataset not in DATASETS:
        given["dataset"] = "folder"  # an own folder that has moved
    return dataclasses.replace(config, **given)


def _task(
    config: Config, backend: Backend, saved: Mapping[str, Any] | None, arguments: Arguments
) -> tuple[Task | None, str]:
    """Return the task of a run; of one whose data have gone, None and why, if there is a file to look at instead."""
    try:
        return prepare(config, backend.MODELS, saved["inputs"] if saved else None), ""
    except UserError as error:
        if arguments.image is None:
            raise
        return None, str(error)


def _example(
    arguments: Arguments, config: Config, about: dict[str, Any], shape: tuple[int, ...], task: Task | None
) -> tuple[np.ndarray, str, str | None]:
    """Return the example (..., C), as stored and in the size of the network, what it is, and its class if known.

    Raises:
        UserError: the file cannot be read, or there is no such example.
    """
    if arguments.image:
        split, _ = read_files([arguments.image], about, config, shape)
        return np.asarray(split.inputs[0]), arguments.image.name, None
    assert task
    split, index = task.splits["test"], arguments.index or 0
    if index >= len(split.labels):
        raise UserError(f"--index is {index}; the test examples are 0 to {len(split.labels) - 1}")
    return np.asarray(split.inputs[index]), f"test example {index}", about["classes"][int(split.labels[index])]


def _notes(found: Findings, reason: str) -> list[str]:
    """Return what is not drawn and why, a line each."""
    notes = [f"No mistakes are shown: {reason}"] if reason else []
    if not any(kernel.kind == "convolution" for kernel in found.kernels.values()):
        notes.append("The network has no convolutions: no filters over positions.")
    if found.cam_layer is None:
        notes.append("No activations have several positions: no Grad-CAM.")
    if not reason and not found.mistakes:
        notes.append(f"{found.tested}: no mistakes to show.")
    return notes
