"""Command lines from dataclasses (tyro), with errors that are one line."""

import contextlib
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
            return tyro.cli(flags, args=list(argv), prog=prog, description=kind.__doc__, **options)
    except SystemExit as stop:
        if not stop.code or isinstance(stop, OutputFailed):
            raise
        raise UserError(_one_line(errors.getvalue())) from None


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
