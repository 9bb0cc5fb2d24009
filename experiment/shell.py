"""The thin shell around a framework's pure functions: files, terminal and errors, shared by both trainers.

A framework is its module `fit` with `MODELS`, `join`, `create`, `fit`, `predict`, `export`, `restore`; it is imported
only when the command line has been read, so that `--help` waits for none.
"""

import importlib
import signal
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from data import Dataset, Loader, Split, UserError, apply_frontend, fit_to, hold_out, load
from data.augment import augmentations, check_augmentations
from data.registry import lookup
from experiment.config import Config
from experiment.metrics import Score, score
from experiment.registry import Entry

EVAL_BATCH = 1000
SIGNALLED = 128  # the exit code of a command that a signal ended is this and its number: 130 Ctrl-C, 143 SIGTERM


class Task(NamedTuple):
    """What is to be learned by what."""

    entry: Entry
    dataset: Dataset  # in the size that the network takes
    splits: dict[str, Split]  # train, validation, test: no image is in two of them
    note: str | None  # what was done to the examples to make them fit
    shape: tuple[int, ...]  # of an example before that


def command(main: Callable[[], int]) -> None:
    """Run a command: what the user can put right is one line on stderr and exit code 1, no traceback."""
    try:
        sys.exit(main())
    except UserError as error:
        # In one write, which `sys.exit` does not: another process of the same training may end this one in between.
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted: nothing more is saved", file=sys.stderr)
        sys.exit(SIGNALLED + signal.SIGINT)


def needs_torch(what: str) -> UserError:
    """Return the error for a command that PyTorch is missing for."""
    extra = "pip install 'jaxnets[torch]', or in a clone pip install -c constraints.txt -e '.[torch]'"
    return UserError(f"{what} needs PyTorch, which is an extra: {extra}")


def load_framework(framework: str) -> ModuleType:
    """Import `<framework>.fit`.

    Raises:
        UserError: torch is not installed; says which extra to install.
    """
    try:
        return importlib.import_module(f"{framework}.fit")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "torch":
            raise
        raise needs_torch(framework) from None


def prepare(config: Config, models: Mapping[str, Entry]) -> Task:
    """Find the network, load the dataset, make it fit, and split off the validation examples.

    Raises:
        UserError: no such network or dataset, data missing or damaged, or of a shape the network cannot take.
    """
    entry = lookup("model", config.model, models)
    dataset = load(config.dataset, config.data_dir, entry.input_shape)
    check_kind(config, dataset, models)
    shape = dataset.train.inputs.shape[1:]
    dataset, note = apply_frontend(dataset, config.frontend)
    check_augmentations(augmentations(config.augment), dataset.train.inputs, config.tta)
    dataset, resized = fit_to(dataset, entry.input_shape)
    notes = "; ".join(line for line in (note, resized) if line)
    train, validation = (dataset.train, dataset.validation) if dataset.validation else hold_out(dataset.train)
    return Task(entry, dataset, {"train": train, "validation": validation, "test": dataset.test}, notes or None, shape)


def check_kind(config: Config, dataset: Dataset, models: Mapping[str, Entry]) -> None:
    """Refuse images for a network that takes audio, and audio for one that takes images and no frontend to make them.

    Raises:
        UserError: says which of the three choices to change, and to what.
    """
    name, sound = config.dataset_name, dataset.train.inputs.ndim == 3
    for_sound = len(models[config.model].input_shape) == 2
    if config.frontend != "none" and not sound:
        raise UserError(f"--frontend {config.frontend} is for audio; {name} has images")
    if config.frontend != "none" and for_sound:
        raise UserError(f"{config.model} takes audio as it is: leave out --frontend {config.frontend}")
    if for_sound and not sound:
        raise UserError(f"{config.model} takes audio, {name} has images; choose another network, see --list-models")
    if sound and not for_sound and config.frontend == "none":
        others = ", ".join(other for other, entry in models.items() if len(entry.input_shape) == 2)
        choice = f", or choose a network for audio: {others}" if others else ""
        raise UserError(f"{name} has audio, {config.model} takes images: add --frontend logmel{choice}")


def training_loader(config: Config, task: Task, shard: int = 0, shards: int = 1) -> Loader:
    """Return what yields the batches to train with, or one of so many shards of each."""
    dataset = task.dataset
    return Loader(
        task.splits["train"],
        dataset.mean,
        dataset.std,
        config.batch_size,
        config.seed,
        augment=augmentations(config.augment),
        mixup=config.mixup,
        classes=len(dataset.classes),
        dtype=input_dtype(config),
        shard=shard,
        shards=shards,
    )


def input_dtype(config: Config) -> type[np.floating]:
    """Return what the network is given; under bfloat16 it is rounded only when it gets there."""
    return np.float64 if config.precision == "float64" else np.float32


def score_split(backend: ModuleType, model: Any, variables: Any, task: Task, name: str, config: Config) -> Score:
    """Judge the network on a whole split, in evaluation mode."""
    dataset, split = task.dataset, task.splits[name]
    loader = Loader(split, dataset.mean, dataset.std, EVAL_BATCH, dtype=input_dtype(config))
    return score(backend.predict(model, variables, loader, config), split.labels, config.loss)


def print_scores(console: Console, scores: Mapping[str, Score], classes: tuple[str, ...]) -> None:
    """Print the table of a run: loss and accuracy of each split, and the accuracy of each class on the test set."""
    # Counts beside percentages: 0.01% of MNIST's training examples is five of them.
    table = Table("split", "examples", "correct", "loss", "accuracy")
    for name, result in scores.items():
        counts = f"{result.confusion.sum():,}", f"{np.trace(result.confusion):,}"
        table.add_row(name, *counts, f"{result.loss:.4f}", f"{result.accuracy:.2%}")
    console.print(table)
    table = Table("test accuracy of class", "examples", "accuracy")
    test = scores["test"]
    for name, count, accuracy in zip(classes, test.confusion.sum(axis=1), test.per_class(), strict=True):
        table.add_row(name, f"{count:,}", "-" if np.isnan(accuracy) else f"{accuracy:.2%}")
    console.print(table)


def say(console: Console, line: str) -> None:
    """Print a line as it is: not wrapped in a log, not coloured by guesses."""
    console.print(line, soft_wrap=True, highlight=False, markup=False)
