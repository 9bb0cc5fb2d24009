"""Find files of the user's that hide this project's packages from `import`.

`python -m` puts the current folder first on the import path, so a file `data.py` there is imported in place of the
package `data`. `jaxnets`, `torchnets` and `parity` each have a copy of this module, because none of them can rely on
importing another package before this check.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

COMMANDS = ("jaxnets", "torchnets", "parity")  # the console scripts


def check_packages(*names: str) -> None:
    """Check that the packages `names` would be imported from the folder that holds this package.

    Raises:
        SystemExit: one would not, and a command is starting: one line on stderr, exit status 1, no traceback.
        ImportError: one would not, and the program is the user's.
    """
    for name in names:
        spec, ours = find_spec(name), Path(__file__).parents[1] / name / "__init__.py"
        if spec is None or spec.origin is None or Path(spec.origin).resolve() == ours.resolve():
            continue
        found = Path(spec.origin)
        found = found.parent if found.name == "__init__.py" else found
        text = f"{found} hides the package `{name}` of jaxnets: {_remedy(found.parent)}"
        if _command():
            raise SystemExit(f"error: {text}")
        raise ImportError(text, name=name, path=spec.origin)


def _remedy(folder: Path) -> str:
    if folder == Path.cwd() and _command() == "-m":
        return "rename it, or run `jaxnets train`, `torchnets train` or `parity check` instead of `python -m`"
    return f"rename it, or take {folder} off the import path (PYTHONPATH)"


def _command() -> str:
    """Return how a command was started: "-m" (of Python), the name of a console script, or "" for another program."""
    start = sys.argv[0] if sys.argv else ""  # "-m" until Python has found the module, whose package is imported first
    return start if start == "-m" else Path(start).stem if Path(start).stem in COMMANDS else ""
