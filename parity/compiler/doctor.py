"""What an issue report should contain: versions, devices, flags, and what XLA computes wrong here."""

import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxnets.compiler_guard import FLAG, NAME, REPORTS
from jaxnets.environment import start_device
from parity.compiler.faults import Known, known_faults
from parity.compiler.isolated import Compiler, CrashError
from parity.report.compare import relative_error

PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "torchvision", "numpy")
# Reductions in another order than numpy's: rounding is 1e-7 and 1e-16, faults are 1e-1 and above.
LIMITS = {"float64": 1e-12, "float32": 1e-4}


class Outcome(NamedTuple):
    """What became of one known fault."""

    name: str
    dtype: str
    source: str
    error: float | None  # relative L2 norm; None after a crash
    verdict: str  # "right", "wrong", or how the process ended

    @property
    def ok(self) -> bool:
        """Whether it is computed right here."""
        return self.verdict == "right"


class Findings(NamedTuple):
    """All that `parity doctor` prints."""

    versions: dict[str, str]
    machine: str
    devices: list[str]
    settings: dict[str, str]  # environment variables that change what is computed
    guard: str
    outcomes: list[Outcome]

    @property
    def ok(self) -> bool:
        """Whether every program is computed right."""
        return all(outcome.ok for outcome in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        """Return all of it for `json.dumps`."""
        return {"ok": self.ok, **self._asdict(), "outcomes": [outcome._asdict() for outcome in self.outcomes]}


def examine() -> Findings:
    """Collect everything, and run the known faults: each where it may end the process."""
    start_device()
    versions = {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}
    machine = f"{platform.platform()}, {platform.machine()}, {os.cpu_count()} cores"
    devices = [f"{device.platform}: {device.device_kind}" for device in jax.devices()]
    settings = {name: value for name, value in sorted(os.environ.items()) if name.startswith(("XLA_", "JAX_"))}
    with Compiler(timeout=60) as compiler, _float32():
        outcomes = [_try(compiler, known) for known in known_faults()]
    return Findings(versions, machine, devices, settings, _guard(), outcomes)


def _float32() -> AbstractContextManager[Any]:
    """On an accelerator let products of float32 be that, and not TF32: its rounding is no fault of the compiler's."""
    return nullcontext() if jax.default_backend() == "cpu" else jax.default_matmul_precision("highest")


def print_findings(console: Console, found: Findings) -> None:
    """Print everything, with a last line that says whether this JAX can be trusted."""
    for line in _lines(found):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    table = Table("program", "", "error", "", "report")
    for outcome in found.outcomes:
        error = "" if outcome.error is None else f"{outcome.error:.1e}"
        verdict = Text(outcome.verdict, "green" if outcome.ok else "red")
        table.add_row(outcome.name, outcome.dtype, error, verdict, outcome.source)
    console.print(table)
    wrong = sum(not outcome.ok for outcome in found.outcomes)
    summary = f"{len(found.outcomes)} programs that some XLA computes wrong on a CPU: "
    summary += f"{wrong} wrong here{_remedy()}" if wrong else "all right here"
    console.print(summary, soft_wrap=True, highlight=False)


def _lines(found: Findings) -> Iterator[str]:
    yield ", ".join(f"{name} {number}" for name, number in found.versions.items())
    yield found.machine
    yield f"devices: {', '.join(found.devices)}"
    yield from (f"{name}={value}" for name, value in found.settings.items())
    yield f"guard: {found.guard}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _guard() -> str:
    """Return what `jaxnets.compiler_guard` does about this version."""
    jaxlib, flags = version("jaxlib"), os.environ.get("XLA_FLAGS", "")
    if jaxlib not in REPORTS:
        return f"jaxlib {jaxlib} has not been tried; the programs below are"
    if FLAG in flags.split():
        return f"on ({REPORTS[jaxlib]})"
    return "left to XLA_FLAGS, which sets the flag otherwise" if NAME in flags else "off: JAX had started before"


def _remedy() -> str:
    """Return what to do about programs that are computed wrong; the flag has an effect on CPUs alone."""
    return f"; set XLA_FLAGS={FLAG}" if jax.default_backend() == "cpu" else f", on {jax.devices()[0].device_kind}"


def _try(compiler: Compiler, known: Known) -> Outcome:
    arguments = known.arguments()
    with jax.enable_x64(known.dtype == "float64"):
        try:
            found = compiler(lambda *arrays: [known.run(*arrays)], arguments)[0]
        except CrashError as error:
            return Outcome(known.name, known.dtype, known.source, None, f"ends the process: {error}")
    right = known.right(*arguments)
    finite = np.isfinite(right)
    error = relative_error(right[finite], found[finite])
    same = bool(np.array_equal(found[~finite], right[~finite]) and error <= LIMITS[known.dtype])
    return Outcome(known.name, known.dtype, known.source, error, "right" if same else "wrong")
