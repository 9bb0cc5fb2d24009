"""Going on with a run: which one, from which checkpoint, and whether it is the same training still."""

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
    """Return the run folder that a command line's --resume means; None if it is to start anew.

    Raises:
        UserError: there is no such run, or, for auto, none that could be gone on with.
    """
    word, out = given(argv, "--resume"), given(argv, "--out")
    if word != AUTO:
        if word and not (Path(word) / CONFIG).is_file():
            raise UserError(f"--resume {word}: no run folder, it has no {CONFIG}")
        return Path(word) if word else None
    if out:
        return Path(out) if (Path(out) / CONFIG).is_file() else None  # the first of many starts of one job
    runs = [run for run in sorted(RUNS.glob(f"*-{framework}"), reverse=True) if not (run / SUMMARY).exists()]
    for run in runs:
        found, skipped = checkpoint.newest(run)
        if found:
            return run  # what was skipped in it is said when it is opened
        warn(skipped or [f"{run}: has no checkpoint"])
    raise UserError(f"--resume auto: found no unfinished run of {framework} with a whole checkpoint in {RUNS}/")


def open_checkpoint(run: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint; damaged newer ones are put aside, with a warning for each.

    None if none has been saved yet: the run is to start at its beginning.

    Raises:
        UserError: there are some, and all are damaged.
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
    """Say what is passed over."""
    for line in lines:
        print(f"warning: {line}; skipped", file=sys.stderr)


def fingerprint(task: Task) -> dict[str, Any]:
    """Return what says whether data are the same: classes, counts, and a hash of every training example."""
    split = task.splits["train"]
    found = hashlib.sha256(split.inputs.data if split.inputs.flags.c_contiguous else split.inputs.tobytes())
    found.update(split.labels.tobytes())
    return {"classes": list(task.dataset.classes), "examples": len(split.labels), "sha256": found.hexdigest()}


def check_same(found: Checkpoint, about: dict[str, Any], data: dict[str, Any]) -> None:
    """Refuse to go on with another network or other data than the checkpoint's; warn of other versions.

    Raises:
        UserError: names each field that differs, what it was, and what it is.
    """
    before = {name: found.manifest["about"].get(name) for name in ("framework", "model", "dataset", "parameters")}
    now = {name: about[name] for name in before}
    different = differences({**before, "data": found.manifest["data"]}, {**now, "data": data})
    if different:
        raise UserError(f"--resume {found.path.parent.parent}: not the same training: {'; '.join(different)}")
    versions = differences(found.manifest["about"].get("versions", {}), about["versions"])
    warn([f"not bit for bit what one run would be: {line}" for line in versions])


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return a line for each field that differs, deep down."""
    lines = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += [f"{name} {line}" for line in differences(old, new)]
        elif old != new:
            lines.append(f"{name} was {_short(old)}, is {_short(new)}")
    return lines


def past(found: Checkpoint) -> tuple[list[dict[str, Any]], list[Epoch], Counts | None]:
    """Return the rows and epochs that are done, and the counts of one that is not."""
    manifest = found.manifest
    counts = Counts(*manifest["counts"]) if manifest["counts"] else None
    return list(manifest["rows"]), [Epoch(*epoch) for epoch in manifest["epochs"]], counts


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}...{text[-12:]}"
