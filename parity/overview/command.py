"""The command report: one page of HTML about networks, trainings and throughput of both frameworks."""

import argparse
from pathlib import Path
from typing import Any

from data import UserError
from data.terminal import outlive
from experiment.runs.atomic import cannot_write, write
from parity.report.console import load_module

PAGE, FIGURES = "index.html", "report.json"
MARK = b'<meta name="generator" content="python -m parity report">'


def add(commands: Any) -> None:
    """Add the command."""
    report = commands.add_parser("report", help="write one page of HTML: checks, layers, trainings, throughput")
    report.add_argument(
        "runs", nargs="*", type=Path, metavar="RUN", help="run folders of both frameworks, whose curves are drawn"
    )
    report.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the page and its figures")
    what = report.add_mutually_exclusive_group()
    what.add_argument(
        "--checks", type=Path, metavar="FILE", help="JSON of `parity check --json`, or of an earlier report"
    )
    what.add_argument(
        "--networks",
        nargs="+",
        default=[],
        metavar="NAME",
        help="networks to check now (all: every network); the default is the results in benchmarks/results",
    )
    report.add_argument(
        "--bench",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="JSON of `parity bench --json`; once for each file (default: those in benchmarks/results)",
    )
    report.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    check_target(args.out)
    outlive()
    figures = load_module("overview.gather").gather(args)
    page = load_module("overview.page").page(figures).encode()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(args.out, error) from None
    write(args.out / FIGURES, load_module("overview.gather").to_bytes(figures))
    write(args.out / PAGE, page)
    for line in figures["missing"]:
        print(line)
    print(f"{args.out / PAGE}: {len(page) / 1e6:.2f} MB")
    return 0


def check_target(folder: Path) -> None:
    """Refuse a folder that cannot be written, or whose page was not written by this command.

    Raises:
        UserError: it is no folder, or holds another page.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: not a folder")
    page = folder / PAGE
    try:
        other = page.exists() and MARK not in page.read_bytes()
    except OSError as error:
        raise UserError(f"{page}: cannot be read ({error.strerror})") from None
    if other:
        raise UserError(f"{page} was not written by this command and is not overwritten; name another folder")
