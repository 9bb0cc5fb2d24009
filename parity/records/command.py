"""The commands of records: record my_torch.py:Net --out net.parity, and check net.parity my_flax.py:Net."""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from data.errors import UserError
from data.terminal import outlive

SUFFIX = ".parity"
UNCHECKED = 2  # exit status: nothing was compared


def add(commands: Any) -> None:
    """Add `parity record`."""
    record = commands.add_parser("record", help="write what a PyTorch module computes to a file, for check elsewhere")
    record.add_argument("name", metavar="TARGET", help="PyTorch module of yours: my_torch.py:Net")
    record.add_argument("--out", type=Path, required=True, metavar="FILE.parity", help="new file")
    record.add_argument("--input", action="append", metavar="[NAME=][KIND:]SHAPE[:BOUNDS]", help="as for check")
    record.add_argument("--inputs", metavar="FILE.py:NAME", help="function that makes the inputs")
    record.add_argument("--layout", metavar="LAYOUT", help="of images and sequences, if it is not found")
    record.add_argument(
        "--limit",
        type=_limit,
        default=32_768,
        metavar="N",
        help="values of more than N numbers are kept as fingerprints (default: 32768)",
    )
    record.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Record a side, print what was written; return the exit status."""
    return _reported(_record, args)


def is_check(args: argparse.Namespace) -> bool:
    """Tell whether `parity check` is given a record."""
    return any(is_record(name) for name in args.names)


def is_record(name: str) -> bool:
    """Tell whether a target is the file of a record."""
    return name.endswith(SUFFIX)


def run_check(args: argparse.Namespace) -> int:
    """Compare a record with a model, print what is found; return the exit status."""
    return _reported(_check, args)


def _reported(function: Any, args: argparse.Namespace) -> int:
    outlive()
    try:
        return function(args)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return UNCHECKED


def _record(args: argparse.Namespace) -> int:
    start, inputs = time.perf_counter(), _inputs(args)
    recording = _load("records.record", "torch", "recording a PyTorch module")
    module = _load("sides.load_torch", "torch", "recording a PyTorch module").load_torch(args.name)
    options = {"layout": args.layout, "limit": args.limit, "name": args.name}
    print(f"{recording.record(module, inputs, args.out, **options)} ({time.perf_counter() - start:.0f} s)")
    return 0


def _inputs(args: argparse.Namespace) -> Any:
    draw, target = _load("sides.draw"), _load("sides.target")
    if args.inputs and args.input:
        raise UserError("--input and --inputs: give one of them")
    if args.inputs:
        return target.parted(target.loaded(args.inputs, lambda value: not callable(value)))[0]
    if not args.input:
        raise UserError("a record needs inputs: --input 8,32,32,3, or --input int:3,12:50, or --inputs my.py:make")
    return draw.drawn([draw.parse_input(text) for text in args.input])


def _check(args: argparse.Namespace) -> int:
    record, target = _targets(args)
    for file in (args.json, args.html):
        if file and not file.absolute().parent.is_dir():
            raise UserError(f"{file}: no such folder to write it in")
    start = time.perf_counter()
    checking, printing = _load("records.check", "jax", "checking a JAX model"), _load("report")
    module = _load("records.module").open_record(Path(record))
    importlib.import_module("jaxnets.environment").start_device()
    model = _load("sides.load_jax").load_jax(target)
    options = {"purpose": args.purpose, "accept": args.accept, "layout": args.layout, "mapping": args.mapping}
    name = f"{record} {target}"
    pair, report = checking.check_record(module, model, _jax_inputs(args), name=name, **options)
    printing.print_report(_console(), report)
    _write(args, pair, report)
    print(f"{printing.verdict([report])} ({time.perf_counter() - start:.0f} s)")
    return printing.exit_status([report])


def _targets(args: argparse.Namespace) -> tuple[str, str]:
    """Return the record and the target of the other side."""
    if len(args.names) != 2 or sum(map(is_record, args.names)) != 1:
        raise UserError("a record is checked against one model: check net.parity my_flax.py:Net")
    if args.input or args.inputs:
        raise UserError("--input and --inputs: the inputs are those of the record; --jax-input gives JAX others")
    record, target = sorted(args.names, key=is_record, reverse=True)
    if not Path(record).is_file():
        raise UserError(f"{record}: there is no such file; parity record writes it")
    return record, target


def _jax_inputs(args: argparse.Namespace) -> Any:
    draw = _load("sides.draw")
    given = args.jax_input
    return draw.drawn([draw.parse_input(text, option="--jax-input") for text in given]) if given else None


def _write(args: argparse.Namespace, pair: Any, report: Any) -> None:
    """Write the files that are asked for."""
    atomic = importlib.import_module("experiment.runs.atomic")
    if args.save_mapping:
        atomic.write_new(args.save_mapping, _load("mapping.file").dump(pair.weights.rules).encode())
        print(f"the rules found are saved in {args.save_mapping}, for --mapping")
    if args.html:
        atomic.write(args.html, _load("report.page").page(report).encode())
    if args.json:
        atomic.write(args.json, (json.dumps([report.to_json()], indent=2) + "\n").encode())


def _console() -> Any:
    console = importlib.import_module("experiment.console").make_console()
    console.width = max(console.width, 120)
    return console


def _load(module: str, framework: str = "", what: str = "") -> ModuleType:
    """Import `parity.<module>`: only now, as the other framework may be missing."""
    try:
        return importlib.import_module(f"parity.{module}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not framework or missing not in (framework, "jaxlib", "flax"):
            raise
        raise UserError(
            f"{what} needs {missing}, which is not installed: pip install 'jaxnets[{framework}]'"
        ) from None


def _limit(text: str) -> int:
    if not text.isdecimal() or int(text) < 1024:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 1024, the size of a fingerprint")
    return int(text)
