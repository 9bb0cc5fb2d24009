"""The one configuration of a training run: command line, JSON file and checks are all made from it."""

import dataclasses
import json
import math
import typing
from collections.abc import Sequence
from importlib.resources import files as files_of
from pathlib import Path
from typing import Any, Literal, NamedTuple

from data import own_folder
from data.augment import augmentations
from data.registry import UserError, lookup, unknown
from experiment.arguments import parse_arguments


@dataclasses.dataclass(frozen=True)
class Config:
    """Train a network; everything that decides the numbers, in one place."""

    model: str = "lenet5"
    """Network, see --list-models."""
    dataset: str = "digits"
    """Dataset, see --list-datasets; or the path of a folder of pictures."""
    data_dir: Path | None = None
    """Folder of the datasets. Default: $JAXNETS_DATA, else ~/.cache/jaxnets."""
    frontend: Literal["none", "logmel"] = "none"
    """What audio becomes for a network that takes images: logmel makes log-mel spectrograms."""
    epochs: int = 15
    """Passes over the training examples."""
    batch_size: int = 64
    """Images a step."""
    optimizer: Literal["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"] = "adam"
    """Update rule, as PyTorch defines it."""
    lr: float = 3e-3
    """Learning rate (its peak, under a schedule)."""
    momentum: float = 0.9
    """Of the optimizers momentum and nesterov; the others do not read it."""
    weight_decay: float = 0.0
    """On every parameter, biases and norms too: decoupled for adamw, added to the gradient for the others."""
    decay_weights_only: bool = False
    """Leave biases and norms out of --weight-decay."""
    l1: float = 0.0
    """Weight of the sum of the absolute values of all parameters, added to the loss that is minimised."""
    dropout: float | None = None
    """Rate of every dropout layer, of networks that have some. Default: the network's own."""
    label_smoothing: float = 0.0
    """Share of every label that is spread over all classes."""
    mixup: float = 0.0
    """Mix each two training examples, by a share drawn from Beta(mixup, mixup); 0 does not."""
    augment: str = "none"
    """Change the training examples at random, names with commas between: see --list-augmentations."""
    clip_norm: float = 0.0
    """Largest norm of all gradients together; 0 sets no limit."""
    accumulate: int = 1
    """Take each batch in so many pieces, one after another: for want of memory."""
    ema: float = 0.0
    """Keep a moving average of the weights, this much of it at each step, and judge and save that; 0 keeps none."""
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    """What is computed in. Under bfloat16 weights, statistics and losses stay float32."""
    tf32: bool = False
    """On a GPU, let float32 products be rounded to TF32: faster, and a thousand times less exact."""
    patience: int = 0
    """Stop after so many epochs without a better validation accuracy, and keep the best epoch's weights; 0 never."""
    schedule: Literal["constant", "step", "cosine", "warmup-cosine", "onecycle"] = "onecycle"
    """Learning rate over the steps."""
    loss: Literal["cross-entropy", "bce"] = "cross-entropy"
    """Softmax cross-entropy, or binary cross-entropy of each class against the rest."""
    weights: str | None = None
    """Start from these instead of random ones: a .pth or .safetensors file of either framework, a run folder, or
    the word torchvision for the pretrained ones."""
    new_head: bool = False
    """With --weights: the last layer starts at random, so that a file made for other classes will do."""
    like_torchvision: bool = False
    """Build the network as torchvision's weights need it (GoogLeNet: inputs rescaled). --weights torchvision, and the
    folder of a run that had this, say so by themselves; a file cannot."""
    seed: int = 0
    """Of the initial weights, the order of the examples, and dropout."""
    out: Path | None = None
    """Run folder to make. Default: runs/<time>-<model>-<dataset>-<framework>."""
    recipe: str | None = None
    """Take the options from a recipe, see --list-recipes; options given beside it win."""
    seeds: int = 1
    """Train so many times, with --seed and those after it, and print the mean and the deviation."""
    tune: tuple[str, ...] = ()
    """Search for the best validation accuracy: lr=1e-4..1e-1 batch_size=32,64 and so on; a folder for each trial."""
    trials: int = 20
    """How many trainings --tune may take."""
    config: Path | None = None
    """Repeat the run whose config.json this is; options given beside it win."""
    list_models: bool = False
    """Print every network and stop."""
    list_datasets: bool = False
    """Print every dataset and stop."""
    list_recipes: bool = False
    """Print every recipe with what it comes to, and stop."""
    list_augmentations: bool = False
    """Print every augmentation and stop."""
    summary: bool = False
    """Print the network's layers with their shapes, parameters and FLOPs, and stop."""
    dry_run: bool = False
    """Check everything, print what would be trained, write nothing."""

    @property
    def dataset_name(self) -> str:
        """Return the dataset's name, of a folder of pictures only the last part of its path."""
        folder = own_folder(self.dataset)
        return folder.name if folder else self.dataset


