"""What the command may be told, and what it makes of that."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from data import UserError
from data.registry import lookup
from experiment.config import Config
from parity.bench.plan import (
    FLAX_MODES,
    LAYOUTS,
    LEAST_ROUNDS,
    TORCH_MODES,
    Choices,
    device_counts,
    thread_counts,
    torch_modes,
)
from parity.bench.roofline import ACTIVATION_BYTES
from parity.report.console import load_module

OPTIMIZERS: tuple[str, ...] = get_args(get_type_hints(Config)["optimizer"])


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("bench", help="measure the throughput of both frameworks on the same work")
    add_options(parser)
    parser.set_defaults(run=lambda args: load_module("bench.command").run(args))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="networks; by default all")
    add("--device", choices=("cpu", "gpu"), help="(default: a GPU, if both frameworks find one)")
    add("--precision", choices=tuple(ACTIVATION_BYTES), default="float32", help="(default: float32)")
    add("--tf32", action="store_true", help="on a GPU, let float32 products be rounded to TF32, on both sides")
    add("--optimizer", choices=OPTIMIZERS, default="momentum", help="(default: momentum)")
    add("--batch-size", type=int, metavar="N", help="(default: 128; on a CPU 16 for networks of 0.5 GFLOP and more)")
    add("--rounds", type=int, default=6, metavar="N", help="of each side, by turns (default: 6)")
    add("--seconds", type=float, default=2.0, metavar="S", help="of a round (default: 2)")
    add("--dataset", default="", metavar="NAME", help="examples (default: random ones, made in memory)")
    add("--data-dir", type=Path, metavar="DIR", help="folder of the datasets")
    add("--modes", metavar="A,B", help=f"of PyTorch that are tried: {', '.join(torch_modes())}")
    add("--flax-modes", metavar="A,B", help=f"of Flax that are tried: {', '.join(FLAX_MODES['gpu'])}")
    add("--threads", metavar="N,M", help="thread counts of PyTorch that are tried on a CPU (default: 1 to all cores)")
    add("--layouts", metavar="A,B", help=f"of PyTorch's images that are tried: {', '.join(LAYOUTS)}")
    add("--trials", choices=("few", "all"), default="few", help="all: every combination of these (default: few)")
    add("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    add("--plot", type=Path, metavar="FILE", help="draw the ratios into FILE, a .png")


def check(args: argparse.Namespace) -> None:
    """Refuse numbers and names that make no sense, before anything is started.

    Raises:
        UserError: says which option, what was found, what is expected.
    """
    if args.rounds < LEAST_ROUNDS:
        raise UserError(f"--rounds is {args.rounds}, expected at least {LEAST_ROUNDS}: fewer have no range")
    if not 0 < args.seconds < float("inf"):
        raise UserError(f"--seconds is {args.seconds}, expected a finite number above 0")
    if args.batch_size is not None and args.batch_size < 2:
        raise UserError(f"--batch-size is {args.batch_size}, expected at least 2: BatchNorm has no variance of one")
    if args.data_dir and not args.dataset:
        raise UserError(f"--data-dir is {args.data_dir}, but no dataset is named; add --dataset NAME")
    if args.plot and args.plot.suffix != ".png":
        raise UserError(f"--plot is {args.plot}, expected a .png file")
    for file in filter(None, (args.json, args.plot)):
        if not file.absolute().parent.is_dir():
            raise UserError(f"{file}: no such folder to write it in")
    choices(args, "gpu", 1)


def choices(args: argparse.Namespace, device: str, cores: int) -> Choices:
    """Return what is tried on a device.

    Raises:
        UserError: a mode, layout or thread count that there is not.
    """
    return Choices(
        torch_modes=_chosen("mode", args.modes, torch_modes()) or TORCH_MODES[device],
        flax_modes=_chosen("mode of Flax", args.flax_modes, FLAX_MODES["gpu"]) or FLAX_MODES[device],
        threads=_counts(args.threads) or (thread_counts(cores) if device == "cpu" else (0,)),
        layouts=_chosen("layout", args.layouts, LAYOUTS) or LAYOUTS,
        every=args.trials == "all",
        devices=device_counts(cores) if device == "cpu" else (0,),
    )


def common(args: argparse.Namespace) -> dict[str, Any]:
    """Return what all settings of a run share."""
    options = {name: getattr(args, name) for name in ("precision", "tf32", "optimizer", "dataset")}
    return {**options, "data_dir": str(args.data_dir.absolute()) if args.data_dir else ""}


def _chosen(kind: str, text: str | None, known: Sequence[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(","))) if text is not None else ()
    for name in names:
        lookup(kind, name, dict.fromkeys(known))
    return names


def _counts(text: str | None) -> tuple[int, ...]:
    names = text.split(",") if text is not None else []
    if bad := [name for name in names if not name.isdecimal() or int(name) < 1]:
        raise UserError(f"--threads has '{bad[0]}', expected numbers of at least 1, with commas between")
    return tuple(dict.fromkeys(map(int, names)))
