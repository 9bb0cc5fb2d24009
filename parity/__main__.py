"""Prove that both sides are the same, and carry weights across: python -m parity COMMAND (see --help).

check [NAME ...] [--full] [--json FILE] compares the networks and trains them side by side for 10 steps, compiled as in
a training; on the CPU unless JAX_PLATFORMS names another device.
Exit status 0: the same; 1: a check fails; 2: your pair could not be compared; 3: the port is the same, but the
compiler computes something else (docs/compiler.md). --brief and --json - are for programs (docs/automation.md).
check my_torch.py:Net my_flax.py:Net --input 8,32,32,3 compares a PyTorch module and a JAX model of yours.
record my_torch.py:Net --input 8,32,32,3 --out net.parity writes what a PyTorch module computes to a file, without JAX.
check net.parity my_flax.py:Net compares a JAX model with such a file, without PyTorch; see docs/records.md.
check-training my_torch.py:training my_jax.py:training --batches my_data.py:batches compares two trainings of yours,
stage by stage of every step; see docs/check_training.md. record my_torch.py:training --batches my_data.py:batches
--out training.parity records one of them, and check-training training.parity my_jax.py:training compares the other.
check-training --recipe NAME compares both trainers of this project by a recipe.
doctor prints versions, devices and flags, and runs the programs that XLA is known to compute wrong.
torchvision [NAME ...] --data-dir DIR holds torchvision's own networks against our Flax ones, at full width.
forced [NAME ...] trains in float32, every step from PyTorch's state, and counts the ReLUs that flip.
training --data-dir DIR trains many seeds in both frameworks and compares the accuracies.
bench [NAME ...] measures the throughput of both frameworks on the same work; see docs/benchmark.md.
twins [NAME ...] --out DIR writes pages with the two files of a network side by side; see docs/twins.md.
convert NAME SOURCE TARGET turns a file of PyTorch's weights into Flax's, or back, bit by bit.
convert my_torch.py:Net my_flax.py:Net --input 8,32,32,3 --weights FILE TARGET does so for a pair of yours.
report --out DIR [RUN ...] writes one page of HTML: checks, layers, trainings, throughput; see docs/report.md.
"""

import argparse
import importlib
from typing import Any

from data.errors import UserError
from data.terminal import command, outlive
from experiment.allocator import keep_freed_memory

# Options that name a file which the command writes.
FILES = ("emit", "html", "json", "plot", "save_mapping", "save_script", "target")
# Each adds its own commands to the parser. The names are for those that need packages which are not installed.
COMMANDS = {
    "commands.check": ("check",),
    "records.command": ("record",),
    "commands.check_training": ("check-training",),
    "commands.doctor": ("doctor",),
    "commands.torchvision": ("torchvision",),
    "commands.long_runs": ("forced", "training"),
    "bench.options": ("bench",),
    "commands.convert": ("convert",),
    "twins.command": ("twins",),
    "overview.command": ("report",),
}
OURS = ("data", "experiment", "jaxnets", "torchnets", "parity")


def main() -> None:
    """Run the command line."""
    command(_main)


def _main() -> int:
    keep_freed_memory()
    args, unknown = (parser := _parser()).parse_known_args()
    if unknown and not getattr(args, "missing", False):
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if any(getattr(args, name, None) for name in FILES):
        outlive()
    return args.run(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m parity", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for module, names in COMMANDS.items():
        try:
            importlib.import_module(f"parity.{module}").add(commands)
        except ModuleNotFoundError as error:
            _add_missing(commands, names, error)
    return parser


def _add_missing(commands: Any, names: tuple[str, ...], error: ModuleNotFoundError) -> None:
    """Add commands that say which package they need."""
    package = (error.name or "").partition(".")[0]
    if package in OURS:
        raise error

    def run(args: argparse.Namespace) -> int:
        raise UserError(f"parity {args.command} needs {package}, which is not installed: pip install jaxnets")

    for name in names:
        commands.add_parser(name, help=f"needs {package}, which is not installed").set_defaults(run=run, missing=True)


if __name__ == "__main__":
    main()
