"""Turn off the part of XLA:CPU that computes wrong numbers, before JAX starts.

From jaxlib 0.10.2 on, XLA hands reductions on a CPU, with what they can be fused with, to a library (YNNPACK). Several
such fusions are wrong, silently, or end the process: `python -m parity doctor` runs each known one. The flag names
what goes to the library; without a value, nothing does. XLA aborts the process on a flag that it does not know, so the
flag is set only for the versions where it was tried.

This module can go when the oldest supported jaxlib computes all programs of `parity doctor` right without it.
"""

import os
import sys
import warnings
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

NAME = "xla_cpu_experimental_ynn_fusion_type"
REDUCTIONS, ALL = "-reduce", ""  # values that keep reductions, or everything, in XLA's own code


class Version(NamedTuple):
    """What is known of a jaxlib."""

    value: str  # of the flag; each makes all programs of `parity doctor` right
    reports: str  # public ones, of what is wrong, or crashes, without the flag


# The two values were timed in 0.10.2 and 0.12.0.1 (docs/compiler.md); the others have the one that was tried there.
VERSIONS = {
    "0.10.2": Version(ALL, "jax-ml/jax 39103, 39257, 40412; openxla/xla 48714"),
    "0.11.0": Version(REDUCTIONS, "jax-ml/jax 39257; openxla/xla 48714"),
    "0.11.1": Version(REDUCTIONS, "openxla/xla 48714"),
    "0.11.2": Version(REDUCTIONS, "openxla/xla 48714"),
    "0.12.0": Version(REDUCTIONS, "openxla/xla 48714"),
    "0.12.0.1": Version(ALL, "openxla/xla 48714"),
}
REPORTS = {name: known.reports for name, known in VERSIONS.items()}
FLAG = f"--{NAME}={VERSIONS[version('jaxlib')].value if version('jaxlib') in VERSIONS else REDUCTIONS}"

# The same for a single program: `jax.jit(f, compiler_options=OWN_CODE)` is computed by XLA's own code alone.
OWN_CODE = {NAME: ALL} if version("jaxlib") in REPORTS else {}


@cache
def guard() -> None:
    """Add the flag to `XLA_FLAGS`, once, unless `XLA_FLAGS` sets it already or this jaxlib does not need it.

    XLA reads `XLA_FLAGS` once, when the first device is used. If that has happened on a CPU, or if `XLA_FLAGS` names a
    file, the flag cannot be added and one warning says what to set.
    """
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if version("jaxlib") not in REPORTS or NAME in _text(flags):
        return
    if flags and not flags.startswith("-"):
        _warn(f"add {FLAG} to the file {flags}, which XLA_FLAGS names")
    elif _is_running_on_cpu():
        _warn(f"import jaxnets or parity before JAX is used, or set XLA_FLAGS={FLAG} before Python starts")
    else:
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}".strip()


def _text(flags: str) -> str:
    """Return the flags themselves: XLA takes the name of a file in their place."""
    file = Path(flags)
    return file.read_text(errors="replace") if flags and not flags.startswith("-") and file.is_file() else flags


def _is_running_on_cpu() -> bool:
    # A module that nobody has imported has initialised nothing. JAX has no public function that asks without starting.
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized() and bridge.default_backend() == "cpu"


def _warn(remedy: str) -> None:
    jaxlib = version("jaxlib")
    text = f"jaxlib {jaxlib} computes some programs wrong on a CPU ({REPORTS[jaxlib]}): {remedy}"
    warnings.warn(text, RuntimeWarning, stacklevel=3)
