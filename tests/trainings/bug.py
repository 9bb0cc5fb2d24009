"""Bugs planted in the trainings of this folder: one edit of one file, the stage at which the sides part.

`word` (in any case) is to be in the diagnosis; "" asks for none. `step` is the first at which the stage differs.
"""

from pathlib import Path
from typing import NamedTuple

from tests.trainings import FOLDER


class Bug(NamedTuple):
    """One planted bug."""

    name: str  # the pair is its first word
    old: str
    new: str
    stage: str
    word: str = ""
    side: str = "jax"
    step: int = 1

    @property
    def pair(self) -> str:
        """Return the name of the pair that it is planted in."""
        return self.name.split("-")[0]

    def lines(self) -> range:
        """Return the numbers of the lines that the edit is in."""
        text = (FOLDER / f"{self.pair}_{self.side}.py").read_text()
        first = text[: text.index(self.old)].count("\n") + 1
        return range(first, first + max(self.old.count("\n"), self.new.count("\n")) + 1)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write both files of the pair, one of them edited."""
        written = []
        for side in ("torch", "jax"):
            text = (FOLDER / f"{self.pair}_{side}.py").read_text()
            if side == self.side:
                assert text.count(self.old) == 1, f"{self.name}: {text.count(self.old)} times {self.old!r}"
                text = text.replace(self.old, self.new)
            written.append(folder / f"{self.name.replace('-', '_')}_{side}.py")
            written[-1].write_text(text)
        return written[0], written[1]
