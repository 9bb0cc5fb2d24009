"""Write a small program down as a Python script that needs JAX and numpy alone, to be sent to JAX's tracker."""

import enum
import io
import itertools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Primitive, primitives

from experiment.runs.atomic import write_new
from parity.compiler.program import Constant, Equation, Program, Values, as_array
from parity.report import CompilerFault

NAME = "fault.py"  # of a script that has not been given a name yet
TIMEOUT = 120  # seconds
# What f is compared with: each operation by itself; where a single one is wrong, f compiled without XLA's passes.
REFERENCES = (
    ("with jax.disable_jit():", "    right = f(*args)"),
    ('right = jax.jit(f, compiler_options={"xla_disable_all_hlo_passes": True})(*args)',),
)


class Script(NamedTuple):
    """A script, and what it printed when it was run by itself."""

    text: str
    arrays: dict[str, np.ndarray]  # to be saved beside it as FILE.npz; empty if random inputs show the fault
    printed: str
    shows: bool  # whether the run showed the fault


def write_script(program: Program, values: Values, limit: float) -> Script:
    """Return a script that shows the fault: with random inputs if these show it, else with those given.

    Args:
        program: a part that the compiler gets wrong.
        values: of its inputs.
        limit: of the relative difference, from which on the fault is shown.

    Raises:
        ValueError: an equation cannot be written in Python.
    """
    script = Script("", {}, "", False)
    arrays = {f"v{number}": as_array(values[number]) for number in program.inputs}
    for given, reference in itertools.product(({}, arrays), REFERENCES):
        text = _text(program, values, limit, reference, f"{NAME}.npz" if given else "")
        printed, shows = _run(text, given)
        script = Script(text, given, printed, shows)
        if shows:
            break
    return script


def save_script(fault: CompilerFault | None, file: Path) -> str:
    """Write a fault's script to a new file, and its inputs beside it if it needs them; return a line that says so.

    Raises:
        UserError: the file exists, or cannot be written.
    """
    if fault is None or not fault.script:
        return f"{file} is not written: no fault of the compiler that a script can show was found"
    write_new(file, fault.script.replace(NAME, file.name).encode())
    if fault.arrays:
        write_new(file.with_name(f"{file.name}.npz"), _archive(fault.arrays))
    return f"{file} is written: python {file} shows what the compiler gets wrong"


def _archive(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _text(program: Program, values: Values, limit: float, reference: Sequence[str], archive: str) -> str:
    names = [f"v{number}" for number in program.inputs]
    body = [_line(equation) for equation in program.equations]
    results = ", ".join(f"v{number}" for number in program.outputs)
    if archive:
        arguments = [f'args = [np.load("{archive}")[name] for name in {names}]']
    else:
        drawn = ", ".join(_random(as_array(values[number])) for number in program.inputs)
        arguments = ["rng = np.random.default_rng(0)", f"args = [{drawn}]"]
    lines = "; ".join(dict.fromkeys(equation.line for equation in program.equations))
    flags = os.environ.get("XLA_FLAGS", "")
    return "\n".join(
        [
            f'"""jaxlib {version("jaxlib")} computes f wrong under jax.jit, with XLA_FLAGS="{flags}". From {lines}"""',
            "import jax, numpy as np",
            *(["from jax import lax"] if any("lax." in line for line in body) else []),
            "from jax.extend.core import primitives",
            'jax.config.update("jax_enable_x64", True)',
            f"def f({', '.join(names)}):",
            *(f"    {line}" for line in body),
            f"    return [{results}]",
            *arguments,
            *reference,
            "for r, g in zip(right, jax.jit(f)(*args)):",
            "    r, g = np.asarray(r, float), np.asarray(g, float)",
            f"    least = {limit:g} * np.abs(r[np.isfinite(r)]).max(initial=0)",
            f"    far = ~np.isclose(g, r, {limit:g}, least, equal_nan=True)",
            '    print(far.sum(), "of", far.size, "elements are wrong:", g[far][:3], "should be", r[far][:3])',
            "",
        ]
    )


def _run(text: str, arrays: dict[str, np.ndarray]) -> tuple[str, bool]:
    with tempfile.TemporaryDirectory(prefix="parity-script-") as name:
        folder = Path(name)
        (folder / "script.py").write_text(text, encoding="utf-8")
        if arrays:
            (folder / f"{NAME}.npz").write_bytes(_archive(arrays))
        command = [sys.executable, "-P", "script.py"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            return f"no result after {TIMEOUT} s", True
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}", True
    if done.returncode:
        return (done.stderr.strip().splitlines() or [""])[-1], False
    return done.stdout.strip(), any(map(int, re.findall(r"(\d+) of \d+ elements are wrong", done.stdout)))


def _line(equation: Equation) -> str:
    results = ", ".join(f"v{number}" for number in equation.outputs)
    given = ", ".join(_source(s.value) if isinstance(s, Constant) else f"v{s}" for s in equation.inputs)
    params = ", ".join(f"{name}={_source(value)}" for name, value in equation.params.items())
    call = f"{_primitive(equation.primitive)}.bind({', '.join(filter(None, (given, params)))})"
    return f"{results}, = {call}" if equation.primitive.multiple_results else f"{results} = {call}"


def _primitive(primitive: Primitive) -> str:
    for module, name in ((primitives, "primitives"), (jax.lax, "lax")):
        for attribute, value in vars(module).items():
            if value is primitive:
                return f"{name}.{attribute}"
    raise ValueError(f"the operation {primitive.name} has no public name")


def _source(value: Any) -> str:
    """Return Python's source of a parameter.

    Raises:
        ValueError: it has none, such as a loop's body.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, enum.Enum):
        return f"lax.{type(value).__name__}.{value.name}"
    if isinstance(value, np.dtype):
        return f'np.dtype("{value.name}")'
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray | jax.Array) and value.ndim == 0):
        array = np.asarray(value)
        text = repr(array.item()) if np.isfinite(array) else f'float("{array.item()}")'
        return text if isinstance(value, np.integer) else f"np.{array.dtype.name}({text})"
    if (
        isinstance(value, tuple)
        and (names := getattr(value, "_fields", ()))
        and hasattr(jax.lax, type(value).__name__)
    ):
        fields = ", ".join(f"{name}={_source(part)}" for name, part in zip(names, value, strict=True))
        return f"lax.{type(value).__name__}({fields})"
    if type(value) in (tuple, list):
        inner = ", ".join(map(_source, value))
        return f"({inner}{',' if len(value) == 1 else ''})"
    raise ValueError(f"a parameter of the kind {type(value).__name__} cannot be written in a script")


def _random(array: np.ndarray) -> str:
    shape = tuple(array.shape)
    if np.issubdtype(array.dtype, np.bool_):
        return f"rng.random({shape}) < 0.5"
    if np.issubdtype(array.dtype, np.integer):
        return f"np.zeros({shape}, {array.dtype.name!r})"
    return f"rng.normal(size={shape}).astype({array.dtype.name!r})"
