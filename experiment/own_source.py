"""Importing a file of the user's under a private name.

A file called like an installed package (`data.py`, `torch.py`) neither hides that package nor is hidden by it. The
files beside it are importable while it is being imported, and forgotten afterwards, so that two folders may each have
a `layers.py`. A file that has changed is imported anew.
"""

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from data.errors import UserError

NOT_OWN = re.compile("site-packages|<frozen|/lib/python3|/experiment/own_")
PACKAGES = ("data", "experiment", "jaxnets", "torchnets", "parity")


class Loaded(NamedTuple):
    """An imported module."""

    module: ModuleType
    sources: dict[Path, str]  # the SHA-256 of its file, and of those beside it that it has imported


_loaded: dict[Path, Loaded] = {}


def load(source: str, target: str) -> Loaded:
    """Import "my_net.py" or "package.module"; `target` is named in errors.

    Raises:
        UserError: there is no such file or module, or it raises an error itself.
    """
    try:
        return _load_file(Path(source).expanduser(), target) if source.endswith(".py") else _load_module(source)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise UserError(f"{target}: {source} cannot be imported, {where(error)}{_advice(source, error)}") from None


def _load_file(given: Path, target: str) -> Loaded:
    path = given.resolve()
    if not path.is_file():
        raise UserError(f"{target}: there is no file {path}")
    found = _loaded.get(path)
    if found and all(file.is_file() and digest(file) == before for file, before in found.sources.items()):
        return found
    package, stem = _package(path.parent), re.sub(r"\W", "_", path.stem)
    for old in [old for old in sys.modules if old.startswith(f"{package}.")]:
        del sys.modules[old]  # they may have changed
    name = f"{package}.{stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    with _beside(path.parent, package) as others:
        sys.modules[name] = module  # dataclasses, which Linen's modules are, look their module up
        try:
            # Compiled here: Python's cache of compiled files overlooks two changes in one second.
            exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
    sources = {path: digest(path)} | {file: digest(file) for file in others}
    _loaded[path] = Loaded(module, sources)
    return _loaded[path]


def _load_module(source: str) -> Loaded:
    """Import a module that is installed or lies below the current folder."""
    here = [] if str(Path.cwd()) in sys.path or "" in sys.path else [str(Path.cwd())]
    sys.path += here
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(source)
    finally:
        for folder in here:
            sys.path.remove(folder)
    file = Path(module.__file__ or "")
    return Loaded(module, {file: digest(file)} if file.is_file() else {})


def _package(folder: Path) -> str:
    """Return the private package of a folder, in which `from .layers import Block` finds the files of the folder."""
    name = f"_own_{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"
    if name not in sys.modules:
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return name


@contextmanager
def _beside(folder: Path, package: str) -> Iterator[list[Path]]:
    """Make the files of a folder importable; yield the list of those that were imported, filled at the end."""
    found: list[Path] = []
    path, before = list(sys.path), dict(sys.modules)
    here = [entry for entry in path if entry in ("", str(Path.cwd())) and Path(entry).resolve() != folder]
    sys.path[:] = [entry for entry in path if entry not in here and Path(entry or ".").resolve() != folder]
    installed = list(sys.path)
    sys.path += [str(folder), *here]
    hidden = {name for name in _names(folder) if name in before and not _is_installed(name, installed)}
    for name in [name for name in before if name.partition(".")[0] in hidden]:
        del sys.modules[name]
    importlib.invalidate_caches()
    try:
        yield found
    finally:
        sys.path[:] = path
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if before.get(name) is not module and file and folder in Path(file).resolve().parents:
                found.append(Path(file).resolve())
                _make_private(name, module, package)
        sys.modules.update({name: module for name, module in before.items() if name.partition(".")[0] in hidden})


def _make_private(name: str, module: ModuleType, package: str) -> None:
    """Register a module of the user's in the private package alone."""
    if name.startswith(f"{package}."):
        return
    del sys.modules[name]
    private = f"{package}.{name}"
    sys.modules[private] = module
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == name:
            value.__module__ = private  # where dataclasses look the annotations of a class up


def _names(folder: Path) -> set[str]:
    try:
        return {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    except OSError:
        return set()


def _is_installed(name: str, path: list[str]) -> bool:
    known = name in PACKAGES or name in sys.stdlib_module_names or name == "__main__"
    return known or PathFinder.find_spec(name, path) is not None


def digest(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def where(error: BaseException) -> str:
    """Return an error in one line, with the line of the user's code in which it occurred."""
    text = " ".join(str(error).split())[:300]
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__} at {error.filename}:{error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return f"{type(error).__name__}: {text}"
    own = [frame for frame in frames if not NOT_OWN.search(frame.filename)]
    frame = own[-1] if own else frames[-1]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno}: {text}"


def _advice(source: str, error: BaseException) -> str:
    file = Path(source.replace(".", "/") + ".py")
    return f"; or name the file: {file}" if isinstance(error, ImportError) and file.is_file() else ""
