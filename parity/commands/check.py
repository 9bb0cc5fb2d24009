"""The command check: registered networks, or a pair of the user's."""

import argparse
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from data import UserError
from experiment.runs.atomic import check_new, write
from parity.commands.pool import DEVICE, check_models, set_defaults
from parity.records import command as records
from parity.report import Report, exit_status, print_report, verdict
from parity.report.brief import brief as in_brief
from parity.report.console import check_folder, load_module, only_report, save_json, say, wide_console
from parity.report.report import UNCHECKED
from parity.report.schema import unchecked

# Options of a pair of the user's alone.
PAIR_OPTIONS = ("input", "jax_input", "inputs", "layout", "accept", "html", "mapping", "save_mapping", "save_script")


def add(commands: Any) -> None:
    """Add the command."""
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
    check.add_argument(
        "--json", type=Path, metavar="FILE", help="write the reports to FILE, too; -: to standard output, alone"
    )
    check.add_argument("--brief", action="store_true", help="print at most ten lines, the same each time")
    check.set_defaults(run=run)


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
        "--accept",
        action="append",
        default=[],
        metavar="NAME",
        help="convention that is no fault: trap-1 (BatchNorm), trap-20 (dropout), trap-36 (padding_idx)",
    )
    pair.add_argument("--html", type=Path, metavar="FILE", help="write a page that shows both sources to FILE")


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit status: of a pair of the user's 2, if nothing could be compared.

    Raises:
        UserError: an argument is wrong, and no pair of the user's is named. The exit status is 1, as other commands'.
    """
    try:
        with set_defaults(DEVICE), only_report(args):  # before JAX is imported
            return run_check(args)
    except UserError as error:
        if not _names_pair(args):
            raise
        message = str(error)
    except Exception as error:  # a fault of the checker is no difference of the port
        if not _names_pair(args):
            raise
        traceback.print_exc()
        message = f"the check itself failed, please report it: {type(error).__name__}: {error}"
    sys.stderr.write(f"error: {message}\n")
    with suppress(UserError):
        check_folder(args.json)
        save_json(args.json, [unchecked(" ".join(args.names), message)])
    return UNCHECKED


def _names_pair(args: argparse.Namespace) -> bool:
    """Tell whether a pair of the user's is named, or a record."""
    return records.is_check(args) or any(":" in name for name in args.names)


def run_check(args: argparse.Namespace) -> int:
    """Check registered networks, or a pair of the user's; return the exit status."""
    if records.is_check(args):
        return records.run_check(args)
    if _names_pair(args):
        return run_pair(args)
    if any(getattr(args, name) for name in PAIR_OPTIONS):
        raise UserError(
            "--input and --mapping are for a pair of yours: check my_torch:make my_flax:make --input SHAPE"
        )
    return run_checks(args.names, args.json, full=args.full, brief=args.brief)


def run_checks(names: list[str], json_file: Path | None, *, full: bool = False, brief: bool = False) -> int:
    """Check the networks, print their tables; return the exit status."""
    suite = load_module("suite")
    check_folder(json_file)
    for name in names:
        if name not in suite.names():
            suite.check_model(name)  # raises, before the others have taken their time
    console, start, reports = wide_console(quiet=brief or _alone(json_file)), time.perf_counter(), []
    for report in check_models(names or suite.names(), full=full):
        reports.append(report)
        print_report(console, report)
    return _conclude(reports, json_file, start, brief=brief)


def run_pair(args: argparse.Namespace) -> int:
    """Check a pair of the user's, print what is found; return the exit status."""
    given = args.input or args.inputs
    if len(args.names) != 2 or not all(":" in name for name in args.names) or not given or args.full:
        raise UserError("a pair of yours is checked by: check my_torch:make my_flax:make --input SHAPE")
    check_folder(args.json)
    check_folder(args.html)
    if args.save_script:
        check_new(args.save_script)
    start, console = time.perf_counter(), wide_console(quiet=args.brief or _alone(args.json))
    report = load_module("commands.user_pair").check_pair(console, args)
    if args.html:
        write(args.html, load_module("report.page").page(report).encode())
    if args.save_script:
        console.print(load_module("compiler.script").save_script(report.fault, args.save_script))
    return _conclude([report], args.json, start, brief=args.brief)


def _alone(json_file: Path | None) -> bool:
    """Tell whether standard output is for the JSON alone."""
    return str(json_file) == "-"


def _conclude(reports: list[Report], json_file: Path | None, start: float, *, brief: bool) -> int:
    """Write the JSON, print the last lines; return the exit status."""
    save_json(json_file, [report.to_json() for report in reports])
    if brief and not _alone(json_file):
        say(in_brief(reports))
    elif not _alone(json_file):
        print(f"{verdict(reports)} ({time.perf_counter() - start:.0f} s)")
    return exit_status(reports)
