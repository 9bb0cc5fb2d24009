"""The command twins: pages with both files of a network in two columns."""

import argparse
from pathlib import Path
from typing import Any

from parity.commands.pool import DEVICE, set_defaults
from parity.report.console import load_module
from parity.twins import write


def add(commands: Any) -> None:
    """Add the command."""
    twins = commands.add_parser("twins", help="write pages with the two files of a network side by side")
    twins.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="networks, or files that both packages have, such as step, optimizers, losses, loop; by default all",
    )
    twins.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the pages; index.html first")
    twins.add_argument(
        "--measurements",
        type=Path,
        metavar="FILE",
        help="JSON file of the layers' errors, read and kept up to date (default: DIR/measurements.json)",
    )
    twins.add_argument("--no-measure", action="store_true", help="show no errors: nothing is computed")
    twins.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the pages, print where they are; return 0."""
    with set_defaults(DEVICE):  # before JAX is imported
        load_module("suite")  # says what is missing, if anything is
        pages = write(
            args.names,
            args.out,
            measure=not args.no_measure,
            measurements=args.measurements,
            say=lambda line: print(line, flush=True),
        )
    print(f"{len(pages)} pages: {pages[0]}")
    return 0
