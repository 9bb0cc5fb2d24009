"""The recipes: whole experiments by name, one JSON file each in this folder (`--recipe NAME`, `--list-recipes`)."""

import json
from importlib.resources import files as files_of
from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """An experiment: what it is, where it is from, what others and we have got, and its options."""

    about: str
    source: str
    original: str | None  # the figure of the original
    goal: str | None  # what it is to reach on the test examples
    expected: str | None  # what it came to here; None: it has not been run
    options: dict[str, Any]


def recipes() -> dict[str, Recipe]:
    """Return every recipe by name."""
    files = sorted(files_of("experiment.recipes").iterdir(), key=lambda file: file.name)
    found = {file.name.removesuffix(".json"): file for file in files if file.name.endswith(".json")}
    return {name: Recipe(**json.loads(file.read_text(encoding="utf-8"))) for name, file in found.items()}
