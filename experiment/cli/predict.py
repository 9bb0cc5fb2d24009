"""The command that classifies files with a run of either framework: `python -m jaxnets.predict RUN FILE...`."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from scipy.special import expit, softmax

from data import Dataset, Loader, Split, UserError, Windows, apply_frontend, fit_to
from data.datasets.folder import read_picture
from data.terminal import command, printable
from data.wav import read_windows
from experiment.arguments import parse_arguments
from experiment.cli.command import load_framework
from experiment.config import Config
from experiment.loop.task import EVAL_BATCH, all_windows, input_dtype, mean_over_windows, network
from experiment.registry import with_shape
from experiment.runs import folder as run_folder
from experiment.runs.inputs import read_inputs
from experiment.runs.source import locate
from experiment.weights.pretrained import as_built

TOP = 5


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Classify pictures or sounds (16-bit mono WAV) with a trained network: the five likeliest classes."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder, trained by either framework."""
    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files to classify."""
    model: str | None = None
    """Where the network is, if it is one of your own that has moved: my_net.py:Net."""


def main(framework: str) -> None:
    """Run the command with "jaxnets" or "torchnets"."""
    command(lambda: _main(framework, sys.argv[1:]))


def _main(framework: str, argv: list[str]) -> int:
    arguments = parse_arguments(Arguments, argv, f"python -m {framework}.predict")
    if not arguments.files:
        raise UserError("no file to classify is named; give some behind the run folder")
    config, weights = run_folder.read_run(arguments.run)
    config, lines = locate(config, arguments.run, arguments.model)
    about = read_inputs(arguments.run)
    backend = load_framework(framework)
    entry = as_built(network(config, backend.MODELS), config, backend.MODELS)
    examples, windows = read_files(arguments.files, about, config, entry.input_shape)
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)
    entry = with_shape(entry, examples.inputs.shape[1:])
    backend.set_precision(config)
    model, template = backend.create(entry, len(about["classes"]), config.seed)
    mean, std = (np.array(about[name], np.float32) for name in ("mean", "std"))
    loader = Loader(all_windows(examples, windows), mean, std, EVAL_BATCH, dtype=input_dtype(config))
    logits = mean_over_windows(backend.predict(model, backend.restore(template, weights), loader, config), windows)
    names, classes = ([printable(str(one)) for one in group] for group in (arguments.files, about["classes"]))
    width = max(map(len, names))
    for name, row in zip(names, probabilities(logits, config.loss), strict=True):
        likeliest = np.argsort(-row, kind="stable")[:TOP]
        print(f"{name:{width}}  " + ", ".join(f"{classes[at]} {row[at]:.2%}" for at in likeliest))
    return 0


def read_files(
    files: Sequence[Path], about: dict[str, Any], config: Config, input_shape: tuple[int, ...]
) -> tuple[Split, Windows | None]:
    """Read files and preprocess them like the training examples.

    Returns:
        The examples, and the further windows of sounds that are longer than the training examples.

    Raises:
        DataError: a file is missing or of the wrong kind.
    """
    shape, windows = tuple(about["shape"]), None
    if len(shape) == 3:  # first to the size of the dataset, so that the padding is the same
        depth = about.get("depth") or (16 if config.data_rules == "0.1" else None)
        inputs = np.stack([read_picture(path, shape[0], shape[1], depth) for path in files])
    else:
        inputs, windows = read_windows(files, shape[0], about["rate"])
    split = Split(inputs, np.zeros(len(files), np.int32))
    unused = np.ones(inputs.shape[-1], np.float32)
    more = {"test": windows} if windows else {}
    dataset = Dataset(split, split, tuple(about["classes"]), unused, unused, rate=about["rate"], windows=more)
    if len(shape) == 3:
        dataset, _ = fit_to(dataset, shape)
    dataset, _ = apply_frontend(dataset, config.frontend)
    dataset, _ = fit_to(dataset, input_shape or dataset.train.inputs.shape[1:])
    return dataset.test, dataset.windows.get("test")


def probabilities(logits: np.ndarray, loss: str) -> np.ndarray:
    """Return the probability of each class, (N, classes): by softmax, or by a sigmoid each if trained with "bce"."""
    logits = logits.astype(np.float64)
    if loss == "bce":
        return expit(logits)
    return softmax(logits, axis=1)
