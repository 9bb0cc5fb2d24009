"""Command lines from dataclasses (tyro), with errors that are one line."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from data.errors import UserError
from data.terminal import OutputFailed

T = TypeVar("T")
FRAME = "│╭╮╰╯─ "
COLOUR = "\x1b\\[[0-9;]*m"  # of a terminal


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
        if not stop.code or isinstance(stop, OutputFailed):
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
    """Unwrap the text that tyro has put into a box: its title goes, its paragraphs are joined.

    Where standard output cannot show a box, the title is underlined instead, and a line is made of hyphens.
    """
    plain = re.sub(COLOUR, "", box)
    lines = [line for line in plain.splitlines() if not line.startswith("╭")]
    titles = [at for at, line in enumerate(lines[1:]) if re.fullmatch(" ?-+ *", line)]
    rows = [re.sub("^-+$", "", line.strip(FRAME)) for at, line in enumerate(lines) if at not in titles]
    paragraphs = " ".join(row or "\n" for row in rows).split("\n")
    return "; ".join(text.strip().rstrip(".") for text in paragraphs if text.strip())
