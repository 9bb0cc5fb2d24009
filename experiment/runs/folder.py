"""The run folder: created once, never overwritten, each file written atomically."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from experiment.config import Config, load_config, to_json
from experiment.runs.atomic import cannot_write, write
from experiment.weights.safetensors_file import pack, read_weights

RUNS = Path("runs")
CONFIG, METRICS, SUMMARY, WEIGHTS = "config.json", "metrics.jsonl", "summary.json", "weights.safetensors"


def make_folder(config: Config, framework: str) -> Path:
    """Create the run folder with its config.json.

    Raises:
        UserError: it exists already (and is unchanged), or cannot be created.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = config.out or RUNS / f"{stamp}-{config.model}-{config.dataset_name}-{framework}"
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise UserError(f"{path} exists already and is never overwritten; name another folder with --out") from None
    except OSError as error:
        raise UserError(f"{path} cannot be made ({error.strerror})") from None
    write(path / CONFIG, to_json(config).encode())
    return path


def check_free(config: Config) -> None:
    """Raise a UserError if --out exists, before any work is done."""
    if config.out and config.out.exists():
        raise UserError(f"{config.out} exists already and is never overwritten; name another folder with --out")


def append_row(folder: Path, row: Mapping[str, Any]) -> None:
    """Add a line to metrics.jsonl.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with (folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
    except OSError as error:
        raise cannot_write(folder / METRICS, error) from None


def write_rows(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rewrite metrics.jsonl: a resumed run starts from the rows of its checkpoint."""
    write(folder / METRICS, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode())


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write summary.json."""
    write(folder / SUMMARY, (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())


def write_weights(folder: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write weights.safetensors: flat names to arrays, named as in the framework that trained them."""
    write(folder / WEIGHTS, pack(weights))


def read_run(folder: Path) -> tuple[Config, dict[str, np.ndarray]]:
    """Return the configuration and the weights of a finished run.

    Raises:
        UserError: there is no such folder, or a file in it is missing or damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder")
    return load_config(folder / CONFIG), read_weights(folder / WEIGHTS)
