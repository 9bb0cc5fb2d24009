"""Which files are twins: a network's, found by the registry, and every other that both packages have."""

import ast
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jaxnets
import torchnets
from data.registry import unknown
from experiment.registry import Entry
from parity.checks.small import names as network_names

JAX, TORCH = "jaxnets", "torchnets"
FOLDERS = {side.__name__: Path(side.__file__ or "").resolve().parent for side in (jaxnets, torchnets)}


class Twin(NamedTuple):
    """Two files that do the same, one in each framework."""

    name: str  # of the network, or of the file
    jax: Path
    torch: Path
    entry: Entry | None = None  # of a network

    @property
    def page(self) -> str:
        """Return the name of its page."""
        return f"{self.name}.html"

    @property
    def subject(self) -> str:
        """Return the first line of the file's docstring."""
        words = ast.get_docstring(ast.parse(self.jax.read_text(encoding="utf-8"))) or ""
        return words.partition("\n")[0]


def networks() -> dict[str, Twin]:
    """Return every network that both sides have, by name."""
    files = {side: _files_of_networks(side) for side in (JAX, TORCH)}
    return {
        name: Twin(name, files[JAX][name], files[TORCH][name], torchnets.MODELS[name])
        for name in network_names()
        if all(name in files[side] for side in files)
    }


def shared_files() -> dict[str, Twin]:
    """Return every other file that both packages have, by its name without suffix."""
    stems = {side: {path.stem for path in folder.glob("*.py")} for side, folder in FOLDERS.items()}
    common = sorted(stem for stem in stems[JAX] & stems[TORCH] if not stem.startswith("_"))
    return {stem: Twin(stem, FOLDERS[JAX] / f"{stem}.py", FOLDERS[TORCH] / f"{stem}.py") for stem in common}


def find(names: Sequence[str]) -> list[Twin]:
    """Return the twins of these names, each once; of no names, all: the networks first.

    Raises:
        UserError: there is no such name.
    """
    known = networks()
    known |= {name: twin for name, twin in shared_files().items() if name not in known}
    for name in names:
        if name not in known:
            raise unknown("network or file", name, known)
    return [known[name] for name in dict.fromkeys(names or known)]


def _files_of_networks(side: str) -> dict[str, Path]:
    paths = sorted(path for path in (FOLDERS[side] / "models").glob("*.py") if not path.stem.startswith("_"))
    modules = {path: importlib.import_module(f"{side}.models.{path.stem}") for path in paths}
    return {name: path for path, module in modules.items() for name in module.MODELS}
