"""The commands of records: record my_torch.py:Net --out net.parity, and check net.parity my_flax.py:Net."""

import argparse
import importlib
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.terminal import outlive
from parity.records import training_command
from parity.records.loading import load, on_cpu

SUFFIX = ".parity"
UNCHECKED = 2  # exit status: nothing was compared


def add(commands: Any) -> None:
    """Add `parity record`."""
    record = commands.add_parser(
        "record", help="write what one side computes to a file, for check where the other framework is"
    )
    record.add_argument(
        "name", metavar="TARGET", help="PyTorch module or JAX model of yours: my_torch.py:Net; or a training"
    )
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
    training = record.add_argument_group("a training")
    training.add_argument("--batches", metavar="FILE.py:NAME", help="as for check-training; TARGET is a training then")
    training.add_argument("--steps", type=_steps, metavar="N", help="how many (default: 20)")
    training.add_argument(
        "--max-size", type=_size, default=1.0, metavar="GB", help="steps that do not fit are left out (default: 1)"
    )
    record.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Record a side, print what was written; return the exit status."""
    outlive()
    try:
        return _record(args)
    except UserError as error:
        message = str(error)
    except Exception as error:
        traceback.print_exc()
        message = f"the recording itself failed, please report it: {type(error).__name__}: {error}"
    sys.stderr.write(f"error: {message}\n")
    return UNCHECKED


def is_check(args: argparse.Namespace) -> bool:
    """Tell whether `parity check` is given a record."""
    return any(is_record(name) for name in args.names)


def is_record(name: str) -> bool:
    """Tell whether a target is the file of a record."""
    return name.endswith(SUFFIX)


def run_check(args: argparse.Namespace) -> int:
    """Compare a record with a model, print what is found; return the exit status."""
    outlive()
    return _check(args)  # `parity check` says what could not be compared


def _record(args: argparse.Namespace) -> int:
    start = time.perf_counter()
    if args.batches:
        print(f"{training_command.record(args)} ({time.perf_counter() - start:.0f} s)")
        return 0
    if args.steps is not None:
        raise UserError("--steps is for a training: give --batches, too")
    inputs = _inputs(args)
    if _is_torch(args.name):
        recording = load("records.record", "torch", "recording a PyTorch module")
        module = load("sides.load_torch").load_torch(args.name)
        options = {"layout": args.layout, "limit": args.limit, "name": args.name}
        written = recording.record(module, inputs, args.out, **options)
    else:
        with on_cpu():
            recording = load("records.jax_record", "jax", "recording a JAX model")
            model = load("sides.load_jax").load_jax(args.name)
            written = recording.record_jax(model, inputs, args.out, layout=args.layout, name=args.name)
    print(f"{written} ({time.perf_counter() - start:.0f} s)")
    return 0


def _is_torch(target: str) -> bool:
    """Tell whether a target is a PyTorch module, by its class, or by which framework its file imports."""
    with on_cpu():
        value, is_a = load("sides.target").named(target), load("sides.frameworks").is_a
    if isinstance(value, type):
        return any(
            f"{base.__module__}.{base.__qualname__}" == "torch.nn.modules.module.Module" for base in value.__mro__
        )
    if is_a(value, "torch.nn:Module") or not sys.modules.get("jax"):
        return True
    if not sys.modules.get("torch"):
        return False
    try:
        load("sides.load_torch").load_torch(target)
    except UserError as error:
        return "expected a torch.nn.Module" not in str(error)
    return True


def _inputs(args: argparse.Namespace) -> Any:
    draw, target = load("sides.draw"), load("sides.target")
    if args.inputs and args.input:
        raise UserError("--input and --inputs: give one of them")
    if args.inputs:
        return target.parted(target.loaded(args.inputs, lambda value: not callable(value)))[0]
    if not args.input:
        raise UserError("a record needs inputs: --input 8,32,32,3, or --input int:3,12:50, or --inputs my.py:make")
    return draw.drawn([draw.parse_input(text) for text in args.input])


def _check(args: argparse.Namespace) -> int:
    record, target = _targets(args)
    shared = load("report.console")
    for file in (args.json, args.html):
        shared.check_folder(file)
    start = time.perf_counter()
    opened, printing = load("records.opened"), load("report")
    side = opened.opened(Path(record))
    if hasattr(side, "framework"):
        raise UserError(f"{record} is a record of a {side.framework} training: parity check-training compares it")
    options = {"purpose": args.purpose, "accept": args.accept, "layout": args.layout, "mapping": args.mapping}
    options["name"] = f"{record} {target}"
    if type(side).__name__ == "RecordedModule":
        checking = load("records.check", "jax", "checking a JAX model against a record")
        importlib.import_module("jaxnets.environment").start_device()
        model = load("sides.load_jax").load_jax(target)
        pair, report = checking.check_record(side, model, _jax_inputs(args), **options)
    else:
        checking = load("records.check_torch", "torch", "checking a PyTorch module against a record")
        module = load("sides.load_torch").load_torch(target)
        pair, report = checking.check_jax_record(side, module, **options)
    quiet = args.brief or str(args.json) == "-"
    printing.print_report(shared.wide_console(quiet=quiet), report)
    _write(args, pair, report, quiet=quiet)
    if args.brief and str(args.json) != "-":
        shared.say(load("report.brief").brief([report]))
    elif not quiet:
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
    draw = load("sides.draw")
    given = args.jax_input
    return draw.drawn([draw.parse_input(text, option="--jax-input") for text in given]) if given else None


def _write(args: argparse.Namespace, pair: Any, report: Any, *, quiet: bool) -> None:
    """Write the files that are asked for."""
    atomic = importlib.import_module("experiment.runs.atomic")
    if args.save_mapping:
        atomic.write_new(args.save_mapping, load("mapping.file").dump(pair.weights.rules).encode())
        if not quiet:
            print(f"the rules found are saved in {args.save_mapping}, for --mapping")
    if args.html:
        atomic.write(args.html, load("report.page").page(report).encode())
    load("report.console").save_json(args.json, [report.to_json()])


def _limit(text: str) -> int:
    if not text.isdecimal() or int(text) < 1024:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 1024, the size of a fingerprint")
    return int(text)


def _steps(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 1")
    return int(text)


def _size(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0 < size < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a size in GB")
    return size
