"""The task of a run: its network, its examples, split and fitted, and the loaders over them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from data import DATASETS, Dataset, Loader, Reading, Split, UserError, Windows, apply_frontend, find, fit_to, load
from data.augment import augmentations, check_augmentations
from data.holdout import Plan, choose, digests, held_out
from data.picture_sizes import picture_sizes
from data.registry import lookup
from data.rows import concatenate, select
from experiment.backend import Backend
from experiment.config import Config, parse_fold, parse_shape
from experiment.loop.class_weights import about_classes
from experiment.loop.evaluation import evaluation_batch
from experiment.loop.metrics import Score, score
from experiment.registry import Entry, with_shape
from experiment.weights.normalisation import SAID, normalised


class Task(NamedTuple):
    """A network and the examples to train it on."""

    entry: Entry
    dataset: Dataset  # in the size that the network needs
    splits: dict[str, Split]  # train, validation, test; disjoint
    note: str | None  # how the examples were read and changed to fit the network, some lines
    shape: tuple[int, ...]  # of an example before that
    windows: Mapping[str, Windows] = {}  # of the long clips of each split
    warnings: tuple[str, ...] = ()  # what may be wrong with the data, a line each
    features: Mapping[str, Split] = {}  # of frozen layers, for each split; with those of further windows at the end


def prepare(
    config: Config,
    models: Mapping[str, Entry],
    inputs: Mapping[str, Any] | None = None,
    dataset: Dataset | None = None,
) -> Task:
    """Find the network, load the dataset, fit it to the network and split off the validation examples.

    With `inputs`, what a run has saved about its inputs (`describe_inputs`), the dataset is read and normalised as in
    that run. With `dataset`, that is taken and none is loaded.

    Raises:
        UserError: no such network or dataset; the data are missing, damaged or of a shape that does not fit; or the
            classes are not those of the run.
    """
    entry = network(config, models)
    if dataset is None:
        size = tuple(inputs["shape"]) if inputs else entry.input_shape or common_size(config)
        dataset = load(config.dataset, config.data_dir, size, reading(config, inputs))
    if inputs:
        check_classes(config, dataset.classes, inputs["classes"])
    check_kind(config, dataset, models, entry)
    check_clips(config, dataset)
    shape = dataset.train.inputs.shape[1:]
    if config.data_rules == "0.1":
        dataset = dataset._replace(windows={})
    dataset, note = apply_frontend(dataset, config.frontend)
    check_augmentations(augmentations(config.augment), dataset.train.inputs, config.tta)
    entry = with_shape(entry, dataset.train.inputs.shape[1:])
    dataset, resized = fit_to(dataset, entry.input_shape)
    if inputs:
        statistics = {name: np.array(inputs[name], np.float32) for name in ("mean", "std")}
        dataset = dataset._replace(**statistics)
    else:
        dataset = normalised(dataset, config)
    splits, windows = split_off(config, dataset)
    fitted = "; ".join(line for line in (note, resized) if line)
    lines = [*dataset.notes, fitted, _about_windows(dataset), SAID if config.normalize == "imagenet" else None]
    lines.append(about_classes(config, splits["train"].labels, dataset.classes))
    notes = "\n".join(line for line in lines if line)
    warnings = check_splits(splits, dataset.classes, windows) if own(config) else ()
    return Task(entry, dataset, splits, notes or None, shape, windows, (*dataset.warnings, *warnings))


def reading(config: Config, inputs: Mapping[str, Any] | None = None) -> Reading:
    """Return how own files are read: as the options say, or as in the run that has saved `inputs`."""
    common = Reading(
        config.data_rules == "0.1",
        on_bad_file=config.on_bad_file,
        cache_dir=config.cache_dir,
        sounds=config.frontend != "none",
    )
    if inputs:
        return common._replace(depth=inputs.get("depth"), rate=inputs["rate"] or 0)
    return common._replace(rate=config.sample_rate, seconds=config.clip_seconds)


def network(config: Config, models: Mapping[str, Entry]) -> Entry:
    """Return the entry of the network, with the shape of --input-shape if that is given.

    Raises:
        UserError: the network takes no inputs of that shape.
    """
    entry = lookup("model", config.model, models)
    shape, usual = parse_shape(config.input_shape or ""), entry.input_shape
    if not shape:
        return entry
    if not entry.own and not entry.any_size and len(usual) != 2:
        size = "x".join(map(str, usual))
        raise UserError(
            f"--input-shape: '{config.model}' takes {size} alone; see docs/networks.md for those of any size"
        )
    if not entry.own and (len(shape) != len(usual) or shape[-1] != usual[-1]):
        sizes = "length" if len(usual) == 2 else "height,width"
        raise UserError(f"--input-shape is {config.input_shape}; '{config.model}' takes {sizes},{usual[-1]}")
    return entry._replace(input_shape=shape)


def common_size(config: Config) -> tuple[int, ...] | None:
    """Return the shape of all pictures of a folder, (H, W, 3), for a network that takes any; None of other datasets.

    Raises:
        UserError: they have several.
    """
    source, folder = find(config.dataset, config.data_dir)
    if not source.sized:
        return None
    sizes = picture_sizes(folder)
    if len(sizes) > 1:
        (first, _), (second, _), *rest = sizes.most_common()
        more = f" and {len(rest)} more sizes" if rest else ""
        raise UserError(
            f"{config.dataset_name} has pictures of {first[0]}x{first[1]}, {second[0]}x{second[1]}{more}, and "
            f"{config.model_name} does not say what it takes: give --input-shape {first[0]},{first[1]},3 or so"
        )
    return (*next(iter(sizes)), 3) if sizes else None


def own(config: Config) -> bool:
    """Return whether the dataset is the user's own folder."""
    return config.dataset == "folder" or config.dataset not in DATASETS


