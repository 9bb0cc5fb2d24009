"""Resuming a run (--resume): which run, which checkpoint, and whether it is the same training."""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from data.rows import pieces, remembered
from experiment.config import AUTO, given
from experiment.loop.monitor import Counts, Epoch
from experiment.loop.task import Task
from experiment.runs import checkpoint
from experiment.runs.atomic import FolderError
from experiment.runs.checkpoint import Checkpoint
from experiment.runs.folder import RUNS
from experiment.runs.kinds import CONFIG, RUN, Folder, identify


def find_run(argv: list[str], framework: str) -> Path | None:
    """Return the folder of the run or sweep for a command line's --resume; None to start a new one.

    Raises:
        UserError: there is no such folder, or, for auto, none that can be resumed.
    """
    word, out = given(argv, "--resume"), given(argv, "--out")
    if word != AUTO:
        return _of_framework(Path(word), framework).path if word else None
    if out:  # none yet: the first start of a job that is started many times
        return _of_framework(Path(out), framework).path if (Path(out) / CONFIG).is_file() else None
    for folder in _unfinished(framework):
        if folder.kind != RUN:
            return folder.path
        found, skipped = checkpoint.newest(folder.path)
        if found:
            return folder.path  # `open_checkpoint` warns of what was skipped
        warn(skipped or [f"{folder.path}: has no checkpoint"])
    raise UserError(f"--resume auto: found no unfinished run of {framework} with a whole checkpoint in {RUNS}/")


def _of_framework(path: Path, framework: str) -> Folder:
    try:
        folder = identify(path)
    except UserError as error:
        raise UserError(f"--resume {error}") from None
    if folder.framework not in (None, framework):
        raise UserError(f"--resume {path}: framework was {folder.framework}, is {framework}")
    return folder


def _unfinished(framework: str) -> Iterator[Folder]:
    """Yield the framework's folders in runs/ that have not ended, the newest first."""
    for path in sorted(RUNS.glob(f"*-{framework}*"), key=_by_age, reverse=True):
        with suppress(UserError):  # no folder of ours
            folder = identify(path)
            old_sweep = folder.kind != RUN and not folder.sweep  # of which nobody knows how many trainings it has
            if not folder.ended and not old_sweep and re.fullmatch(rf".*-{framework}(-\d+)?", path.name):
                yield folder


def _by_age(path: Path) -> tuple[str, int]:
    """Return the time in a folder's name, and its number among those of the same second."""
    number = path.name.rpartition("-")[2]
    return path.name[: len("20261231-235959")], int(number) if number.isdecimal() else 1


def open_checkpoint(run: Path) -> Checkpoint | None:
    """Return the newest intact checkpoint; damaged newer ones are renamed `.damaged`, with a warning for each.

    Return None if none has been saved yet; the training then starts at its beginning.

    Raises:
        FolderError: every checkpoint is damaged.
    """
    checkpoint.clean(run)
    found, skipped = checkpoint.newest(run)
    warn(skipped)
    if not found and skipped:
        raise FolderError(f"{run}: all {len(skipped)} checkpoints are damaged, nothing to go on from")
    if not found:
        print(f"{run}: no checkpoint was saved yet; starts at the beginning", file=sys.stderr)
    for path in checkpoint.folders(run)[: len(skipped)]:
        aside = path.with_name(f"{path.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        path.replace(aside)
    return found


def warn(lines: list[str]) -> None:
    """Print a warning for each line."""
    for line in lines:
        print(f"warning: {line}; skipped", file=sys.stderr)


def fingerprint(task: Task) -> dict[str, Any]:
    """Return what identifies the data: the classes, the number of training examples and a hash of all of them."""
    inputs, labels = task.splits["train"]
    about = hashlib.sha256(labels.tobytes())
    found = remembered(inputs, f"fingerprint {about.hexdigest()}", lambda: _hash(inputs, labels))
    return {"classes": list(task.dataset.classes), "examples": len(labels), "sha256": found}


def _hash(inputs: np.ndarray, labels: np.ndarray) -> str:
    found = hashlib.sha256()
    for piece in pieces(inputs):
        found.update(np.ascontiguousarray(piece).data)
    found.update(labels.tobytes())
    return found.hexdigest()


def check_same(found: Checkpoint, about: dict[str, Any], data: dict[str, Any]) -> None:
    """Check that the network and the data are those of the checkpoint; warn of other versions.

    Raises:
        FolderError: they differ; names each field with its old and new value.
    """
    before = {name: found.manifest["about"].get(name) for name in ("framework", "model", "dataset", "parameters")}
    now = {name: about[name] for name in before}
    different = differences({**before, "data": found.manifest["data"]}, {**now, "data": data})
    if different:
        raise FolderError(f"--resume {found.path.parent.parent}: not the same training: {'; '.join(different)}")
    decisive = {name: about[name] for name in ("versions", "device", "environment")}
    before = {name: found.manifest["about"].get(name, now) for name, now in decisive.items()}  # older ones lack some
    warn([f"not bit for bit what one run would be: {line}" for line in differences(before, decisive)])


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return a line for each field that differs, in nested dicts too."""
    lines = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += [f"{name} {line}" for line in differences(old, new)]
        elif old != new:
            lines.append(f"{name} was {_short(old)}, is {_short(new)}")
    return lines


def past(found: Checkpoint) -> tuple[list[dict[str, Any]], list[Epoch], Counts | None]:
    """Return the rows and epochs that are complete, and the counts of the one that is not."""
    manifest = found.manifest
    counts = Counts(*manifest["counts"]) if manifest["counts"] else None
    return list(manifest["rows"]), [Epoch(*epoch) for epoch in manifest["epochs"]], counts


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}...{text[-12:]}"
