"""What the commands share: the console, files of figures, imports as late as possible; no framework is imported."""

import argparse
import contextlib
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO

from data import UserError
from experiment.extras import needs_torch
from experiment.runs.atomic import write
from parity.report.plain import Plain

if TYPE_CHECKING:
    from rich.console import Console


def load_module(module: str) -> ModuleType:
    """Import `parity.<module>`: only now, since --help should wait for no framework, and torch may be missing."""
    try:
        return importlib.import_module(f"parity.{module}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise needs_torch("parity") from None
    except ValueError as error:  # JAX reads its environment variables as it is imported
        raise UserError(f"parity cannot be imported: {error}") from None


def wide_console(*, quiet: bool = False) -> "Console":
    """Return a console on which tables have their whole width, a quiet one prints nothing; lines without rich."""
    try:
        console = importlib.import_module("experiment.console").make_console(quiet=quiet)
    except ModuleNotFoundError:
        return Plain(quiet)  # type: ignore[return-value]
    console.width = max(console.width, 120)
    return console


@contextlib.contextmanager
def only_report(args: argparse.Namespace) -> Iterator[None]:
    """Keep standard output for the report alone, if --json - or --brief asks for it: else what is printed is shown.

    What the user's files print goes to standard error.
    """
    if not (args.brief or str(args.json) == "-"):
        yield
        return
    _outputs.append(sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _outputs.pop()


_outputs: list[TextIO] = []


def say(text: str) -> None:
    """Print a part of the report."""
    print(text, file=_outputs[-1] if _outputs else sys.stdout)


def check_folder(file: Path | None) -> None:
    """Refuse a file of results whose folder does not exist, before any work is done."""
    if file and not file.absolute().parent.is_dir():
        raise UserError(f"{file}: no such folder to write it in")


def save_json(file: Path | None, figures: Any) -> None:
    """Write figures to a file, if there is one; "-" is standard output."""
    if str(file) == "-":
        say(json.dumps(figures, indent=2))
    elif file:
        write(file, (json.dumps(figures, indent=2) + "\n").encode())


def count(text: str) -> int:
    """Read a number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 1")
    return int(text)
