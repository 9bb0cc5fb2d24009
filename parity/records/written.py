"""What a recording says of itself."""

from pathlib import Path
from typing import NamedTuple

LIMIT = 32_768  # numbers of a value; of what has more, a fingerprint is kept


class Written(NamedTuple):
    """What was recorded."""

    path: Path
    size: int  # bytes
    operations: int
    values: int
    fingerprints: int
    words: str  # the layout of the inputs
    warning: str = ""  # what a check of training mode will not find here

    def __str__(self) -> str:
        more = f", {self.fingerprints} of them as fingerprints" if self.fingerprints else ""
        size = f"{self.size / 1e6:.1f} MB" if self.size < 1e9 else f"{self.size / 1e9:.2f} GB"
        text = f"{self.path}: {self.operations} operations, {self.values} values{more}, {size}"
        return "; ".join(filter(None, (text, self.warning)))


MOST = 1e9  # bytes of a training's steps


class WrittenTraining(NamedTuple):
    """What was recorded of a training."""

    path: Path
    size: int  # bytes
    steps: int
    notes: list[str]

    def __str__(self) -> str:
        size = f"{self.size / 1e6:.1f} MB" if self.size < 1e9 else f"{self.size / 1e9:.2f} GB"
        return "; ".join([f"{self.path}: {self.steps} steps, {size}", *self.notes])


def shortened(steps: int, wanted: int, most: float) -> list[str]:
    """Return what is said of steps that were left out."""
    return [f"{steps} of {wanted} steps: more are larger than {most / 1e9:g} GB"] if steps < wanted else []
