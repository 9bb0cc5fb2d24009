"""The side of a port that a file holds."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from parity.records.file import read
from parity.records.jax_side import RecordedSide
from parity.records.module import RecordedModule
from parity.records.training_sides import RecordedJaxTraining, RecordedTorchTraining

KINDS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], Any]] = {
    "torch": RecordedModule,
    "jax": RecordedSide,
    "torch training": RecordedTorchTraining,
    "jax training": RecordedJaxTraining,
}


def opened(path: Path) -> Any:
    """Return the side that a record holds.

    Raises:
        UserError: it is no record, damaged, altered, newer or not as a record is written; one line.
    """
    header, arrays = read(path)
    if header.get("side") not in KINDS:
        raise UserError(f"{path} is a record of the side {str(header.get('side'))[:20]!r}, which nobody knows here")
    try:
        return KINDS[header["side"]](header, arrays)
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{path}: the record is not as parity writes it: {words}") from None


def open_record(path: Path) -> RecordedModule:
    """Return the PyTorch side that a record holds; see `opened`."""
    found = opened(path)
    if not isinstance(found, RecordedModule):
        raise UserError(f"{path} is a record of {_what(found)}")
    return found


def open_side(path: Path) -> RecordedSide:
    """Return the JAX side that a record holds; see `opened`."""
    found = opened(path)
    if not isinstance(found, RecordedSide):
        raise UserError(f"{path} is a record of {_what(found)}")
    return found


def _what(found: Any) -> str:
    if isinstance(found, RecordedModule):
        return "a PyTorch module: it is checked against a JAX model"
    if isinstance(found, RecordedSide):
        return "a JAX model: it is checked against a PyTorch module"
    return f"a {found.framework} training: parity check-training compares it"
