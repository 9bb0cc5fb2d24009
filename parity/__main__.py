"""Prove that both sides are the same, and carry weights across: python -m parity COMMAND (see --help).

check [NAME ...] [--full] [--json FILE] compares the networks, on the CPU unless JAX_PLATFORMS names another device.
Exit status 0: the same; 1: a check fails; 3: the port is the same, but the compiler computes something else (see
docs/compiler.md).
check my_torch.py:Net my_flax.py:Net --input 8,32,32,3 compares a PyTorch module and a JAX model of yours.
check net.parity my_flax.py:Net compares a JAX model with what `record` has written, without PyTorch.
record my_torch.py:Net --input 8,32,32,3 --out net.parity writes what a PyTorch module computes to a file, without JAX.
doctor prints versions, devices and flags, and runs the programs that XLA is known to compute wrong.
torchvision [NAME ...] --data-dir DIR holds torchvision's own networks against our Flax ones, at full width.
forced [NAME ...] trains in float32, every step from PyTorch's state, and counts the ReLUs that flip.
training --data-dir DIR trains many seeds in both frameworks and compares the accuracies.
bench [NAME ...] measures the throughput of both frameworks on the same work; see docs/benchmark.md.
convert NAME SOURCE TARGET turns a file of PyTorch's weights into Flax's, or back, bit by bit.
convert my_torch.py:Net my_flax.py:Net --input 8,32,32,3 --weights FILE TARGET does so for a pair of yours.
"""

import argparse
import importlib
import json
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

from data import UserError
from data.terminal import command, outlive
from experiment.config import Config
from experiment.console import make_console
from experiment.extras import needs_torch
from experiment.runs.atomic import check_new, write
from parity.bench.options import add_options
from parity.pool import DEVICE, check_models, set_defaults
from parity.records import command as records
from parity.report import exit_status, print_report, verdict

PAIR = ("input", "inputs", "layout", "mapping", "weights", "emit")  # options of `convert` for a pair of the user's
# Options of a pair of the user's alone.
PAIR_OPTIONS = ("input", "jax_input", "inputs", "layout", "accept", "html", "mapping", "save_mapping", "save_script")
FILES = (
    "emit",
    "html",
    "json",
    "plot",
    "save_mapping",
    "save_script",
    "target",
)  # options of the files that a command writes


def main() -> None:
    """Run the command line."""
    command(_main)


def _main() -> int:
    args = _parser().parse_args()
    if any(getattr(args, name, None) for name in FILES):
        outlive()
    if args.command == "record":
        return records.run(args)
    if args.command == "convert":
        return run_convert(args)
    if args.command == "bench":
        return _load("bench.command").run(args)
    if args.command == "forced":
        return run_forced(args)
    if args.command == "training":
        return run_training(args)
    if args.command == "torchvision":
        return run_torchvision(args.names, args.data_dir, args.json)
    if args.command == "doctor":
        return run_doctor(args.json)
    with set_defaults(DEVICE):  # before JAX is imported
        return run_check(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m parity", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="compare networks and trainings of both frameworks")
    check.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="networks to check, by default all; or a PyTorch and a Flax module of yours, module:name or file.py:name",
    )
    _add_pair(check)
    check.add_argument("--mapping", type=Path, metavar="FILE", help="what is known of your weights: rules or names")
    check.add_argument("--save-mapping", type=Path, metavar="FILE", help="write the names that are found to FILE")
    check.add_argument(
        "--save-script",
        type=Path,
        metavar="FILE",
        help="write a script that shows what the compiler gets wrong to FILE",
    )
    check.add_argument(
        "--full",
        action="store_true",
        help="whole depth, 100 steps instead of 10, small networks with every optimizer: more than an hour for all",
    )
    check.add_argument("--json", type=Path, metavar="FILE", help="write the reports to FILE, too")
    doctor = commands.add_parser("doctor", help="print versions, devices, flags; run what XLA is known to get wrong")
    doctor.add_argument("--json", type=Path, metavar="FILE", help="write all of it to FILE, too")
    oracle = commands.add_parser("torchvision", help="compare torchvision's own networks with our Flax ones")
    oracle.add_argument("names", nargs="*", metavar="NAME", help="networks that torchvision has; by default all")
    oracle.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with CIFAR-10, for 1,000 real images")
    oracle.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE, too")
    _add_long_runs(commands)
    records.add(commands)
    add_options(commands.add_parser("bench", help="measure the throughput of both frameworks on the same work"))
    convert = commands.add_parser("convert", help="turn a file of PyTorch's weights into Flax's, or back")
    _add_convert(convert)
    return parser


