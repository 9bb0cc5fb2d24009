"""What the networks are fed: examples in memory, the same for both frameworks. Numpy alone."""

import dataclasses
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from data import Batch, Dataset, Loader, Split, UserError, fit_to, load
from experiment.config import Config
from experiment.loop.task import check_kind
from experiment.registry import Entry
from experiment.weights.pretrained import as_built
from parity.bench.plan import Setting

MOST, MOST_BYTES = 60_000, 256 * 2**20  # examples in memory, and their bytes
POOL, POOL_BYTES = 64, 256 * 2**20  # batches on the device, and their bytes
LEAST = 4  # batches, of both
SEED = 0
LEARNING_RATE = 1e-4  # small: no training runs away from numbers, however many steps it is timed for
AGREE_STEPS, AGREE_EXAMPLES = 3, 8  # first steps, and examples whose logits, that both sides must agree on


def make_loader(entry: Entry, classes: int, config: Config, models: Mapping[str, Entry]) -> tuple[Loader, int]:
    """Return the loader of a network's training examples, and how many classes they have; all batches are full.

    Args:
        entry: of the network.
        classes: of random examples, where `config` names no dataset.
        config: of the training.
        models: the registry that `entry` is from.

    Raises:
        UserError: the dataset cannot be had, does not fit the network, or has less than four batches.
    """
    most = max(LEAST * config.batch_size, min(MOST, MOST_BYTES // int(np.prod(entry.input_shape))))
    most -= most % config.batch_size
    if not config.dataset:
        return _loader(random_examples(entry.input_shape, classes, most), config), classes
    dataset = load(config.dataset, config.data_dir, entry.input_shape)
    check_kind(config, dataset, models)
    few, _ = fit_to(_first(dataset, most, config), entry.input_shape)
    return _loader(few, config), len(few.classes)


def random_examples(shape: tuple[int, ...], classes: int, count: int) -> Dataset:
    """Return random images (count, H, W, C) uint8, or waveforms (count, length, C) int16, and random labels."""
    rng, dtype = np.random.default_rng(SEED), np.uint8 if len(shape) == 3 else np.int16
    limits = np.iinfo(dtype)
    inputs = rng.integers(limits.min, limits.max, (count, *shape), dtype, endpoint=True)
    split = Split(inputs, rng.integers(0, classes, count, np.int32))
    # What a uniform distribution's are, not looked up in half a gigabyte.
    mean, std = (0.5, 12**-0.5) if dtype == np.uint8 else (0.0, 3**-0.5)
    mean, std = (np.full(shape[-1], value, np.float32) for value in (mean, std))
    return Dataset(split, split, tuple(map(str, range(classes))), mean, std)


def pool(loader: Loader) -> list[Batch]:
    """Return the batches that lie on the device: the first ones of the loader's first epoch."""
    first = next(loader.epoch())
    count = max(LEAST, min(POOL, POOL_BYTES // first.inputs.nbytes))
    return list(islice(loader.epoch(), count))


def _first(dataset: Dataset, most: int, config: Config) -> Dataset:
    count = min(most, len(dataset.train.labels))
    count -= count % config.batch_size
    if count < LEAST * config.batch_size:
        raise UserError(
            f"--batch-size is {config.batch_size}, but {config.dataset} has only {len(dataset.train.labels):,}"
            f" training examples; expected at least {LEAST} batches"
        )
    train = Split(*(part[:count] for part in dataset.train))
    return dataset._replace(train=train, test=Split(*(part[:1] for part in dataset.test)), validation=None)


def _loader(dataset: Dataset, config: Config) -> Loader:
    return Loader(dataset.train, dataset.mean, dataset.std, config.batch_size, SEED)


def config_of(setting: Setting) -> Config:
    """Return the training that is measured: a constant rate, and nothing else switched on."""
    given = {name: getattr(setting, name) for name in ("batch_size", "precision", "tf32", "optimizer", "dataset")}
    options: dict[str, Any] = {
        "model": setting.name,
        "lr": LEARNING_RATE,
        "schedule": "constant",
        "seed": SEED,
        **given,
    }
    return Config(data_dir=Path(setting.data_dir) if setting.data_dir else None, **options)


def without_dropout(entry: Entry, config: Config, models: Mapping[str, Entry]) -> Entry:
    """Return the entry of a network whose layers drop nothing: what two frameworks drop never agrees (trap 20)."""
    try:
        return as_built(entry, dataclasses.replace(config, dropout=0.0), models)
    except UserError:  # it has no such layers
        return entry
