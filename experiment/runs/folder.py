"""The run folder: created once, never overwritten, each file written atomically."""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from experiment.config import Config, load_config, to_json
from experiment.options import FREE
from experiment.own_network import is_own
from experiment.runs.atomic import FolderError, cannot_write, write
from experiment.runs.kinds import CONFIG, FAILED, RUN, read_config, require_run
from experiment.runs.kinds import SUMMARY as SUMMARY
from experiment.runs.source import describe_source, save_source
from experiment.weights.safetensors_file import pack, read_weights

RUNS = Path("runs")
METRICS, WEIGHTS = "metrics.jsonl", "weights.safetensors"


def make_folder(config: Config, framework: str, kind: str = RUN, sweep: Mapping[str, Any] | None = None) -> Path:
    """Create the folder of a run or of a sweep with its config.json.

    Raises:
        FolderError: --out exists already (and is unchanged), or the folder cannot be created (nothing remains).
    """
    path = _make_new(config, framework)
    about = {"kind": kind, "framework": framework} | ({"sweep": sweep} if sweep else {}) | describe_source(config)
    try:
        write(path / CONFIG, _dump(about | json.loads(to_json(config))))
        save_source(path, config)
    except FolderError:
        with suppress(OSError):
            path.rmdir()
        raise
    return path


def _make_new(config: Config, framework: str) -> Path:
    """Make --out, or a folder whose name no other process has taken in the same second."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    model = re.sub(r"[^\w.]+", "-", config.model_name).strip("-")[:60]
    path = name = config.out or RUNS / f"{stamp}-{model}-{config.dataset_name}-{framework}"
    for number in count(2):
        try:
            path.mkdir(parents=True)
            break
        except FileExistsError:
            if config.out or not path.is_dir():
                again = "exists already and is never overwritten; name another folder with --out"
                raise FolderError(f"{path} {again}") from None
            path = name.with_name(f"{name.name}-{number}")
        except OSError as error:
            raise FolderError(f"{path} cannot be made ({error.strerror})") from None
    return path


def update_config(folder: Path, config: Config, about: Mapping[str, Any] | None = None) -> None:
    """Let a resumed run keep the options that it is resumed with; those that may change, change no number."""
    values, now = read_config(folder / CONFIG), json.loads(to_json(config))
    changed = {**values, **(about or {})} | {
        name: now[name] for name in FREE if name != "profile"
    }  # which is done once
    if is_own(config.model):
        changed["model"] = now["model"]  # where its file is now
    if changed != values:
        write(folder / CONFIG, _dump(changed))
    with suppress(OSError):
        (folder / FAILED).unlink()  # it is tried again


def _dump(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()


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
        UserError: there is no such folder, it is not a run's, or a file in it is missing or damaged.
    """
    require_run(folder)
    return load_config(folder / CONFIG), read_weights(folder / WEIGHTS)