def _add_pair(check: argparse.ArgumentParser) -> None:
    pair = check.add_argument_group("a pair of yours")
    pair.add_argument(
        "--input",
        action="append",
        metavar="[NAME=][KIND:]SHAPE[:BOUNDS]",
        help="8,32,32,3: floats, eight examples, channels last; int:3,12:50: integers below 50; mask=bool:3,12; "
        "once for each input",
    )
    pair.add_argument(
        "--jax-input", action="append", metavar="...", help="the same, where the JAX side is given others"
    )
    pair.add_argument("--inputs", metavar="FILE.py:NAME", help="function that makes the inputs: array, tuple or dict")
    pair.add_argument("--layout", metavar="LAYOUT", help="of images and sequences, if it is not found")
    pair.add_argument(
        "--for", dest="purpose", default="training", choices=("training", "inference"), help="what it must do"
    )
    pair.add_argument(
        "--accept", action="append", default=[], metavar="NAME", help="convention that is no fault: trap-1"
    )
    pair.add_argument("--html", type=Path, metavar="FILE", help="write a page that shows both sources to FILE")


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
    pair.add_argument("--inputs", metavar="FILE.py:NAME", help="function that makes the inputs")
    pair.add_argument("--layout", metavar="LAYOUT", help="of images and sequences, if it is not found")
    pair.add_argument("--mapping", type=Path, metavar="FILE", help="rules that are known already")
    pair.add_argument("--weights", type=Path, metavar="FILE", help="weights to carry across, in any usual format")
    pair.add_argument(
        "--emit", type=Path, metavar="FILE.py", help="write a function of numpy and einops that converts"
    )


def _add_long_runs(commands: Any) -> None:
    steps = commands.add_parser("forced", help="train in float32, each step from PyTorch's state")
    steps.add_argument(
        "names", nargs="*", metavar="NAME", help="networks; by default those below a million parameters"
    )
    steps.add_argument("--steps", type=_count, default=1000, metavar="N", help="of each training (default: 1000)")
    steps.add_argument("--optimizer", default="momentum", metavar="NAME", help="update rule (default: momentum)")
    steps.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE, too")
    training = commands.add_parser("training", help="train many seeds in both frameworks, compare the accuracies")
    training.add_argument("name", nargs="?", default="ann", metavar="NAME", help="network (default: ann)")
    training.add_argument("--dataset", default="mnist", metavar="NAME", help="(default: mnist)")
    training.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of the datasets")
    training.add_argument("--seeds", type=_count, default=20, metavar="N", help="runs of each (default: 20)")
    training.add_argument("--epochs", type=_count, default=3, metavar="N", help="of each run (default: 3)")
    training.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE, too")


def run_check(args: argparse.Namespace) -> int:
    """Check registered networks, or a pair of the user's; return the exit status."""
    if records.is_check(args):
        return records.run_check(args)
    if any(":" in name for name in args.names):
        return run_pair(args)
    if any(getattr(args, name) for name in PAIR_OPTIONS):
        raise UserError(
            "--input and --mapping are for a pair of yours: check my_torch:make my_flax:make --input SHAPE"
        )
    return run_checks(args.names, args.json, full=args.full)


def run_checks(names: list[str], json_file: Path | None, *, full: bool = False) -> int:
    """Check the networks, print their tables; return the exit status."""
    suite = _load("suite")
    _writable(json_file)
    for name in names:
        if name not in suite.names():
            suite.check_model(name)  # raises, before the others have taken their time
    console, start, reports = _console(), time.perf_counter(), []
    for report in check_models(names or suite.names(), full=full):
        reports.append(report)
        print_report(console, report)
    if json_file:
        write(json_file, (json.dumps([report.to_json() for report in reports], indent=2) + "\n").encode())
    print(f"{verdict(reports)} ({time.perf_counter() - start:.0f} s)")
    return exit_status(reports)


