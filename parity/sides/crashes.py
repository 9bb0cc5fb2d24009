"""Errors of a side that arise in training mode alone."""

import dis
import re
import traceback
from types import TracebackType
from typing import NamedTuple

from parity.sides.faults import explained
from parity.trace.lines import Line, belongs_to_user, short_file

REASON = re.compile(r"train|inference|evaluat|\beval\b", re.IGNORECASE)


class Crash(NamedTuple):
    """What a side raises in training mode."""

    words: str  # "TypeError at my_torch.py:12: unsupported operand"
    line: Line | None  # the user's
    refused: bool = False  # on purpose: the module says that it cannot be trained, or not with these inputs

    @property
    def short(self) -> str:
        """Return the words without the folders of files."""
        return re.sub(r" at (\S+):(\d+)", lambda found: f" at {short_file(found[1])}:{found[2]}", self.words)


def crash_of(error: BaseException) -> Crash:
    """Return what an error says, and the innermost line of the user's at which it arises."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if belongs_to_user(frame.filename)]
    line = Line(frames[-1].filename, frames[-1].lineno or 0, frames[-1].name) if frames else None
    reason = isinstance(error, NotImplementedError) or REASON.search(str(error))
    return Crash(explained(error), line, bool(reason and _is_raised(error.__traceback__)))


def _is_raised(trace: TracebackType | None) -> bool:
    """Tell whether an error comes from a `raise` or `assert` of Python code, not from an operation that fails."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    code = trace.tb_frame.f_code.co_code
    return dis.opname[code[trace.tb_lasti]] == "RAISE_VARARGS"
