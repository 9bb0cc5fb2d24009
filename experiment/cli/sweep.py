"""A sweep: several trainings, each in its own folder. It outlives those that fail, and it can be resumed."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from traceback import format_exc
from typing import Any

from rich.console import Console

from data import UserError
from experiment.config import Config, parse_space, sweep_of
from experiment.console import say
from experiment.loop.training import Result
from experiment.options import MAPPED
from experiment.runs import folder as run_folder
from experiment.runs.atomic import FolderError, write
from experiment.runs.kinds import CONFIG, FAILED, SEARCH, SEEDS, SUMMARY, Folder, has_ended, has_profile, identify
from experiment.runs.lock import locked

Train = Callable[[Config], Result]
TrainAll = Callable[[Sequence[Config]], list[Result]]
TRIALS = 8  # of --tune that are trained at once if they run as one program
AT_ONCE = "at_once"  # how many trials are chosen before any of them is trained: a resumed search must do the same


def trainings_at_once(config: Config) -> int:
    """Return how many of the trainings could run as one program; 1 if an option to tune needs a program per value."""
    if not config.epochs:
        return 1
    if not config.tune:
        return config.seeds
    return min(TRIALS, config.trials) if all(name in MAPPED for name in parse_space(config.tune)) else 1


@contextmanager
def open_sweep(framework: str, config: Config, at_once: int) -> Iterator[Folder]:
    """Make the sweep's folder, or open the one to resume; it is locked in between.

    Raises:
        UserError: the folder exists already, cannot be made, or is in use.
    """
    if config.resume and config.out and config.out.exists():
        found = identify(config.out)
        with locked(found.path):
            sweep = sweep_of(config) | {AT_ONCE: found.sweep.get(AT_ONCE, at_once)}
            about = {"kind": found.kind, "framework": framework, "sweep": sweep}  # an earlier version saved none
            run_folder.update_config(found.path, config, about)
            yield found._replace(sweep=sweep)
        return
    kind, sweep = SEARCH if config.tune else SEEDS, sweep_of(config) | {AT_ONCE: at_once}
    path = run_folder.make_folder(config, framework, kind, sweep)
    with locked(path):
        yield Folder(path, kind, framework, sweep)


class Trainings:
    """Runs the trainings of a sweep: those that have ended are kept, those that fail are recorded.

    A signal stops the sweep, and so does a disk that refuses: it would refuse the other trainings, too.
    """

    def __init__(self, framework: str, console: Console, train: Train, train_together: TrainAll | None = None):
        self._framework, self._console, self._train, self._train_together = framework, console, train, train_together

    def run(self, configs: Sequence[Config]) -> list[Result]:
        """Train with each configuration, in the folder that is its `out`; return the results up to a signal.

        Raises:
            FolderError: a folder cannot be used; what has ended is kept.
        """
        found = {at: result for at, config in enumerate(configs) if (result := _ended(config))}
        new = [at for at, config in enumerate(configs) if at not in found and not _has_begun(config)]
        if self._train_together and len(new) > 1:
            found |= dict(zip(new, self._all([configs[at] for at in new]), strict=False))
        results = []
        for at, config in enumerate(configs):
            results.append(found[at] if at in found else self._alone(config))
            if results[-1].code:
                break
        return results

    def _all(self, configs: Sequence[Config]) -> list[Result]:
        """Train all as one program; return nothing if that fails, for example for want of memory."""
        if not self._train_together:
            return []
        try:
            found = self._train_together(configs)
        except UserError:
            raise
        except Exception as error:  # whatever a framework raises; they are then trained one after the other
            say(self._console, f"they cannot be trained together ({_in_words(error)}); one after the other")
            return []
        for config, result in zip(configs, found, strict=True):
            if result.error:
                self._record(config, result.error)
        return found

    def _alone(self, config: Config) -> Result:
        if _has_begun(config):
            profile = config.profile and not has_profile(_folder(config))
            config = dataclasses.replace(config, resume=str(config.out), profile=profile)
        try:
            return self._train(config)
        except FolderError:
            raise
        except UserError as error:
            why, more = str(error), {}
        except Exception as error:  # out of memory, or whatever else a framework raises for these options alone
            why, more = _in_words(error), {"traceback": format_exc()}
        self._record(config, why, more)
        return Result(0, {}, why)

    def _record(self, config: Config, why: str, more: dict[str, str] | None = None) -> None:
        folder = _folder(config)
        if not folder.exists():  # its options were refused
            run_folder.make_folder(config, self._framework)
        write(folder / FAILED, (json.dumps({"error": why} | (more or {})) + "\n").encode())
        say(self._console, f"{folder} failed: {why}")


def parts(base: Config, folder: Folder, changes: Sequence[dict[str, Any]], numbers: Sequence[int]) -> list[Config]:
    """Return the configurations of a sweep's trainings: `base` with changes, in the folders of those numbers."""
    alone: dict[str, Any] = {"seeds": 1, "tune": (), "resume": None}
    return [
        dataclasses.replace(base, **(alone | own | {"out": folder.part(number)}))
        for own, number in zip(changes, numbers, strict=True)
    ]


def say_failures(console: Console, found: Sequence[Result], names: Sequence[str]) -> None:
    """Print how many trainings failed, and why.

    Raises:
        UserError: all of them did.
    """
    failed = {name: result.error for name, result in zip(names, found, strict=True) if result.error}
    if failed and len(failed) == len(found):
        first = next(iter(failed))
        raise UserError(f"all {len(found)} trainings failed; {first}: {failed[first]}")
    if failed:
        say(console, f"{len(failed)} of {len(found)} trainings failed, and {len(found) - len(failed)} ended:")
    for name, why in failed.items():
        say(console, f"  {name}: {why}")


def say_interrupted(console: Console, folder: Folder) -> None:
    """Print how the whole sweep is resumed."""
    say(console, f"--resume {folder.path} goes on with all of the trainings")


def _folder(config: Config) -> Path:
    assert config.out  # of each training of a sweep
    return config.out


def _has_begun(config: Config) -> bool:
    """Return whether there is a folder to resume; what a kill has left of one that was being made is removed."""
    folder = _folder(config)
    if not folder.is_dir() or (folder / CONFIG).is_file():
        return folder.is_dir()
    for part in folder.glob("*.part"):
        part.unlink()
    try:
        folder.rmdir()
    except OSError:
        raise FolderError(f"{folder}: in the way, it is no run folder; move it elsewhere") from None
    return False


def _ended(config: Config) -> Result | None:
    """Return the result of a training that has ended."""
    folder = _folder(config)
    if not has_ended(folder):
        return None
    path = folder / SUMMARY if (folder / SUMMARY).exists() else folder / FAILED
    try:
        values = json.loads(path.read_bytes())
        return Result(0, values) if path.name == SUMMARY else Result(0, {}, values["error"])
    except OSError as error:
        raise FolderError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise FolderError(f"{path}: not what was written; remove {folder}, and it is trained again") from None


def _in_words(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
