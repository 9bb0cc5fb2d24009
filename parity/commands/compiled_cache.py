"""Compiled programs are kept in the user's cache folder: a second check of a pair compiles what has changed.

JAX finds a program by its content, with the options and versions that it was compiled with. What a file of the user's,
or one that it imports, makes of the program is part of that content, so nothing kept is ever out of date.
"""

import hashlib
import os
import platform
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import jax

LARGEST = 1 << 30  # bytes; what was not used for longest goes first
OWN = "JAX_COMPILATION_CACHE_DIR"  # whoever sets this wants to decide
OFF = "PARITY_CACHE"  # "0" keeps nothing


def keep_compiled() -> None:
    """Let JAX keep compiled programs, unless the user has said otherwise or the folder cannot be written."""
    if OWN in os.environ or os.environ.get(OFF) == "0":
        return
    folder = cache_folder()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        return
    options = {"compilation_cache_dir": str(folder), "compilation_cache_max_size": LARGEST}
    for name, value in {**options, "persistent_cache_min_compile_time_secs": 0.0}.items():
        jax.config.update(f"jax_{name}", value)
        os.environ[f"JAX_{name.upper()}"] = str(value)  # of the processes that compile for the check `compiled`


def cache_folder() -> Path:
    """Return the folder: jaxnets/compiled in $XDG_CACHE_HOME or ~/.cache, one for each kind of CPU and version."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    caches = Path(home) if Path(home).is_absolute() else Path("~/.cache").expanduser()
    # A program compiled for one CPU may use instructions that another one does not have.
    kind = hashlib.sha256(f"{version('jaxlib')} {platform.machine()} {_features()}".encode()).hexdigest()[:12]
    return caches / "jaxnets" / "compiled" / kind


def _features() -> str:
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return platform.processor()
