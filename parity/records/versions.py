"""The versions of what a record depends on."""

import platform
from importlib.metadata import PackageNotFoundError, version


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, of numpy, of this project if it is installed, and of packages."""
    found = {"Python": platform.python_version()}
    for name in ("jaxnets", "numpy", *packages):
        try:
            found["parity" if name == "jaxnets" else name] = version(name)
        except PackageNotFoundError:
            continue
    return found
