"""A training's options: from a command line, a JSON file or a recipe, checked, and back to JSON."""

import dataclasses
import json
import math
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from data import own_folder
from data.augment import augmentations
from data.errors import UserError
from data.registry import lookup, unknown
from experiment.arguments import parse_arguments
from experiment.options import FREE, MAPPED, OUTPUT, SAVED, SWEEP, Config
from experiment.own_network import is_own, is_reference, parse_target
from experiment.recipes import recipes
from experiment.runs.kinds import ABOUT, RUN, SEEDS, Folder, has_profile, read_config

TORCHVISION = "torchvision"  # the word for --weights that is no file
EVERY = re.compile(r"([1-9][0-9]*)(epoch|step)s?")  # of --checkpoint-every
FOLDERS = ("data_dir", "cache_dir")
AUTO = "auto"  # the word for --resume that is no folder


def parse(argv: Sequence[str], prog: str, run: Folder | None = None) -> Config:
    """Make a checked Config from a command line; the values of --config FILE or --recipe NAME are the defaults.

    With `run`, a folder to go on with, its own options are.

    Raises:
        UserError: an option is out of range, or the file is not a configuration; or no such recipe; or an option is
            not that of the run to go on with.
    """
    file, name = given(argv, "--config"), given(argv, "--recipe")
    if file and name:
        raise UserError("--config and --recipe both say what the options are; give one of them")
    default = load_config(Path(file)) if file else load_recipe(name) if name else Config()
    if not run:
        return check(parse_arguments(Config, argv, prog, default))
    before = load_config(run.path / "config.json")
    before = dataclasses.replace(before, out=run.path, profile=before.profile and not has_profile(run.path))
    if file or name:  # whose other options are checked to be the run's
        own = FREE if default.normalize != "auto" else (*FREE, "normalize")
        before = dataclasses.replace(default, **{option: getattr(before, option) for option in own})
    return _check_resumed(run, check(parse_arguments(Config, argv, prog, _with_sweep(before, run))))


def _with_sweep(config: Config, folder: Folder) -> Config:
    """Return `config` with the options of a sweep's folder, which has none if an earlier version has saved it."""
    types = typing.get_type_hints(Config) | {"tune": list}
    for name, value in folder.sweep.items():
        if name in SWEEP and not _fits(value, types[name]):
            raise UserError(f"{folder.path / 'config.json'}: option '{name}' is {value!r}, which it cannot be")
    values: dict[str, Any] = {name: value for name, value in folder.sweep.items() if name in SWEEP}
    return dataclasses.replace(config, **values | {"tune": tuple(map(str, values.get("tune", ())))})


def _check_resumed(run: Folder, config: Config) -> Config:
    before, now = (json.loads(to_json(one)) for one in (load_config(run.path / "config.json"), config))
    if run.sweep:
        before |= {name: run.sweep.get(name) for name in SWEEP}
        now |= sweep_of(config)
    if is_own(run_model := before["model"]) and config.model_name == parse_target(run_model).short:
        now["model"] = run_model  # its file may have moved
    changed = [f"{name} was {before[name]}, is {now[name]}" for name in now if before[name] != now[name]]
    changed = [line for line in changed if line.split()[0] not in (*FREE, "together")]
    sweeps = config.seeds > 1 or bool(config.tune)
    if run.kind == RUN and sweeps:
        changed.append("it is one training; leave out --seeds and --tune")
    if changed:
        raise UserError(f"--resume {run.path}: not the same training: {'; '.join(changed)}")
    if run.kind != RUN and not run.is_finished() and (not sweeps or bool(config.tune) == (run.kind == SEEDS)):
        needed = "--seeds" if run.kind == SEEDS else "--tune and --trials"
        raise UserError(f"--resume {run.path}: saved by an earlier version, which kept no {needed}; give what it had")
    if config.out and config.out.absolute() != run.path.absolute():
        raise UserError(f"--resume goes on in {run.path} itself; leave out --out {config.out}")
    return dataclasses.replace(config, out=run.path)


def sweep_of(config: Config) -> dict[str, Any]:
    """Return the options of a sweep as its folder's config.json holds them."""
    return {name: getattr(config, name) for name in SWEEP} | {"tune": list(config.tune)}