TORCHVISION = "torchvision"  # the word for --weights that is no file
# What is said to the command, not about the training; config.json holds the rest.
NOT_SAVED = ("out", "config", "recipe", "seeds", "tune", "trials", "summary", "dry_run")
NAMES = (field.name for field in dataclasses.fields(Config))
SAVED = tuple(name for name in NAMES if name not in NOT_SAVED and not name.startswith("list_"))


def parse(argv: Sequence[str], prog: str) -> Config:
    """Make a checked Config from a command line; the values of --config FILE or --recipe NAME are the defaults.

    Raises:
        UserError: an option is out of range, or the file is not a configuration; or no such recipe.
    """
    file, name = _given(argv, "--config"), _given(argv, "--recipe")
    if file and name:
        raise UserError("--config and --recipe both say what the options are; give one of them")
    default = load_config(Path(file)) if file else load_recipe(name) if name else Config()
    return check(parse_arguments(Config, argv, prog, default))


def check(config: Config) -> Config:
    """Return `config` if every number is in its range.

    Raises:
        UserError: says which option, what was found, and what is allowed.
    """
    for name in ("epochs", "batch_size", "accumulate", "seeds", "trials"):
        _require(getattr(config, name) >= 1, name, config, "at least 1")
    for name in ("momentum", "label_smoothing", "ema"):
        _require(0 <= getattr(config, name) < 1, name, config, "from 0 to below 1")
    for name in ("weight_decay", "l1", "mixup", "clip_norm"):
        _require(0 <= getattr(config, name) < math.inf, name, config, "a finite number, 0 or above")
    _require(0 < config.lr < math.inf, "lr", config, "a finite number above 0")
    _require(config.dropout is None or 0 <= config.dropout < 1, "dropout", config, "from 0 to below 1")
    _require(config.patience >= 0, "patience", config, "at least 0")
    _require(0 <= config.seed < 2**32, "seed", config, "from 0 to 4294967295")
    augmentations(config.augment)
    for name, found in parse_space(config.tune).items():
        for value in found.choices or (found.low, found.high):
            check(dataclasses.replace(config, tune=(), **{name: value}))
    if config.tune and config.seeds > 1:
        raise UserError("--tune trains each trial once; leave out --seeds, and give it to what was found")
    if config.new_head and not config.weights:
        raise UserError("--new-head says what of --weights not to take; give --weights, too")
    return config


def to_json(config: Config) -> str:
    """Return what config.json holds: everything that decides the numbers."""
    values = {name: getattr(config, name) for name in SAVED}
    if config.data_dir:
        values["data_dir"] = str(config.data_dir.expanduser().resolve())
    if folder := own_folder(config.dataset):  # absolute, too: the run is evaluated from anywhere
        values["dataset"] = str(folder)
    if config.weights and config.weights != TORCHVISION:
        values["weights"] = str(Path(config.weights).expanduser().resolve())
    return json.dumps(values, indent=2) + "\n"


def load_config(path: Path) -> Config:
    """Read a config.json.

    Raises:
        UserError: missing, not JSON, an option unknown or of the wrong type or range.
    """
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected an object of options, found {type(values).__name__}")
    return _from_values(path, values)


