"""The sizes of the pictures of a folder, from their headers."""

import os
import warnings
from collections import Counter
from pathlib import Path

from PIL import Image

from data.pictures import FORMATS, SUFFIXES, orientation


def picture_sizes(folder: Path) -> "Counter[tuple[int, int]]":
    """Return how many pictures in a folder have each (height, width), as they are seen.

    Those that cannot be read are left out: reading them as data says why.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith(".") and (size := _size(Path(place, name))):
                sizes[size] += 1
    return sizes


def _size(path: Path) -> tuple[int, int] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                on_its_side = orientation(image) >= 5
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return (width, height) if on_its_side else (height, width)
