"""What a run has saved about its inputs: shape, rate, mean, standard deviation and classes."""

import json
from pathlib import Path
from typing import Any

from data.errors import UserError
from experiment.runs import checkpoint
from experiment.runs.folder import SUMMARY

NAMES = ("shape", "rate", "mean", "std", "classes")


def saved_inputs(folder: Path) -> dict[str, Any] | None:
    """Return a run's `inputs` and the fingerprint of its `data`, from its summary, else from its newest checkpoint.

    None if the run is from a version that did not save them.
    """
    for found in _saved(folder):
        inputs, data = found.get("inputs"), found.get("data")
        if isinstance(inputs, dict) and all(name in inputs for name in NAMES):
            return {"inputs": inputs, "data": data if isinstance(data, dict) else {}}
    return None


def read_inputs(folder: Path) -> dict[str, Any]:
    """Return the description of the inputs, and the classes, of a run.

    Raises:
        UserError: there is neither a summary nor a checkpoint, or they are from a version that did not save them.
    """
    if found := saved_inputs(folder):
        return found["inputs"]
    path = folder / SUMMARY
    if not path.exists():
        raise UserError(f"{path}: cannot be read (No such file or directory)")
    raise UserError(f"{path}: does not say what the inputs were; train again, older versions kept less")


def _saved(folder: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        return [found] if isinstance(found, dict) else []
    except FileNotFoundError:  # the training was interrupted
        pass
    except (OSError, ValueError):
        return []
    for path in checkpoint.folders(folder):
        try:
            return [checkpoint.read_manifest(path)]
        except checkpoint.Damaged:
            continue
    return []