class Range(NamedTuple):
    """What an option may be in a search: numbers from `low` to `high`, or one of the `choices`."""

    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()
    whole: bool = False

    @property
    def log(self) -> bool:
        """Whether it spans more than a factor of ten: then each factor is as likely as any other."""
        return self.low > 0 and self.high / self.low >= 10


def parse_space(words: Sequence[str]) -> dict[str, Range]:
    """Return what `--tune lr=1e-4..1e-1 batch_size=32,64` means.

    Raises:
        UserError: no such option, or a range or a choice that is none.
    """
    types, space = typing.get_type_hints(Config), {}
    for word in words:
        name, _, text = word.partition("=")
        name = name.replace("-", "_")
        if name not in SAVED:
            raise UserError(f"--tune {word}: {unknown('option', name, SAVED)}")
        kind = float if types[name] == float | None else types[name]
        low, dots, high = text.partition("..")
        try:
            if dots and kind in (int, float):
                space[name] = Range(kind(low), kind(high), whole=kind is int)
            else:
                number = kind if kind in (int, float) else str
                space[name] = Range(choices=tuple(number(choice) for choice in text.split(",")))
        except ValueError:
            raise UserError(f"--tune {word}: expected {_describe(types[name])} in it, found '{text}'") from None
        found = space[name]
        if not found.choices and not found.low < found.high:
            raise UserError(f"--tune {word}: expected the smaller number first, and a larger one")
        for value in found.choices or (found.low, found.high):
            if not _fits(value, types[name]):
                raise UserError(f"--tune {word}: found {value!r}, expected {_describe(types[name])}")
    return space


class Recipe(NamedTuple):
    """An experiment: what it is, where it is from, what others and we have got, and its options."""

    about: str
    source: str
    original: str | None  # the figure of the original
    expected: str | None  # what it came to here; None: it has not been run
    options: dict[str, Any]


def recipes() -> dict[str, Recipe]:
    """Return every recipe by name."""
    files = sorted(files_of("recipes").iterdir(), key=lambda file: file.name)
    found = {file.name.removesuffix(".json"): file for file in files if file.name.endswith(".json")}
    return {name: Recipe(**json.loads(file.read_text())) for name, file in found.items()}


def load_recipe(name: str) -> Config:
    """Return the options of a recipe.

    Raises:
        UserError: there is none of that name; or its options are not such.
    """
    return _from_values(f"recipe {name}", lookup("recipe", name, recipes()).options)


def _from_values(source: Path | str, values: dict[str, Any]) -> Config:
    types = typing.get_type_hints(Config)
    for name, value in values.items():
        if name not in SAVED:
            raise UserError(f"{source}: {unknown('option', name, SAVED)}")
        if not _fits(value, types[name]):
            raise UserError(f"{source}: option '{name}' is {value!r}, expected {_describe(types[name])}")
    if values.get("data_dir"):
        values = values | {"data_dir": Path(values["data_dir"])}
    try:
        return check(Config(**values))
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def _given(argv: Sequence[str], option: str) -> str:
    """Return the value of an option on a command line that has not been parsed yet, or nothing."""
    for at, word in enumerate(argv):
        if word == option and at + 1 < len(argv):
            return argv[at + 1]
        if word.startswith(f"{option}="):
            return word.removeprefix(f"{option}=")
    return ""


def _require(ok: bool, option: str, config: Config, expected: str) -> None:
    if not ok:
        raise UserError(f"--{option.replace('_', '-')} is {getattr(config, option)}, expected {expected}")


def _fits(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is Literal:
        return value in typing.get_args(kind)
    if kind in (Path | None, str | None):
        return value is None or isinstance(value, str)
    if kind == float | None:
        return value is None or _fits(value, float)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is kind


def _describe(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(typing.get_args(kind))
    names = {int: "a whole number", float: "a number", str: "a name", bool: "true or false"}
    return names.get(kind, "a number or null" if kind == float | None else "a path or null")
