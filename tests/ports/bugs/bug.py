"""A planted bug: an edit of one file of a pair, and the two lines at which the sides part.

`torch_lines` and `jax_lines` are texts, each on one line of the file after the edit. The first is the line
at fault; the others are as good: where a wrong table meets the data, or the next line, where something
is left out. `word` (in any case) is to be in the diagnosis; "" asks for none. `backward`: only gradients are wrong.
`permuted`: right again if whole blocks or rows of some weights were put in another order, which no usual conversion
does; a checker whose rules permute has to name the permutation.
"""

from pathlib import Path
from typing import NamedTuple

from tests.ports import FOLDER


class Bug(NamedTuple):
    """One planted bug."""

    name: str
    pair: str
    side: str  # "torch" or "jax"
    edits: tuple[tuple[str, str], ...]  # (old, new); each old text occurs once
    torch_lines: tuple[str, ...]
    jax_lines: tuple[str, ...]
    word: str = ""
    backward: bool = False
    permuted: bool = False

    def write(self, folder: Path) -> None:
        """Write both files of the pair, one of them edited."""
        for side in ("torch", "jax"):
            text = (FOLDER / f"{self.pair}_{side}.py").read_text()
            for old, new in self.edits if side == self.side else ():
                assert text.count(old) == 1, f"{self.name}: {text.count(old)} times {old!r}"
                text = text.replace(old, new)
            for snippet in self.torch_lines if side == "torch" else self.jax_lines:
                assert "\n" not in snippet
                assert text.count(snippet) == 1, f"{self.name}: {text.count(snippet)} times {snippet!r} in {side}"
            (folder / f"{self.pair}_{side}.py").write_text(text)


def jax_bug(
    name: str, old: str, new: str, torch_lines: str | tuple[str, ...], jax_lines: str | tuple[str, ...], word: str = ""
) -> Bug:
    """An edit of the JAX file; the pair is the first word of the name."""
    return Bug(name, name.split("-")[0], "jax", ((old, new),), _lines(torch_lines), _lines(jax_lines), word)


def torch_bug(
    name: str, old: str, new: str, torch_lines: str | tuple[str, ...], jax_lines: str | tuple[str, ...], word: str = ""
) -> Bug:
    """An edit of the PyTorch file."""
    return jax_bug(name, old, new, torch_lines, jax_lines, word)._replace(side="torch")


def _lines(text: str | tuple[str, ...]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def backward(bug: Bug) -> Bug:
    """The forward pass is right, the gradient is not."""
    return bug._replace(backward=True)


def permuted(bug: Bug) -> Bug:
    """The bug is a permutation of weights, too."""
    return bug._replace(permuted=True)
