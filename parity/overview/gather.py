"""All figures of a report, as one object: what the page shows, and what it embeds."""

import argparse
import json
import shlex
import sys
from typing import Any

from parity.overview.checks import NETWORKS, read_checks
from parity.overview.planted import read_planted
from parity.overview.sources import Figures, about, shown
from parity.overview.throughput import read_throughput
from parity.overview.trainings import read_trainings
from parity.report.console import load_module

SCHEMA = "parity-overview/1"


def gather(args: argparse.Namespace) -> Figures:
    """Return the figures of a report; `missing` has a line for each part that is not there.

    Raises:
        UserError: a file or a folder is not what it should be, or there is no such network.
    """
    trainings, without_curves = read_trainings(args.runs)  # before the networks are measured: a wrong name is told now
    throughput, without_speed = read_throughput(args.bench)
    planted, without_bugs = read_planted()
    checks, without_checks = _checks(args)
    return {
        "schema": SCHEMA,
        "made": {"command": shlex.join(["python", "-m", "parity", *sys.argv[1:]]), **about()},
        "checks": checks,
        "planted": planted,
        "trainings": trainings,
        "throughput": throughput,
        "missing": [*without_checks, *without_bugs, *without_curves, *without_speed],
    }


def _checks(args: argparse.Namespace) -> tuple[Figures | None, list[str]]:
    """Return the checks and layers of networks, and what is missing of them."""
    if args.networks:
        found = load_module("overview.measure").measure(args.networks)
    elif args.checks or NETWORKS.is_file():
        found = read_checks(args.checks or NETWORKS)
    else:
        why = f"there is no {shown(NETWORKS)} here; give --checks FILE or --networks NAME"
        return None, [f"checks, layers, trajectories: {why}"]
    origin = found["source"].get("file", "the measurement")
    names = [report["name"] for report in found["reports"]]
    missing = []
    if bare := [name for name in found.get("networks", ()) if name not in names]:
        missing.append(f"networks: {origin} has none of {_few(bare)}; --networks NAME checks them")
    if bare := [name for name in names if name not in found["layers"]]:
        missing.append(f"layers: {origin} has none of {_few(bare)}; --networks NAME measures them")
    with_steps = {r["name"] for r in found["reports"] if any(check.get("steps") for check in r["checks"])}
    if bare := [name for name in names if name not in with_steps]:
        missing.append(f"trajectories: {origin} has no steps of {_few(bare)}")
    return found, missing


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def to_bytes(figures: Any) -> bytes:
    """Return figures as a file of JSON."""
    return (json.dumps(figures, indent=1, allow_nan=False) + "\n").encode()
