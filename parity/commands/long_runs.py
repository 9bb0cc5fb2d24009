"""The commands forced and training: long trainings of both frameworks side by side."""

import argparse
import time
from pathlib import Path
from typing import Any

from data import UserError
from experiment.config import Config
from parity.report.console import check_folder, count, load_module, save_json, wide_console


def add(commands: Any) -> None:
    """Add both commands."""
    steps = commands.add_parser("forced", help="train in float32, each step from PyTorch's state")
    steps.add_argument(
        "names", nargs="*", metavar="NAME", help="networks; by default those below a million parameters"
    )
    steps.add_argument("--steps", type=count, default=1000, metavar="N", help="of each training (default: 1000)")
    steps.add_argument("--optimizer", default="momentum", metavar="NAME", help="update rule (default: momentum)")
    steps.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE, too")
    steps.set_defaults(run=run_forced)
    training = commands.add_parser("training", help="train many seeds in both frameworks, compare the accuracies")
    training.add_argument("name", nargs="?", default="ann", metavar="NAME", help="network (default: ann)")
    training.add_argument("--dataset", default="mnist", metavar="NAME", help="(default: mnist)")
    training.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of the datasets")
    training.add_argument("--seeds", type=count, default=20, metavar="N", help="runs of each (default: 20)")
    training.add_argument("--epochs", type=count, default=3, metavar="N", help="of each run (default: 3)")
    training.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE, too")
    training.set_defaults(run=run_training)


def run_forced(args: argparse.Namespace) -> int:
    """Train networks with teacher forcing, print a line for each; return 0 if every step holds, else 1."""
    check_folder(args.json)
    start, rows = time.perf_counter(), []
    for row in load_module("training.forced").rows(args.names, args.optimizer, args.steps):
        rows.append(row)
        save_json(args.json, rows)
    held = sum(row["ok"] for row in rows)
    print(f"{held} of {len(rows)} networks hold at every step ({time.perf_counter() - start:.0f} s)")
    return 0 if held == len(rows) else 1


def run_training(args: argparse.Namespace) -> int:
    """Train many seeds of a network, print what the tests say; return 0 if the trainings are equal, else 1."""
    check_folder(args.json)
    if args.seeds < 2:
        raise UserError(f"--seeds is {args.seeds}: one run has no spread; give at least 2")
    start, module = time.perf_counter(), load_module("training.accuracies")
    config = Config(model=args.name, dataset=args.dataset, data_dir=args.data_dir, epochs=args.epochs, batch_size=128)
    found = module.compare_trainings(config, args.seeds, wide_console())
    print(found)
    save_json(args.json, {"ok": found.ok, **found._asdict()})
    print(f"{2 * args.seeds} trainings of {args.epochs} epochs ({time.perf_counter() - start:.0f} s)")
    return 0 if found.ok else 1
