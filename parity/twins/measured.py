"""The errors of networks' layers, measured once and kept in a JSON file for as long as the sources stay the same."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import torch

from data import UserError
from experiment.runs.atomic import write
from parity.checks import layer_errors
from parity.checks.layer_errors import NetworkErrors, measure
from parity.twins.pairs import FOLDERS, Twin

NAME = "measurements.json"


class Measurements:
    """The file and what is in it."""

    def __init__(self, file: Path):
        self.file = file
        self._found = _read(file)

    def of(self, twin: Twin, say: Callable[[str], None]) -> NetworkErrors:
        """Return a network's errors; they are measured if the file does not have them, or of other sources."""
        sources = digest(twin)
        found = self._found.get(twin.name)
        if isinstance(found, dict) and found.get("sources") == sources:
            try:
                return NetworkErrors.from_json(found)
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"{self.file}: {twin.name} is incomplete ({error}); remove the file") from None
        say(f"{twin.name}: measured, float64")
        errors = measure(twin.name)
        self._found[twin.name] = {"sources": sources, **errors.to_json()}
        write(self.file, (json.dumps(self._found, indent=1, sort_keys=True) + "\n").encode())
        return errors


def digest(twin: Twin) -> str:
    """Return a hash of all that the errors depend on: both files, what they may import, the frameworks."""
    files = [twin.jax, twin.torch, *(path for folder in FOLDERS.values() for path in sorted(folder.glob("*.py")))]
    content = b"\0".join(file.read_bytes() for file in [*files, Path(layer_errors.__file__)])
    return hashlib.sha256(content + f"{jax.__version__} {torch.__version__}".encode()).hexdigest()[:16]


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: no file of measurements ({error}); name another one, or remove it") from None
    if not isinstance(found, dict):
        raise UserError(f"{file}: no file of measurements, but a {type(found).__name__}; name another one")
    return found
