"""The command that classifies files with a run of either framework: `python -m jaxnets.predict RUN FILE...`."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from scipy.special import expit, softmax

from data import DataError, Dataset, Loader, Split, UserError, Windows, apply_frontend, fit_to
from data.datasets.folder import read_picture
from data.registry import lookup
from data.sound import read_windows
from data.terminal import command, printable
from experiment.arguments import parse_arguments
from experiment.cli.command import load_framework
from experiment.config import Config
from experiment.loop.task import EVAL_BATCH, all_windows, input_dtype, mean_over_windows
from experiment.runs import folder as run_folder
from experiment.runs.inputs import read_inputs
from experiment.weights.pretrained import as_built

TOP = 5


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Classify pictures or sounds of any usual format with a trained network: the five likeliest classes."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder, trained by either framework."""
    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files to classify."""


def main(framework: str) -> None:
    """Run the command with "jaxnets" or "torchnets"."""
    command(lambda: _main(framework, sys.argv[1:]))


def _main(framework: str, argv: list[str]) -> int:
    arguments = parse_arguments(Arguments, argv, f"python -m {framework}.predict")
    if not arguments.files:
        raise UserError("no file to classify is named; give some behind the run folder")
    config, weights = run_folder.read_run(arguments.run)
    about = read_inputs(arguments.run)
    backend = load_framework(framework)
    entry = as_built(lookup("model", config.model, backend.MODELS), config, backend.MODELS)
    files, found = read_good_files(arguments.files, about, config, entry.input_shape)
    if found is None:
        return 1
    examples, windows = found
    backend.set_precision(config)
    model, template = backend.create(entry, len(about["classes"]), config.seed)
    mean, std = (np.array(about[name], np.float32) for name in ("mean", "std"))
    loader = Loader(all_windows(examples, windows), mean, std, EVAL_BATCH, dtype=input_dtype(config))
    logits = mean_over_windows(backend.predict(model, backend.restore(template, weights), loader, config), windows)
    names, classes = ([printable(str(one)) for one in group] for group in (files, about["classes"]))
    width = max(map(len, names))
    for name, row in zip(names, probabilities(logits, config.loss), strict=True):
        likeliest = np.argsort(-row, kind="stable")[:TOP]
        print(f"{name:{width}}  " + ", ".join(f"{classes[at]} {row[at]:.2%}" for at in likeliest))
    return 1 if len(files) < len(arguments.files) else 0


def read_good_files(
    files: Sequence[Path], about: dict[str, Any], config: Config, input_shape: tuple[int, ...]
) -> tuple[Sequence[Path], tuple[Split, Windows | None] | None]:
    """Return the files that can be read, and what `read_files` makes of them; None if there are none.

    An error on standard error names each of the others.
    """
    try:
        return files, read_files(files, about, config, input_shape)
    except DataError:  # which says no more than the first
        good, bad = [], []
    for path in files:
        try:
            read_files([path], about, config, input_shape)
            good.append(path)
        except DataError as error:
            bad.append(f"error: {error}\n")
    sys.stderr.write("".join(dict.fromkeys(bad)))
    return good, read_files(good, about, config, input_shape) if good else None


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
    dataset, _ = fit_to(dataset, input_shape)
    return dataset.test, dataset.windows.get("test")


def probabilities(logits: np.ndarray, loss: str) -> np.ndarray:
    """Return the probability of each class, (N, classes): by softmax, or by a sigmoid each if trained with "bce"."""
    logits = logits.astype(np.float64)
    if loss == "bce":
        return expit(logits)
    return softmax(logits, axis=1)
