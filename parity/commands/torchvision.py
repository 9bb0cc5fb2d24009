"""The command torchvision: torchvision's own networks against our Flax ones."""

import time
from pathlib import Path
from typing import Any

from parity.report.console import check_folder, load_module, save_json


def add(commands: Any) -> None:
    """Add the command."""
    oracle = commands.add_parser("torchvision", help="compare torchvision's own networks with our Flax ones")
    oracle.add_argument("names", nargs="*", metavar="NAME", help="networks that torchvision has; by default all")
    oracle.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with CIFAR-10, for 1,000 real images")
    oracle.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE, too")
    oracle.set_defaults(run=lambda args: run_torchvision(args.names, args.data_dir, args.json))


def run_torchvision(names: list[str], data_dir: Path | None, json_file: Path | None) -> int:
    """Compare torchvision's networks with ours, print a line for each; return 0 if everything holds, else 1."""
    check_folder(json_file)
    start, rows = time.perf_counter(), []
    for row in load_module("checks.torchvision").rows(names, data_dir):
        rows.append(row)
        save_json(json_file, rows)
    held = sum(row["ok"] for row in rows)
    print(f"{held} of {len(rows)} networks of torchvision agree ({time.perf_counter() - start:.0f} s)")
    return 0 if held == len(rows) else 1