def check(config: Config) -> Config:
    """Return `config` if every number is in its range.

    Raises:
        UserError: says which option, what was found, and what is allowed.
    """
    for name in ("batch_size", "accumulate", "seeds", "trials", "keep", "processes"):
        _require(getattr(config, name) >= 1, name, config, "at least 1")
    for name in ("momentum", "label_smoothing", "ema"):
        _require(0 <= getattr(config, name) < 1, name, config, "from 0 to below 1")
    for name in ("weight_decay", "l1", "mixup", "clip_norm", "min_delta", "clip_seconds"):
        _require(0 <= getattr(config, name) < math.inf, name, config, "a finite number, 0 or above")
    _require(0 < config.lr < math.inf, "lr", config, "a finite number above 0")
    _require(config.dropout is None or 0 <= config.dropout < 1, "dropout", config, "from 0 to below 1")
    for name in ("epochs", "patience", "workers"):
        _require(getattr(config, name) >= 0, name, config, "at least 0")
    _require(config.sample_rate == 0 or 100 <= config.sample_rate < 2**20, "sample_rate", config, "100 to 1048575")
    _require(bool(EVERY.fullmatch(config.checkpoint_every)), "checkpoint_every", config, "2epochs, 500steps or so")
    for name in ("seed", "split_seed"):
        _require(0 <= getattr(config, name) < 2**32, name, config, "from 0 to 4294967295")
    _require(0 < config.validation_share < 1, "validation_share", config, "a share between 0 and 1")
    if config.input_shape is not None:
        _require(parse_shape(config.input_shape) is not None, "input_shape", config, "height, width and channels")
    if config.fold is not None:
        _require(parse_fold(config.fold) is not None, "fold", config, "i/k as 1/5, i from 1 to k, k at least 2")
        if config.validation_share != Config.validation_share:
            raise UserError("--fold and --validation-share both say what is for validation; give one of them")
    augmentations(config.augment)
    for name, found in parse_space(config.tune).items():
        for value in found.choices or (found.low, found.high):
            check(dataclasses.replace(config, tune=(), together="auto", **{name: value}))
    if config.tune and config.seeds > 1:
        raise UserError("--tune trains each trial once; leave out --seeds, and give it to what was found")
    if config.workers and config.augment_on == "device":
        raise UserError("--workers does what --augment-on device leaves to the device; give one of them")
    if config.data_on == "device" and (config.workers or config.processes > 1):
        raise UserError(
            "--data-on device has nothing left for --workers, and no shares for --processes; leave them out"
        )
    if config.together == "yes" and (config.workers or (config.seeds == 1 and not config.tune)):
        raise UserError("--together yes trains the runs of --seeds at once, without --workers; give --seeds 3 or so")
    others = [name for name in parse_space(config.tune) if name not in MAPPED]
    if config.together == "yes" and others:
        names = ", ".join(MAPPED)
        raise UserError(f"--together yes can tune {names}; other options need a program each, found {others[0]}")
    if config.processes > 1 and (config.seeds > 1 or config.tune):
        raise UserError("--processes takes one training at a time; leave out --seeds and --tune")
    if config.class_weights != "none" and config.loss != "cross-entropy":
        raise UserError(f"--class-weights {config.class_weights} is for --loss cross-entropy, not {config.loss}")
    if config.class_weights != "none" and config.sampler != "shuffle":
        raise UserError("--class-weights and --sampler both make up for the sizes of the classes; give one of them")
    if config.new_head and not config.weights:
        raise UserError("--new-head says what of --weights not to take; give --weights, too")
    return config


def to_json(config: Config) -> str:
    """Return what config.json holds: everything that decides the numbers."""
    values = {name: getattr(config, name) for name in SAVED}
    for name in FOLDERS:
        if folder := values[name]:
            values[name] = str(folder.expanduser().resolve())
    if folder := own_folder(config.dataset):  # absolute, too: the run is evaluated from anywhere
        values["dataset"] = str(folder)
    if is_reference(config.model):
        values["model"] = parse_target(config.model).text
    if config.weights and config.weights != TORCHVISION:
        values["weights"] = str(Path(config.weights).expanduser().resolve())
    return json.dumps(values, indent=2) + "\n"


def load_config(path: Path) -> Config:
    """Read a config.json.

    Raises:
        UserError: missing, not JSON, an option unknown or of the wrong type or range.
    """
    values = {name: value for name, value in read_config(path).items() if name not in ABOUT}
    values.setdefault("data_rules", "0.1")  # saved since then
    values.setdefault("normalize", "data")
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
        if name not in SAVED or name in OUTPUT:
            known = [other for other in SAVED if other not in OUTPUT]
            raise UserError(f"--tune {word}: {unknown('option', name, known)}")
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
    values = values | {name: Path(values[name]) for name in FOLDERS if values.get(name)}
    try:
        return check(Config(**values))
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def parse_shape(text: str) -> tuple[int, ...] | None:
    """Return a shape such as "64,64,3", or "8000,1" of waveforms; None if the text is none."""
    numbers = [part.strip() for part in text.strip("()").split(",")]
    if len(numbers) not in (2, 3) or not all(part.isdecimal() and int(part) for part in numbers):
        return None
    return tuple(map(int, numbers))


def parse_fold(text: str) -> tuple[int, int] | None:
    """Return i and k of a fold i/k; None if the text is none."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) and int(count) >= 2):
        return None
    return int(number), int(count)


def every(config: Config) -> tuple[int, str]:
    """Return what --checkpoint-every says: how many, and "epoch" or "step"."""
    _, number, unit, _ = EVERY.split(config.checkpoint_every)
    return int(number), unit


def given(argv: Sequence[str], option: str) -> str:
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


def fits(name: str, value: Any) -> str:
    """Return what is wrong with the type of an option's value; "" if it fits."""
    kind = typing.get_type_hints(Config)[name]
    return "" if _fits(value, kind) else f"option '{name}' is {value!r}, expected {_describe(kind)}"


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
