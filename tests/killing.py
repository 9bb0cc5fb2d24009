"""Kills trainings and lets them go on: `python -m tests.killing jaxnets FOLDER`, with counts of what was lost.

Each training is a fork of one process that has imported the framework, which takes longest; it is killed from outside
at a random moment, or from inside before or amid one of the system calls that a save is made of.
"""

import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data import load
from experiment.cli import train
from experiment.cli.command import load_framework
from experiment.loop.monitor import Monitor
from experiment.runs import checkpoint, plots
from experiment.runs.folder import METRICS, SUMMARY

INTERVAL = 4  # steps between two checkpoints
OPTIONS = "--model mlp --epochs 3 --batch-size 64 --optimizer adam --augment cutout --ema 0.9 --out run --resume auto"
EVERY = f"--checkpoint-every {INTERVAL}steps"
CALLS = ("open", "write", "fsync", "replace")
DEADLINE = 120.0


def start(framework: str, folder: Path, prepare: Callable[[], None]) -> int:
    """Train in a fork, in `folder`, after `prepare`; return its process ID."""
    folder.mkdir(parents=True, exist_ok=True)
    if process := os.fork():
        return process
    os.chdir(folder)
    with Path("log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv = [f"{framework}.train", *OPTIONS.split(), *EVERY.split()]
    code: Any = 1
    plots.curves = plots.confusion = lambda *_: b""  # they take longer than the training
    try:
        count_steps()
        prepare()
        train.main(framework)
    except SystemExit as stop:
        code = stop.code
        if isinstance(code, str):
            print(code, flush=True)
            code = 1
    os._exit(code or 0)


def count_steps() -> None:
    """Let each step leave its number in the file `steps`."""
    file, step = os.open("steps", os.O_RDWR | os.O_CREAT), Monitor.step

    def counted(self: Monitor, examples: int, metrics: Mapping[str, Any], steps: int = 1) -> bool:
        found = step(self, examples, metrics, steps)
        os.pwrite(file, f"{self.done:9}".encode(), 0)
        return found

    Monitor.step = counted


def steps_done(folder: Path) -> int:
    """Return how many steps the last process in `folder` has come to."""
    file = folder / "steps"
    return int(file.read_text() or 0) if file.exists() else 0


def wait(process: int) -> int:
    """Return a process's exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def result(folder: Path) -> dict[str, Any]:
    """Return all that a finished training has come to, but what the clock says."""
    found, skipped = checkpoint.newest(folder / "run")
    assert found, skipped
    arrays = {name: array.tobytes() for name, array in found.state.items()}
    return {"step": found.manifest["step"], "rows": (folder / "run" / METRICS).read_text(), **arrays}


def kill_at_random(framework: str, folder: Path, times: int, seed: int = 0) -> dict[str, Any]:
    """Kill trainings so often at any moment; each goes on until it is killed or done, then a new one starts."""
    for name in ("first", "whole"):  # the first one compiles
        began = time.monotonic()
        assert wait(start(framework, folder / name, lambda: None)) == 0, (folder / name / "log").read_text()
    length, whole, rng = time.monotonic() - began, result(folder / "whole"), random.Random(seed)
    assert result(folder / "first") == whole
    killed = finished = lost = beginnings = 0
    while killed < times or not finished:
        here = folder / f"killed-{finished}"
        # Once all kills are done the last one is left in peace.
        delay = rng.uniform(0, length) if killed < times else DEADLINE
        process, until = start(framework, here, lambda: None), time.monotonic() + delay
        while os.waitpid(process, os.WNOHANG) == (0, 0):
            if time.monotonic() > until:
                os.kill(process, signal.SIGKILL)
                killed += wait(process) == -signal.SIGKILL  # else it was done a moment before
                lost = max(lost, lost_steps(here))
                beginnings += not checkpoint.folders(here / "run")
                break
            time.sleep(0.005)
        if (here / "run" / SUMMARY).exists():
            assert result(here) == whole, f"{here} has come to something else"
            finished += 1
    return {"kills": killed, "before the first checkpoint": beginnings, "finished": finished, "steps lost": lost}


def lost_steps(folder: Path) -> int:
    """Return how many steps lie behind the newest whole checkpoint; there is no half one beside it."""
    if not (folder / "run").exists():
        return 0
    found, skipped = checkpoint.newest(folder / "run")
    assert not skipped, skipped
    return max(0, steps_done(folder) - (found.manifest["step"] if found else 0))


def kill_while_saving(framework: str, folder: Path, only: int | None = None) -> dict[str, Any]:
    """Kill a training at each system call of a save, or at `only` one: before it, and a write when it is half done."""
    assert wait(start(framework, folder / "whole", lambda: None)) == 0, (folder / "whole/log").read_text()
    whole, calls, lost = result(folder / "whole"), only or 0, 0
    here = folder / "killed"
    while True:  # the first save is left alone, the second is killed at its first call, then at its second...
        shutil.rmtree(here, ignore_errors=True)
        process = start(framework, here, lambda at=calls: fail_at(at, die))
        if (code := wait(process)) != -signal.SIGKILL:
            assert code == 0, (here / "log").read_text()
            break
        calls += 1
        lost = max(lost, lost_steps(here))
        found, _ = checkpoint.newest(here / "run")
        assert found
        assert found.manifest["step"] in (INTERVAL, 2 * INTERVAL)
        if only is not None:
            break
    if only is None:
        shutil.rmtree(here, ignore_errors=True)
        assert wait(start(framework, here, lambda: fail_at(calls // 2, die))) == -signal.SIGKILL
    assert wait(start(framework, here, lambda: None)) == 0, (here / "log").read_text()
    assert result(here) == whole
    return {"kills": calls - (only or 0), "steps lost": lost}


def die(name: str, args: tuple[Any, ...]) -> None:
    """Be killed, a write half done."""
    if name == "write":
        os.write(args[0], args[1][: len(args[1]) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def fail_at(number: int, fail: Callable[[str, tuple[Any, ...]], None], saves: int = 1) -> None:
    """Call `fail` at the system call of that number, counted from the beginning of a save after `saves` others."""
    save, seen = checkpoint.save, {"saves": 0, "calls": 0, "saving": False}
    plain = {name: getattr(os, name) for name in CALLS}

    def watched(name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if seen["saving"]:
                seen["calls"] += 1
                if seen["calls"] == number + 1:
                    seen["saving"] = False
                    fail(name, args)
            return plain[name](*args, **options)

        return call

    def saving(*args: Any, **options: Any) -> Any:
        seen["saving"] = seen["saves"] == saves
        seen["saves"] += 1
        try:
            return save(*args, **options)
        finally:
            seen["saving"] = False

    checkpoint.save = saving
    for name in CALLS:
        setattr(os, name, watched(name))


def small_disk(framework: str, folder: Path) -> dict[str, Any]:
    """Let files grow to no more than a checkpoint needs half of, from the second save on: a real refusal to write."""
    limit = 300_000

    def prepare() -> None:
        fail_at(0, lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)))

    code = wait(start(framework, folder, prepare))
    found, skipped = checkpoint.newest(folder / "run")
    assert found, skipped
    said = (folder / "log").read_text().splitlines()[-1]
    after = wait(start(framework, folder, lambda: None))
    return {"code": code, "said": said, "step": found.manifest["step"], "resumed": after}


def warm_up(framework: str) -> None:
    """Import all that a training needs, once for all of them; but start no threads, which a fork would not have."""
    load_framework(framework)
    importlib.import_module("matplotlib.pyplot")
    load("digits", None)
    if framework == "torchnets":
        importlib.import_module("torch._dynamo")  # every optimizer does


def main() -> None:
    """Do all three, print what each came to; with 0 kills at random, kill one save alone."""
    framework, folder = sys.argv[1], Path(sys.argv[2]).absolute()
    times = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    warm_up(framework)
    if times:
        print(json.dumps({"random": kill_at_random(framework, folder / "random", times)}), flush=True)
    only = None if times else CALLS.index("write")
    print(json.dumps({"saving": kill_while_saving(framework, folder / "saving", only)}), flush=True)
    print(json.dumps({"disk": small_disk(framework, folder / "disk")}), flush=True)


if __name__ == "__main__":
    main()
