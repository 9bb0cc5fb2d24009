"""What a target names in a user's files: "my_torch.py:Net(width=64)", "package.module:make"."""

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from data.errors import UserError
from data.registry import nearest
from parity.sides.faults import explained

OURS = ("data", "experiment", "jaxnets", "torchnets", "parity", "tests", "docs", "benchmarks")


def loaded(
    target: str,
    ready: Callable[[Any], bool],
    generators: Callable[[Any, dict[str, Any]], dict[str, Any]] | None = None,
) -> Any:
    """Return what a target names: itself, if it is ready, else what it returns when it is called.

    Args:
        target: file.py:name, file.py:Name(width=64) or module:name.
        ready: whether a value is what is wanted.
        generators: of random numbers that a class or a function wants beside the arguments given.

    Raises:
        UserError: the file, the name or the call is wrong; one line.
    """
    source, expression = _parts(target)
    name, args, kwargs = _call(target, expression)
    with _siblings(_folder(source)):
        value = _named(source, name, target)
        if args is None and ready(value):
            return value
        if not callable(value):
            raise UserError(f"{target}: {name} is {type(value).__name__}, which cannot be called")
        given = generators(value, kwargs) if generators else {}
        try:
            return value(*(args or ()), **kwargs, **given)
        except (Exception, SystemExit) as error:
            raise UserError(f"{target}: it cannot be called so: {explained(error)}") from error


def named(target: str) -> Any:
    """Return what a target names, before it is called; see `loaded`."""
    source, expression = _parts(target)
    with _siblings(_folder(source)):
        return _named(source, _call(target, expression)[0], target)


def _parts(target: str) -> tuple[str, str]:
    source, colon, expression = target.partition(":")
    if not colon or not source or not expression:
        raise UserError(f"{target}: expected file.py:name, file.py:Name(width=64) or module:name")
    return source, expression


def _folder(source: str) -> Path:
    return Path(source).resolve().parent if source.endswith(".py") else Path.cwd()


def _named(source: str, name: str, target: str) -> Any:
    value: Any = _imported(source, target)
    for part in name.split("."):
        if not hasattr(value, part):
            raise UserError(f"{target}: {source} has no '{part}'.{nearest(part, vars(value))}")
        value = getattr(value, part)
    return value


def parted(made: Any) -> tuple[Any, Any]:
    """Return PyTorch's inputs and JAX's of what a function of inputs has made, None if they are the same."""
    if isinstance(made, tuple | list) and len(made) == 2 and all(isinstance(m, dict | tuple | list) for m in made):
        return made[0], made[1]
    return made, None


def _call(target: str, expression: str) -> tuple[str, tuple[Any, ...] | None, dict[str, Any]]:
    """Return the name and the arguments of "Net(width=64)"; the arguments are None without brackets."""
    try:
        node = ast.parse(expression, mode="eval").body
        call = node if isinstance(node, ast.Call) else None
        name = ast.unparse(call.func if call else node)
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(name)
        if call is None:
            return name, None, {}
        args = tuple(ast.literal_eval(arg) for arg in call.args)
        kwargs = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords if k.arg}
        if len(kwargs) < len(call.keywords):
            raise ValueError("**")
    except (SyntaxError, ValueError):
        raise UserError(
            f"{target}: expected a name, with literal arguments or none: Net(width=64, norm='layer')"
        ) from None
    return name, args, kwargs


def _imported(source: str, target: str) -> ModuleType:
    try:
        if not source.endswith(".py"):
            return importlib.import_module(source)
        path = Path(source).resolve()
        if not path.is_file():
            raise UserError(f"{target}: there is no file {source}")
        # A name of its own: a user's data.py neither hides this project's package nor is hidden by it.
        name = f"_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{target}: {source} cannot be imported: {explained(error)}") from error


@contextlib.contextmanager
def _siblings(folder: Path) -> Iterator[None]:
    """Let a user's file import the files beside it.

    They are found even where they are called like a package of this project, or like a file beside another file of the
    user's. An installed package comes first, so that a user's einops.py may import einops.
    """
    hidden = [name for name in sys.modules if "." not in name and _is_beside(folder, name)]
    put_aside = {n: m for n, m in sys.modules.items() if n.partition(".")[0] in hidden}
    for name in put_aside:
        del sys.modules[name]
    sys.path.insert(0 if hidden else len(sys.path), str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        _folders.add(folder)
        for name in [n for n in sys.modules if n.partition(".")[0] in hidden]:
            del sys.modules[name]
        sys.modules.update(put_aside)


_folders: set[Path] = set()  # whose files have been loaded


def _is_beside(folder: Path, name: str) -> bool:
    """Return whether a folder has a file of this name that another one, of ours or of the user's, stands for."""
    if not ((folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()):
        return False
    file = getattr(sys.modules[name], "__file__", None)
    home = Path(file).resolve().parent if file else None
    home = home.parent if home and home.name == name else home
    return home is not None and home != folder and (name in OURS or home in _folders)
