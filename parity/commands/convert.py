"""The command convert: weights of a registered network, or of a pair of the user's, to the other framework."""

import argparse
from pathlib import Path
from typing import Any

from data import UserError
from parity.report.console import load_module

PAIR = ("input", "inputs", "layout", "mapping", "weights", "emit")  # options for a pair of the user's


def add(commands: Any) -> None:
    """Add the command."""
    convert = commands.add_parser("convert", help="turn a file of PyTorch's weights into Flax's, or back")
    _add_convert(convert)
    convert.set_defaults(run=run_convert)


def _add_convert(convert: argparse.ArgumentParser) -> None:
    convert.add_argument("name", metavar="NAME", help="network; or a PyTorch module of yours, my_torch.py:Net")
    convert.add_argument(
        "source",
        metavar="SOURCE",
        type=Path,
        help="file of weights in any usual format, or a run folder; or the JAX model of yours, my_flax.py:Net",
    )
    convert.add_argument(
        "target",
        metavar="TARGET",
        type=Path,
        help="new file: .safetensors; for PyTorch also .pth; of a pair of yours also .msgpack, or a folder of Orbax",
    )
    convert.add_argument("--num-classes", metavar="N", type=int, help="by default those of SOURCE's last layer")
    pair = convert.add_argument_group("a pair of yours, proved before anything is written")
    pair.add_argument("--input", action="append", metavar="SHAPE", help="as for check")
    pair.add_argument("--jax-input", action="append", metavar="SHAPE", help="where the JAX side is given others")
    pair.add_argument("--inputs", metavar="FILE.py:NAME", help="function that makes the inputs")
    pair.add_argument("--layout", metavar="LAYOUT", help="of images and sequences, if it is not found")
    pair.add_argument("--mapping", type=Path, metavar="FILE", help="rules that are known already")
    pair.add_argument("--weights", type=Path, metavar="FILE", help="weights to carry across, in any usual format")
    pair.add_argument(
        "--emit", type=Path, metavar="FILE.py", help="write a function of numpy and einops that converts"
    )


def run_convert(args: argparse.Namespace) -> int:
    """Convert a file of weights, print what was done; return 0."""
    options = [name for name in PAIR if getattr(args, name)]
    if ":" in args.name:
        if args.num_classes is not None:
            raise UserError("--num-classes is for a network of the registry; a pair of yours has its own classes")
        print(load_module("convert.port").convert_port(args))
        return 0
    if options:
        raise UserError(f"--{options[0]} is for a pair: convert my_torch.py:Net my_flax.py:Net --input SHAPE TARGET")
    print(load_module("convert.files").convert(args.name, args.source, args.target, args.num_classes))
    return 0
