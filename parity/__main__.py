"""Prove that both sides are the same, and carry weights across: python -m parity COMMAND (see --help).

check [NAME ...] [--full] [--json FILE] compares the networks, on the CPU unless JAX_PLATFORMS names another device.
Exit status 0: the same; 1: a check fails; 3: the port is the same, but the compiler computes something else (see
docs/compiler.md).
check my_torch.py:Net my_flax.py:Net --input 8,32,32,3 compares a PyTorch module and a JAX model of yours.
check-training my_torch.py:training my_jax.py:training --batches my_data.py:batches compares two trainings of yours,
stage by stage of every step; see docs/check_training.md.
doctor prints versions, devices and flags, and runs the programs that XLA is known to compute wrong.
torchvision [NAME ...] --data-dir DIR holds torchvision's own networks against our Flax ones, at full width.
forced [NAME ...] trains in float32, every step from PyTorch's state, and counts the ReLUs that flip.
training --data-dir DIR trains many seeds in both frameworks and compares the accuracies.
bench [NAME ...] measures the throughput of both frameworks on the same work; see docs/benchmark.md.
convert NAME SOURCE TARGET turns a file of PyTorch's weights into Flax's, or back, bit by bit.
convert my_torch.py:Net my_flax.py:Net --input 8,32,32,3 --weights FILE TARGET does so for a pair of yours.
"""

import argparse

from data.terminal import command, outlive
from parity.bench import options as bench
from parity.commands import check, convert, doctor, long_runs, torchvision
from parity.training import command as check_training

# Options that name a file which the command writes.
FILES = ("emit", "html", "json", "plot", "save_mapping", "save_script", "target")
COMMANDS = (check, check_training, doctor, torchvision, long_runs, bench, convert)  # each adds its own to the parser


def main() -> None:
    """Run the command line."""
    command(_main)


def _main() -> int:
    args = _parser().parse_args()
    if any(getattr(args, name, None) for name in FILES):
        outlive()
    return args.run(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m parity", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for module in COMMANDS:
        module.add(commands)
    return parser


if __name__ == "__main__":
    main()
