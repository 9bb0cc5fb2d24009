"""Predictions in a file, for other programs: `predict --out FILE.csv` or `FILE.json`."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import UserError
from experiment.loop.metrics import finite
from experiment.runs import atomic

FORMULA = tuple("=+-@\t\r\n")  # a cell that begins with one of these is a formula to spreadsheets


def check_out(path: Path, *, overwrite: bool) -> None:
    """Check that predictions can be written, before they are computed.

    Raises:
        UserError: the kind of file is unknown, it exists, or its folder does not.
    """
    if path.suffix.lower() not in (".csv", ".json"):
        raise UserError(f"--out {path}: expected a file named .csv or .json")
    if path.is_dir():
        raise UserError(f"--out {path}: is a folder; name a file in it")
    if path.exists() and not overwrite:
        raise UserError(f"--out {path}: exists already; name another file, or give --overwrite")
    if not overwrite or not path.exists():
        atomic.check_new(path)


def write_predictions(
    path: Path, files: Sequence[str], classes: Sequence[str], shares: np.ndarray, top: int, *, every: bool = False
) -> None:
    """Write a row for each file, in one step: its likeliest classes with their probabilities (N, classes).

    Args:
        path: the file to write or replace.
        files: their names.
        classes: their names.
        shares: the probabilities.
        top: how many of the likeliest classes.
        every: write the probabilities of all classes instead of those of the likeliest.

    Raises:
        UserError: it cannot be written.
    """
    order = np.argsort(-shares, axis=1, kind="stable")[:, :top]
    make = _as_csv if path.suffix.lower() == ".csv" else _as_json
    atomic.write(path, make(files, classes, shares, order, every=every))


def _as_json(
    files: Sequence[str], classes: Sequence[str], shares: np.ndarray, order: np.ndarray, *, every: bool
) -> bytes:
    found: list[dict[str, Any]] = []
    for name, row, best in zip(files, shares.tolist(), order, strict=True):
        likeliest = [{"class": classes[at], "probability": finite(row[at])} for at in best]
        found.append({"file": name, **likeliest[0]})
        if every:
            found[-1]["probabilities"] = {known: finite(p) for known, p in zip(classes, row, strict=True)}
        else:
            found[-1]["top"] = likeliest
    # ASCII: the name of a file need not be UTF-8, and is the same again when Python reads this.
    return (json.dumps(found, indent=1, allow_nan=False) + "\n").encode()


def _as_csv(
    files: Sequence[str], classes: Sequence[str], shares: np.ndarray, order: np.ndarray, *, every: bool
) -> bytes:
    header = ["file", "class", "probability"]
    if every:
        header += [f"p_{_cell(name)}" for name in classes]
    else:
        header += [f"{word}_{at + 1}" for at in range(1, order.shape[1]) for word in ("class", "probability")]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    for name, row, best in zip(files, shares.tolist(), order, strict=True):
        cells: list[Any] = [_cell(name)]
        for at in best[:1] if every else best:
            cells += [_cell(classes[int(at)]), finite(row[at])]
        writer.writerow(cells + [finite(share) for share in row if every])
    return text.getvalue().encode()


def _cell(text: str) -> str:
    """Return text that no spreadsheet takes for a formula, with what is not UTF-8 escaped as it is printed."""
    shown = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"'{shown}" if shown.startswith(FORMULA) else shown