def run_pair(args: argparse.Namespace) -> int:
    """Check a pair of the user's, print what is found; return the exit status."""
    given = args.input or args.inputs
    if len(args.names) != 2 or not all(":" in name for name in args.names) or not given or args.full:
        raise UserError("a pair of yours is checked by: check my_torch:make my_flax:make --input SHAPE")
    _writable(args.json)
    _writable(args.html)
    if args.save_script:
        check_new(args.save_script)
    start, console = time.perf_counter(), _console()
    report = _load("user_pair").check_pair(console, args)
    if args.html:
        write(args.html, _load("port_html").page(report).encode())
    if args.json:
        write(args.json, (json.dumps([report.to_json()], indent=2) + "\n").encode())
    if args.save_script:
        print(_load("compiler.script").save_script(report.fault, args.save_script))
    print(f"{verdict([report])} ({time.perf_counter() - start:.0f} s)")
    return exit_status([report])


def run_doctor(json_file: Path | None) -> int:
    """Print what an issue report should contain; return 0 if everything is computed right, else 3."""
    _writable(json_file)
    doctor = _load("compiler.doctor")
    found = doctor.examine()
    doctor.print_findings(_console(), found)
    if json_file:
        write(json_file, (json.dumps(found.to_json(), indent=2) + "\n").encode())
    return 0 if found.ok else 3


def run_torchvision(names: list[str], data_dir: Path | None, json_file: Path | None) -> int:
    """Compare torchvision's networks with ours, print a line for each; return 0 if everything holds, else 1."""
    _writable(json_file)
    start, rows = time.perf_counter(), []
    for row in _load("torchvision").rows(names, data_dir):
        rows.append(row)
        if json_file:
            write(json_file, (json.dumps(rows, indent=2) + "\n").encode())
    held = sum(row["ok"] for row in rows)
    print(f"{held} of {len(rows)} networks of torchvision agree ({time.perf_counter() - start:.0f} s)")
    return 0 if held == len(rows) else 1


def run_forced(args: argparse.Namespace) -> int:
    """Train networks with teacher forcing, print a line for each; return 0 if every step holds, else 1."""
    _writable(args.json)
    start, rows = time.perf_counter(), []
    for row in _load("forced").rows(args.names, args.optimizer, args.steps):
        rows.append(row)
        if args.json:
            write(args.json, (json.dumps(rows, indent=2) + "\n").encode())
    held = sum(row["ok"] for row in rows)
    print(f"{held} of {len(rows)} networks hold at every step ({time.perf_counter() - start:.0f} s)")
    return 0 if held == len(rows) else 1


def run_training(args: argparse.Namespace) -> int:
    """Train many seeds of a network, print what the tests say; return 0 if the trainings are equal, else 1."""
    _writable(args.json)
    if args.seeds < 2:
        raise UserError(f"--seeds is {args.seeds}: one run has no spread; give at least 2")
    start, module = time.perf_counter(), _load("training")
    config = Config(model=args.name, dataset=args.dataset, data_dir=args.data_dir, epochs=args.epochs, batch_size=128)
    found = module.compare_trainings(config, args.seeds, _console())
    print(found)
    if args.json:
        write(args.json, (json.dumps({"ok": found.ok, **found._asdict()}, indent=2) + "\n").encode())
    print(f"{2 * args.seeds} trainings of {args.epochs} epochs ({time.perf_counter() - start:.0f} s)")
    return 0 if found.ok else 1


def _writable(json_file: Path | None) -> None:
    if json_file and not json_file.absolute().parent.is_dir():
        raise UserError(f"{json_file}: no such folder to write it in")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 1")
    return int(text)


def run_convert(args: argparse.Namespace) -> int:
    """Convert a file of weights, print what was done; return 0."""
    options = [name for name in PAIR if getattr(args, name)]
    if ":" in args.name:
        if args.num_classes is not None:
            raise UserError("--num-classes is for a network of the registry; a pair of yours has its own classes")
        print(_load("convert_port").convert_port(args))
        return 0
    if options:
        raise UserError(f"--{options[0]} is for a pair: convert my_torch.py:Net my_flax.py:Net --input SHAPE TARGET")
    print(_load("convert").convert(args.name, args.source, args.target, args.num_classes))
    return 0


def _console() -> Console:
    console = make_console()
    console.width = max(console.width, 120)
    return console


def _load(module: str) -> ModuleType:
    """Import `parity.<module>`: only now, since --help should wait for no framework, and torch may be missing."""
    try:
        return importlib.import_module(f"parity.{module}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise needs_torch("parity") from None
    except ValueError as error:  # JAX reads its environment variables as it is imported
        raise UserError(f"parity cannot be imported: {error}") from None


if __name__ == "__main__":
    main()
