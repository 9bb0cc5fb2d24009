"""Lines of the user's code: the innermost frame that belongs to no framework."""

import linecache
import sys
import sysconfig
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import NamedTuple

# Packages whose frames say nothing about a port: the user's line is the one that calls them.
FRAMEWORKS = frozenset(
    [
        "torch",
        "jax",
        "jaxlib",
        "flax",
        "haiku",
        "equinox",
        "jaxtyping",
        "optax",
        "chex",
        "einops",
        "numpy",
        "functorch",
    ]
)
HERE = Path(__file__).resolve().parents[1]
STDLIB = Path(sysconfig.get_path("stdlib")).resolve()


class Line(NamedTuple):
    """A line of a source file."""

    file: str
    number: int
    function: str = ""
    written: str = ""  # what a record says that it is: the file is not on this machine

    @property
    def text(self) -> str:
        """Return the line as it is written, without its indentation."""
        if self.written:
            return self.written.strip()
        return linecache.getline(self.file, self.number).strip()

    @property
    def place(self) -> str:
        """Return "file.py:12"."""
        return f"{short_file(self.file)}:{self.number}"

    def __str__(self) -> str:
        return self.place + (f" `{self.text}`" if self.text else "")


@lru_cache(maxsize=4096)
def belongs_to_user(file: str) -> bool:
    """Tell whether a file is neither a framework's, nor Python's own, nor one of the checker's."""
    if file.startswith("<"):
        return False
    path = Path(file).resolve()
    if HERE in path.parents:
        return False
    parts = path.parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts:
            return parts[len(parts) - parts[::-1].index(folder)] not in FRAMEWORKS
    # Packages may be imported from a plain folder, too.
    return STDLIB not in path.parents and not any(name in parts[:-1] for name in ("flax", "torch", "jax", "equinox"))


def line_of_stack(frame: FrameType | None = None) -> Line | None:
    """Return the innermost line of the user's on the stack, from the caller's frame on."""
    frame = frame or sys._getframe(1)
    while frame is not None:
        if belongs_to_user(frame.f_code.co_filename):
            return Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return None


def line_of_frames(frames: Iterable[tuple[str, int, str]]) -> Line | None:
    """Return the first of (file, line, function), the innermost first, that is the user's."""
    return next((Line(*frame) for frame in frames if belongs_to_user(frame[0])), None)


def short_file(file: str) -> str:
    """Return the part of a path that people look for: below the working folder or the installed packages."""
    path = Path(file)
    parts = path.parts
    if "site-packages" in parts:
        return "/".join(parts[parts.index("site-packages") + 1 :])
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return path.name