def split_off(config: Config, dataset: Dataset) -> tuple[dict[str, Split], dict[str, Windows]]:
    """Return the splits, with validation examples from the training examples if there are no others, and windows.

    Raises:
        UserError: the options are for a dataset without a validation set, or there are too few examples.
    """
    splits, windows = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}, {}
    default = (config.validation_share, config.split_seed, config.fold) == (0.1, 0, None)
    if dataset.validation:
        if not default:
            option = "--fold" if config.fold else "--validation-share" if config.split_seed == 0 else "--split-seed"
            raise UserError(f"{config.dataset_name} has a validation set of its own; leave out {option}")
        return {name: split for name, split in splits.items() if split}, dict(dataset.windows)
    # Registered datasets keep the split that their recorded figures are for.
    permuted = config.data_rules == "0.1" or (default and not own(config))
    fold = parse_fold(config.fold) if config.fold else None
    if fold and config.data_rules == "0.1":
        raise UserError("--fold needs --data-rules current")
    plan = Plan(config.validation_share, config.split_seed, fold, permuted)
    rows = held_out(dataset.train, plan, dataset.windows.get("train"))
    for name, part in zip(("train", "validation"), rows, strict=True):
        splits[name] = choose(dataset.train, part)
        if found := dataset.windows.get("train"):
            chosen = np.isin(found.owners, part)
            windows[name] = Windows(select(found.inputs, chosen), np.searchsorted(part, found.owners[chosen]))
    windows |= {"test": dataset.windows["test"]} if "test" in dataset.windows else {}
    return {name: split for name, split in splits.items() if split}, {
        name: found for name, found in windows.items() if len(found.owners)
    }


def _about_windows(dataset: Dataset) -> str | None:
    if not dataset.windows:
        return None
    count = sum(len(np.unique(found.owners)) for found in dataset.windows.values())
    clips = "1 clip exceeds" if count == 1 else f"{count:,} clips exceed"
    length = next(iter(dataset.windows.values())).inputs.shape[1:]
    unit = f"{length[0]:,} samples" if len(length) == 2 else "one window"
    return f"{clips} {unit}: training takes a window at random, evaluation the mean over all of the clip"


def check_splits(
    splits: Mapping[str, Split], classes: Sequence[str], windows: Mapping[str, Windows] = {}
) -> tuple[str, ...]:
    """Return a line for each part that lacks a class, and for each two parts with equal examples."""
    lines = []
    for name, split in splits.items():
        counts = np.bincount(split.labels, minlength=len(classes))
        if len(missing := [known for known, count in zip(classes, counts, strict=True) if not count]):
            lines.append(f"no {name} examples of {shorten(missing)}")
    found = {name: digests(split.inputs, windows.get(name)) for name, split in splits.items()}
    for first, second in (("train", "test"), ("train", "validation"), ("validation", "test")):
        seen = set(found[first])
        if same := sum(digest in seen for digest in found[second]):
            lines.append(f"{same:,} of {len(found[second]):,} {second} examples are equal to {first} examples")
    labels: dict[bytes, set[int]] = {}
    for name, split in splits.items():
        for digest, label in zip(found[name], split.labels.tolist(), strict=True):
            labels.setdefault(digest, set()).add(label)
    if twice := sum(len(each) > 1 for each in labels.values()):
        lines.append(f"{twice:,} examples are in more than one class")
    return tuple(lines)


