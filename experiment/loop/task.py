"""The task of a run: its network, its examples, split and fitted, and the loaders over them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from data import Dataset, Loader, Split, UserError, apply_frontend, fit_to, hold_out, load
from data.augment import augmentations, check_augmentations
from data.registry import lookup
from experiment.backend import Backend
from experiment.config import Config
from experiment.loop.metrics import Score, score
from experiment.registry import Entry

EVAL_BATCH = 1000


class Task(NamedTuple):
    """A network and the examples to train it on."""

    entry: Entry
    dataset: Dataset  # in the size that the network needs
    splits: dict[str, Split]  # train, validation, test; disjoint
    note: str | None  # how the examples were changed to fit the network
    shape: tuple[int, ...]  # of an example before that


def prepare(config: Config, models: Mapping[str, Entry]) -> Task:
    """Find the network, load the dataset, fit it to the network and split off the validation examples.

    Raises:
        UserError: no such network or dataset; the data are missing, damaged or of a shape that does not fit.
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
    """Check that the dataset, the network and --frontend fit together, be it images or audio.

    Raises:
        UserError: they do not; says which of the three to change, and to what.
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
    """Return the loader of the training batches, or of one of `shards` shards of each batch."""
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
    """Return the dtype of the network's inputs; under bfloat16 the network itself rounds them."""
    return np.float64 if config.precision == "float64" else np.float32


def score_split(backend: Backend, model: Any, variables: Any, task: Task, name: str, config: Config) -> Score:
    """Evaluate the network on a whole split."""
    dataset, split = task.dataset, task.splits[name]
    loader = Loader(split, dataset.mean, dataset.std, EVAL_BATCH, dtype=input_dtype(config))
    return score(backend.predict(model, variables, loader, config), split.labels, config.loss)
