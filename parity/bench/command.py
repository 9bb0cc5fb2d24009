"""The command: what the machine can do, parity, then one network after the other. Imports neither framework."""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from data import UserError
from experiment.cli.console_scripts import module_command
from experiment.console import make_console, say
from experiment.runs.atomic import write
from experiment.runs.plots import ratios
from parity.bench import figures, report, roofline
from parity.bench.network import Session, measure
from parity.bench.options import check, choices, common
from parity.bench.plan import BATCH, FRAMEWORKS
from parity.bench.process import KEPT, Worker, WorkerError, environment
from parity.bench.roofline import Peak

WIDTH = 120
CACHES = ("JAX_COMPILATION_CACHE_DIR",)  # of no harm where nothing is timed


class Machine(NamedTuple):
    """What a run is on, as its workers see it."""

    kind: str  # "cpu" or "gpu"
    cores: int
    sides: dict[str, dict[str, Any]]  # device and versions of each framework
    known: dict[str, dict[str, Any]]  # of each network: `sizes.about`


def run(args: argparse.Namespace) -> int:
    """Measure the networks, print the tables; return 0 if each has its figures, else 1."""
    check(args)
    console, start = make_console(), time.perf_counter()
    console.width = max(console.width, WIDTH)
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(side, args.device or "")) for side in FRAMEWORKS]
        machine = survey(args, workers)
        reports = check_parity(list(machine.known))
        equal = any(one["ok"] for one in reports.values())
        peaks = {
            side.framework: side.ask("peaks", **unnamed(args), seconds=args.seconds / 2) for side in workers if equal
        }
    found = document(args, machine, peaks)
    say(console, report.introduction(machine.sides, peaks))
    for name in machine.known:
        row = {"name": name, "parity": reports[name]}
        if not reports[name]["ok"]:
            row |= failed_parity(reports[name])
        else:
            row |= measure(name, machine.known[name], session(args, machine, peaks))
        found["networks"].append(row)
        found["geometric_means"] = figures.means(found["networks"])
        say(console, report.line(row))
        if args.json:
            write(args.json, (json.dumps(found, indent=1) + "\n").encode())
    report.print_tables(console, found)
    if args.plot:
        write(args.plot, ratios(report.bars(found), report.title(found)))
    measured = sum(row["ok"] for row in found["networks"])
    say(console, f"{measured} of {len(found['networks'])} networks measured ({time.perf_counter() - start:.0f} s)")
    return 0 if measured == len(found["networks"]) else 1


def session(args: argparse.Namespace, machine: Machine, peaks: Mapping[str, Any]) -> Session:
    """Return what all networks are measured with."""
    return Session(
        device=machine.kind,
        cores=machine.cores,
        peak=roofline.better([Peak(**one) for one in peaks.values()]),
        choices=choices(args, machine.kind, machine.cores),
        rounds=args.rounds,
        seconds=args.seconds,
        batch_size=args.batch_size,
        common=common(args),
    )


def unnamed(args: argparse.Namespace, name: str = "") -> dict[str, Any]:
    """Return the setting that a worker is told before it is known what is tried of the network."""
    rest = {"mode": "", "threads": 0, "layout": "", "weights": "", "batch_size": args.batch_size or BATCH}
    return {"setting": {"name": name, **rest, **common(args)}}


def survey(args: argparse.Namespace, workers: Sequence[Worker]) -> Machine:
    """Return the device that the workers of both frameworks have, and what there is to measure.

    Raises:
        UserError: no such device, network or dataset; or the frameworks find different devices.
    """
    try:
        sides = {worker.framework: _describe(worker, args.device) for worker in workers}
        kind = _same_device(args.device, sides)
        names = args.names or workers[0].ask("names")["names"]
        known = {name: workers[0].ask("about", **unnamed(args, name)) for name in dict.fromkeys(names)}
    except WorkerError as error:
        raise UserError(f"{f'--device is {args.device}: ' if args.device else ''}{error}") from None
    return Machine(kind, min(side["cores"] for side in sides.values()), sides, known)


def _describe(worker: Worker, wanted: str | None) -> dict[str, Any]:
    try:
        return worker.ask("describe")
    except UserError as error:
        raise UserError(f"{f'--device is {wanted}: ' if wanted else ''}{error}") from None


def _same_device(wanted: str | None, sides: Mapping[str, Mapping[str, Any]]) -> str:
    kinds = {side["kind"] for side in sides.values()}
    found = ", ".join(f"{name} on {side['device']}" for name, side in sides.items())
    if len(kinds) > 1 and not wanted:
        raise UserError(
            f"the frameworks find different devices ({found}); say --device cpu, or install what is missing"
        )
    if wanted and kinds != {wanted}:
        raise UserError(f"--device is {wanted}, but here is {found}")
    return kinds.pop()


def check_parity(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Run `python -m parity check` in a process of its own; return each network's report.

    On the CPU: it is the network that is checked; on the device that is measured, the first steps are compared.

    Raises:
        UserError: it has not come to an end.
    """
    with tempfile.TemporaryDirectory(prefix="jaxnets-bench-") as folder:
        file = Path(folder) / "check.json"
        command = module_command("parity", "check", *names, "--json", str(file))
        environ = environment("cpu", 0, Path(folder)) | {
            name: os.environ[name] for name in CACHES if name in os.environ
        }
        done = subprocess.run(command, env=environ, capture_output=True, text=True, errors="replace", check=False)
        if not file.exists():
            words = done.stderr.strip().splitlines() or ["it said nothing"]
            raise UserError(f"parity check has ended with exit code {done.returncode}: {words[-1]}")
        return {row["name"]: row for row in json.loads(file.read_text(encoding="utf-8"))}


def failed_parity(checked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of a network that has no figure, since its two sides are not the same."""
    failure = checked["failures"][0]
    return {
        "ok": False,
        "why": f"parity check fails: {failure['check']} at {failure['layer']}: {failure['diagnosis']}",
    }


def document(args: argparse.Namespace, machine: Machine, peaks: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the JSON file says of the whole run, without networks yet."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in ("numpy", "jaxlib")}}
    for side in machine.sides.values():
        versions |= side["versions"]
    hardware = {"machine": platform.machine(), "cpu": _cpu_name(), "cores": machine.cores}
    return {
        "command": shlex.join(["python", "-m", "parity", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": machine.kind,
        "hardware": hardware | {name: side["device"] for name, side in machine.sides.items()},
        "versions": versions,
        "imported": {name: side["imported"] for name, side in machine.sides.items()},
        "environment": {name: os.environ[name] for name in KEPT if name in os.environ},
        **common(args),
        "rounds": args.rounds,
        "seconds": args.seconds,
        "peaks": peaks,
        "geometric_means": {},
        "networks": [],
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
