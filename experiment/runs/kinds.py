"""What a folder is: a run, the trainings of --seeds, the search of --tune, or nothing of this project.

The folder's config.json says so. Folders of earlier versions are recognised by what they hold.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from data.errors import UserError

CONFIG, SUMMARY, FAILED, TRIALS, PROFILE = "config.json", "summary.json", "failed.json", "trials.json", "profile"
RUN, SEEDS, SEARCH = "run", "seeds", "search"
PARTS = {SEEDS: "seed-", SEARCH: "trial-"}  # how the folders of a sweep's trainings are called, before the number
SOURCE = "source"  # the files of a network of the user's own
ABOUT = ("kind", "framework", "sweep", SOURCE)  # what config.json says beside the options
ALWAYS = ("model", "dataset", "epochs", "batch_size", "optimizer", "lr", "seed")  # saved by every version


class Folder(NamedTuple):
    """A folder of this project."""

    path: Path
    kind: str  # RUN, SEEDS or SEARCH
    framework: str | None  # that trains in it; None: saved by an earlier version
    sweep: dict[str, Any]  # the options of a sweep; empty of a run, and of a sweep of an earlier version

    def part(self, number: int) -> Path:
        """Return the folder of the training of that seed, or of that trial."""
        return self.path / (f"seed-{number}" if self.kind == SEEDS else f"trial-{number:03}")

    @property
    def parts(self) -> list[Path]:
        """The folders of a sweep's trainings that have begun."""
        found = self.path.glob(f"{PARTS[self.kind]}*") if self.kind in PARTS else ()
        numbers = [(path.name.rpartition("-")[2], path) for path in found if path.is_dir()]
        return [path for _, path in sorted((int(number), path) for number, path in numbers if number.isdecimal())]

    @property
    def ended(self) -> bool:
        """Whether there is nothing to resume."""
        if self.kind == RUN or not self.sweep:
            return (self.path / SUMMARY).exists()
        expected = self.sweep.get("seeds" if self.kind == SEEDS else "trials")
        return sum(has_ended(path) for path in self.parts) == expected

    def is_finished(self) -> bool:
        """Return whether all has ended, and the results are written; not if all trainings of a sweep failed."""
        results = self.path / (TRIALS if self.kind == SEARCH else SUMMARY)
        if not self.ended or not results.exists() or (self.kind == SEARCH and not _best(self)):
            return False
        # A training may have been tried again by itself after them.
        files = [part / name for part in self.parts for name in (SUMMARY, FAILED) if (part / name).exists()]
        return all(file.stat().st_mtime_ns <= results.stat().st_mtime_ns for file in files)


def has_ended(path: Path) -> bool:
    """Return whether the training of a sweep in this folder has finished or failed."""
    return (path / SUMMARY).exists() or (path / FAILED).exists()


def identify(path: Path) -> Folder:
    """Return what a folder is.

    Raises:
        UserError: it is missing, or no folder of this project.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such run folder")
    if not (path / CONFIG).is_file():
        raise UserError(f"{path}: no run folder, it has no {CONFIG}")
    values = read_config(path / CONFIG)
    if missing := [name for name in ALWAYS if name not in values]:
        raise UserError(f"{path}: no run folder, its {CONFIG} is not that of a training: it has no {missing[0]}")
    kind, framework, sweep = (values.get(name) for name in ABOUT[:3])
    if kind is None:
        found = [kind for kind in PARTS if Folder(path, kind, None, {}).parts]
        return Folder(path, found[0] if found else RUN, None, {})
    if kind not in (RUN, *PARTS) or (kind in PARTS and not isinstance(sweep, dict)):
        raise UserError(f"{path / CONFIG}: 'kind' is {kind!r}, expected one of {', '.join((RUN, *PARTS))}")
    return Folder(path, kind, framework, sweep or {})


def read_config(path: Path) -> dict[str, Any]:
    """Read the JSON object in a config.json.

    Raises:
        UserError: missing, or not a JSON object.
    """
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected an object of options, found {type(values).__name__}")
    return values


def has_profile(path: Path) -> bool:
    """Return whether --profile has left something in a run folder: a resumed run does not profile again."""
    return any(found.is_file() for found in (path / PROFILE).rglob("*"))


def require_run(path: Path) -> None:
    """Check that a folder is a run's.

    Raises:
        UserError: it is a sweep's, which names the runs in it; or no folder of this project.
    """
    folder = identify(path)
    if folder.kind == RUN:
        return
    what = "the trainings of --seeds" if folder.kind == SEEDS else "the search of --tune"
    runs = [part for part in folder.parts if (part / SUMMARY).exists()]
    raise UserError(f"{path}: holds {what}, it is not a run; {_advice(folder, runs)}")


def _advice(folder: Folder, runs: list[Path]) -> str:
    if not runs:
        return "none of its runs has finished"
    if best := _best(folder):
        return f"its best run is {best}"
    few = ", ".join(str(run) for run in runs[:3]) + (", ..." if len(runs) > 3 else "")
    return f"give one of its runs: {few}"


def _best(folder: Folder) -> Path | None:
    if folder.kind != SEARCH:
        return None
    try:
        return folder.part(json.loads((folder.path / TRIALS).read_bytes())["best"]["trial"])
    except (OSError, ValueError, KeyError, TypeError):  # not written yet, or none of the trials has finished
        return None
