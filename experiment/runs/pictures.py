"""Drawing the pictures of a run: whatever fails there is a warning, as the run is complete without them."""

import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from data.errors import UserError
from data.terminal import printable
from experiment.runs import atomic

Picture = Callable[[], bytes]  # draws a PNG


def write_pictures(folder: Path, pictures: Mapping[str, Picture]) -> None:
    """Draw and write pictures, by the names of their files; print one warning if some cannot be."""
    failed: dict[str, str] = {}
    for name, picture in pictures.items():
        try:
            atomic.write(folder / name, draw(picture))
        except Exception as error:  # of the disk, the memory, the fonts, a matplotlib that is missing or broken
            failed[name] = in_one_line(error)
    if failed:
        reasons = "; ".join(dict.fromkeys(failed.values()))
        print(printable(f"warning: {' and '.join(failed)} not drawn, all else is saved: {reasons}"), file=sys.stderr)


def draw(picture: Picture) -> bytes:
    """Return a picture, drawn without matplotlib's own warnings: of a folder that is read-only, of a glyph."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return picture()
    finally:
        logger.setLevel(level)


def draw_or_refuse(path: Path, picture: Picture) -> bytes:
    """Return a picture that is asked for in so many words.

    Raises:
        UserError: it cannot be drawn.
    """
    try:
        return draw(picture)
    except Exception as error:
        raise UserError(f"{path}: cannot be drawn ({in_one_line(error)})") from None


def in_one_line(error: Exception) -> str:
    """Return what an error says, in one short line."""
    words = " ".join(str(error).split())
    if isinstance(error, UserError):
        return words
    return f"{type(error).__name__}: {words[:200]}" if words else type(error).__name__
