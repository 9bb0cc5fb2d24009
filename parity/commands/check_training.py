"""The command check-training: two trainings of yours, stage by stage."""

import argparse
import importlib
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from data.errors import UserError
from parity.records.loading import on_cpu
from parity.report.console import check_folder, count, load_module, only_report, save_json, say, wide_console
from parity.report.report import UNCHECKED
from parity.report.schema import unchecked


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("check-training", help="compare two trainings of yours, stage by stage of every step")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="FILE.py:NAME",
        help="function without an argument, PyTorch's first: returns (module, step), and step(*batch) trains once; "
        "JAX's returns (state, step), and step(state, *batch) returns (state, loss); one may be a record instead",
    )
    parser.add_argument(
        "--batches",
        metavar="FILE.py:NAME",
        help="function that yields what both steps are given, numpy; or pairs of tuples, PyTorch's and JAX's; "
        "a record has its own",
    )
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="compare both trainers of this project instead, as a recipe trains them, in the network's small size",
    )
    parser.add_argument("--steps", type=count, metavar="N", help="of each training (default: 20, or all of a record)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the report to FILE, too; -: to standard output, alone"
    )
    parser.add_argument("--brief", action="store_true", help="print at most ten lines, the same each time")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit status, 2 if nothing could be compared."""
    try:
        with only_report(args):
            return run_check(args)
    except UserError as error:
        message = str(error)
    except Exception as error:  # a fault of the checker is no difference of the training
        traceback.print_exc()
        message = f"the check itself failed, please report it: {type(error).__name__}: {error}"
    sys.stderr.write(f"error: {message}\n")
    with suppress(UserError):
        check_folder(args.json)
        save_json(args.json, [unchecked(args.recipe or " ".join(args.names), message)])
    return UNCHECKED


def run_check(args: argparse.Namespace) -> int:
    """Check two trainings, print what is found; return 0 if they are the same, else 1."""
    check_folder(args.json)
    start, outcome = time.perf_counter(), load_module("training.outcome")
    with on_cpu():  # before JAX is imported
        report = _checked(args)
    alone = str(args.json) == "-"
    outcome.print_outcome(wide_console(quiet=alone or args.brief), report)
    save_json(args.json, [report.to_json()])
    if args.brief and not alone:
        say(outcome.brief(report))
    elif not alone:
        print(f"{outcome.summary(report)} ({time.perf_counter() - start:.0f} s)")
    return report.status


def _checked(args: argparse.Namespace) -> Any:
    """Return the report of a recipe, of a training and a record, or of two trainings."""
    if args.recipe:
        return _recipe(args)
    if len(args.names) != 2:
        raise UserError("expected two trainings, PyTorch's and JAX's, each as file.py:name; or --recipe NAME")
    records = _records()
    return records.check(args) if records.has_record(args.names) else _both(args)


def _records() -> Any:
    """Return the command of records, a room that imports this one."""
    return load_module("records.training_command")


def _recipe(args: argparse.Namespace) -> Any:
    """Check a recipe of this project."""
    if args.names or args.batches:
        raise UserError("--recipe has trainings and batches of its own; leave out FILE.py:NAME and --batches")
    steps = args.steps or _records().STEPS
    _start()
    check = load_module("training.check_training").check_training
    ours, theirs, batches, weights = load_module("checks.recipe_trainings").recipe_trainings(args.recipe, steps)
    return check(ours, theirs, batches, steps, name=args.recipe, weights=weights)


def _both(args: argparse.Namespace) -> Any:
    """Check two trainings that are here."""
    if not args.batches:
        raise UserError("--batches my_data.py:batches is missing: the function that yields what the steps are given")
    for name in (*args.names, args.batches):
        if ":" not in name:
            raise UserError(f"{name}: expected file.py:name or module:name")
    _start()
    module, load = (load_module(m) for m in ("training.check_training", "sides.target"))
    made = [load.load_function(name) for name in (*args.names, args.batches)]
    return module.check_training(*made, args.steps or _records().STEPS, name=" ".join(args.names))


def _start() -> None:
    """Start the device, and let JAX keep compiled programs: of a second check they are most of the time."""
    load_module("commands.compiled_cache").keep_compiled()
    importlib.import_module("jaxnets.environment").start_device()