def shorten(names: Sequence[str], most: int = 10) -> str:
    """Return the first few names, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def check_classes(config: Config, found: Sequence[str], trained: Sequence[str]) -> None:
    """Check that the classes of the dataset are still those of the run.

    Raises:
        UserError: they are not; says what differs.
    """
    if list(found) == list(trained):
        return
    parts = [
        f"{what} {shorten(names)}"
        for what, names in (
            ("lacks", [name for name in trained if name not in found]),
            ("has also", [name for name in found if name not in trained]),
        )
        if names
    ] or [f"has them in another order: {shorten(list(found))}"]
    raise UserError(
        f"{config.dataset_name}: not the classes that the run was trained on ({shorten(list(trained))}): the dataset "
        f"{' and '.join(parts)}; restore the classes, or train again"
    )


def describe_inputs(task: Task) -> dict[str, Any]:
    """Return what is needed to preprocess other files like the examples."""
    dataset = task.dataset
    statistics = {name: getattr(dataset, name).astype(float).tolist() for name in ("mean", "std")}
    about = {"shape": list(task.shape), "rate": dataset.rate, **statistics, "classes": list(dataset.classes)}
    return about | ({"depth": dataset.depth} if dataset.depth else {})


def check_kind(config: Config, dataset: Dataset, models: Mapping[str, Entry], entry: Entry | None = None) -> None:
    """Check that the dataset, the network and --frontend fit together, be it images or audio.

    Raises:
        UserError: they do not; says which of the three to change, and to what.
    """
    name, sound, network = config.dataset_name, dataset.train.inputs.ndim == 3, config.model_name
    if not (shape := (entry or models[config.model]).input_shape):
        if config.frontend != "none" and not sound:
            raise UserError(f"--frontend {config.frontend} is for audio; {name} has images")
        return
    for_sound = len(shape) == 2
    if config.frontend != "none" and not sound:
        raise UserError(f"--frontend {config.frontend} is for audio; {name} has images")
    if config.frontend != "none" and for_sound:
        raise UserError(f"{network} takes audio as it is: leave out --frontend {config.frontend}")
    if for_sound and not sound:
        raise UserError(f"{network} takes audio, {name} has images; choose another network, see --list-models")
    if sound and not for_sound and config.frontend == "none":
        others = ", ".join(other for other, entry in models.items() if len(entry.input_shape) == 2)
        choice = f", or choose a network for audio: {others}" if others else ""
        raise UserError(f"{name} has audio, {network} takes images: add --frontend logmel{choice}")


def check_clips(config: Config, dataset: Dataset) -> None:
    """Refuse the options for own sounds with other data."""
    if own(config) and dataset.rate:
        return
    for name in ("clip_seconds", "sample_rate"):
        if getattr(config, name):
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} is for an own folder of sounds, not for {config.dataset_name}; leave it out")


def training_loader(config: Config, task: Task, shard: int = 0, shards: int = 1) -> Loader:
    """Return the loader of the training batches, or of one of `shards` shards of each batch."""
    dataset, windows = task.dataset, task.windows.get("train")
    return Loader(
        *network_inputs(task, "train"),
        config.batch_size,
        config.seed,
        augment=augmentations(config.augment),
        mixup=config.mixup,
        classes=len(dataset.classes),
        dtype=input_dtype(config),
        shard=shard,
        shards=shards,
        owners=windows.owners if windows else None,
        balanced=config.sampler == "balanced",
    )


def network_inputs(task: Task, name: str) -> tuple[Split, np.ndarray, np.ndarray]:
    """Return a split as the network takes it, and the mean and deviation to normalise it by."""
    if name in task.features:  # which are not normalised
        return task.features[name], np.zeros(1), np.ones(1)
    return all_windows(task.splits[name], task.windows.get(name)), task.dataset.mean, task.dataset.std


def all_windows(split: Split, windows: Windows | None) -> Split:
    """Return the examples of a split followed by the further windows of the long ones."""
    if windows is None:
        return split
    labels = np.concatenate([split.labels, split.labels[windows.owners]])
    return Split(concatenate([split.inputs, windows.inputs]), labels)


def mean_over_windows(logits: np.ndarray, windows: Windows | None) -> np.ndarray:
    """Return the logits of each example: the mean over its windows."""
    if windows is None:
        return logits
    count = len(logits) - len(windows.owners)
    total = logits[:count].astype(np.float64)
    np.add.at(total, windows.owners, logits[count:])
    return total / (1 + np.bincount(windows.owners, minlength=count))[:, None]


def input_dtype(config: Config) -> type[np.floating]:
    """Return the dtype of the network's inputs; under bfloat16 the network itself rounds them."""
    return np.float64 if config.precision == "float64" else np.float32


def predict_split(backend: Backend, model: Any, variables: Any, task: Task, name: str, config: Config) -> np.ndarray:
    """Return what the network makes of a whole split, (N, ...); of further windows at the end."""
    size = evaluation_batch(config, task.splits[name].inputs.shape[1:], backend.replicas())
    loader = Loader(*network_inputs(task, name), size, dtype=input_dtype(config))
    return backend.predict(model, variables, loader, config)


def score_split(backend: Backend, model: Any, variables: Any, task: Task, name: str, config: Config) -> Score:
    """Evaluate the network on a whole split."""
    logits = mean_over_windows(predict_split(backend, model, variables, task, name, config), task.windows.get(name))
    return score(logits, task.splits[name].labels, config.loss, roc_auc=config.probabilities)
