"""Command lines from dataclasses (tyro), with errors that are one line."""

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from data.errors import UserError

T = TypeVar("T")
FRAME = "│╭╮╰╯─ "


def parse_arguments(kind: type[T], argv: Sequence[str], prog: str, default: T | None = None) -> T:
    """Make a `kind`, a dataclass, from a command line; --help prints and exits.

    Raises:
        UserError: an option is unknown, incomplete or of the wrong type.
    """
    errors = io.StringIO()
    options: Any = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(errors):
            flags: Any = tyro.conf.configure(tyro.conf.FlagCreatePairsOff)(kind)
            words = [word for word in argv if word.replace("_", "-") not in _said_already(kind, default)]
            return tyro.cli(flags, args=words, prog=prog, description=kind.__doc__, **options)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(_one_line(errors.getvalue())) from None


def _said_already(kind: Any, default: Any) -> set[str]:
    """Return the flags that say what is the default anyway, such as --tf32 for a run that has it; tyro has no such."""
    flags = set()
    for field in dataclasses.fields(kind):
        value = field.default if default is None else getattr(default, field.name)
        if isinstance(value, bool):
            flags.add(f"--{'' if value else 'no-'}{field.name.replace('_', '-')}")
    return flags


def _one_line(box: str) -> str:
    """Unwrap the text that tyro has put into a box: its title goes, its paragraphs are joined."""
    rows = [line.strip(FRAME) for line in box.splitlines() if not line.startswith("╭")]
    paragraphs = " ".join(row or "\n" for row in rows).split("\n")
    return "; ".join(text.strip().rstrip(".") for text in paragraphs if text.strip())
