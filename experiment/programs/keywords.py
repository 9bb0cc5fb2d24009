"""The options of `fit`: the fields of `Config`, given as keywords."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data import UserError
from data.registry import nearest
from experiment.config import check, fits, load_recipe
from experiment.options import NAMES, Config

# What is said to the command alone.
COMMANDS = {
    "config": "read it by json and give its options",
    "resume": "the command line goes on with a saved run: --resume RUN",
    "seeds": "call fit with each seed",
    "together": "the command line trains several seeds at once: --seeds N --together yes",
    "tune": "call fit with each value, or use the command line: --tune",
    "trials": "it belongs to --tune of the command line",
    "processes": "start the command line in several processes",
    "summary": "see the network itself",
    "dry_run": "leave it out",
}
GIVEN = ("model", "dataset")
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
KNOWN = [name for name in NAMES if name not in (*COMMANDS, *GIVEN) and not name.startswith("list_")]


def config_of(model: str, dataset: str, options: Mapping[str, Any]) -> Config:
    """Return the checked options of a training; those of `recipe` are the defaults.

    Raises:
        UserError: an option is unknown, of the wrong type or out of its range.
    """
    for name in options:
        if name in COMMANDS:
            raise UserError(f"fit takes no '{name}': {COMMANDS[name]}")
        if name not in KNOWN:
            advice = nearest(name, KNOWN) or f" It takes: {', '.join(KNOWN)}"
            raise UserError(f"fit has no option '{name}'.{advice}")
    values = {name: _plain(value) for name, value in options.items() if name != "recipe"}
    for name, value in values.items():
        if fault := fits(name, str(value) if isinstance(value, Path) else value):
            raise UserError(f"fit: {fault}")
    values |= {name: Path(values[name]) for name in ("out", "data_dir", "cache_dir") if values.get(name)}
    values |= {"weights": str(values["weights"])} if values.get("weights") else {}
    base = load_recipe(options["recipe"]) if options.get("recipe") else Config()
    if not values.get("out"):
        for name in ("tensorboard", "profile"):
            if values.get(name):
                raise UserError(f"fit: {name}=True writes into a run folder; name one with out=")
    try:
        return check(Config(**{**vars(base), **values, "model": model, "dataset": dataset}))
    except UserError as error:
        raise in_python(error) from None


def in_python(error: UserError) -> UserError:
    """Return an error that names options as the command line does, --batch-size, with their names in Python."""

    def keyword(found: re.Match[str]) -> str:
        name = found[1].replace("-", "_")
        return name if name in NAMES else found[0]

    return type(error)(OPTION.sub(keyword, str(error)))


def _plain(value: Any) -> Any:
    """Return numpy's numbers as Python's, and a list or tuple as the command line's text: "flip,crop"."""
    if isinstance(value, np.generic):
        return value.item()
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value
