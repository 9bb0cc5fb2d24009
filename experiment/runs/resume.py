"""Resuming a run (--resume): which run, which checkpoint, and whether it is the same training."""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from data.errors import UserError
from experiment.config import AUTO, given
from experiment.loop.monitor import Counts, Epoch
from experiment.loop.task import Task
from experiment.runs import checkpoint
from experiment.runs.checkpoint import Checkpoint
from experiment.runs.folder import CONFIG, RUNS, SUMMARY


def find_run(argv: list[str], framework: str) -> Path | None:
    """Return the run folder for a command line's --resume; None to start a new run.

    Raises:
        UserError: there is no such run, or, for auto, no run that can be resumed.
    """
    word, out = given(argv, "--resume"), given(argv, "--out")
    if word != AUTO:
        if word and not (Path(word) / CONFIG).is_file():
            raise UserError(f"--resume {word}: no run folder, it has no {CONFIG}")
        return Path(word) if word else None
    if out:
        return (
            Path(out) if (Path(out) / CONFIG).is_file() else None
        )  # none yet: the first start of a job that is started many times
    runs = [run for run in sorted(RUNS.glob(f"*-{framework}"), reverse=True) if not (run / SUMMARY).exists()]
    for run in runs:
        found, skipped = checkpoint.newest(run)
        if found:
            return run  # `open_checkpoint` warns of what was skipped
        warn(skipped or [f"{run}: has no checkpoint"])
    raise UserError(f"--resume auto: found no unfinished run of {framework} with a whole checkpoint in {RUNS}/")


def open_checkpoint(run: Path) -> Checkpoint | None:
    """Return the newest intact checkpoint; damaged newer ones are renamed `.damaged`, with a warning for each.

    Return None if none has been saved yet; the training then starts at its beginning.

    Raises:
        UserError: every checkpoint is damaged.
    """
    checkpoint.clean(run)
    found, skipped = checkpoint.newest(run)
    warn(skipped)
    if not found and skipped:
        raise UserError(f"{run}: all {len(skipped)} checkpoints are damaged, nothing to go on from")
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
    split = task.splits["train"]
    found = hashlib.sha256(split.inputs.data if split.inputs.flags.c_contiguous else split.inputs.tobytes())
    found.update(split.labels.tobytes())
    return {"classes": list(task.dataset.classes), "examples": len(split.labels), "sha256": found.hexdigest()}


def check_same(found: Checkpoint, about: dict[str, Any], data: dict[str, Any]) -> None:
    """Check that the network and the data are those of the checkpoint; warn of other versions.

    Raises:
        UserError: they differ; names each field with its old and new value.
    """
    before = {name: found.manifest["about"].get(name) for name in ("framework", "model", "dataset", "parameters")}
    now = {name: about[name] for name in before}
    different = differences({**before, "data": found.manifest["data"]}, {**now, "data": data})
    if different:
        raise UserError(f"--resume {found.path.parent.parent}: not the same training: {'; '.join(different)}")
    versions = differences(found.manifest["about"].get("versions", {}), about["versions"])
    warn([f"not bit for bit what one run would be: {line}" for line in versions])


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
