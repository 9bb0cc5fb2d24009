"""One line for what goes wrong in code of the user's: what it is, where in the user's files, what to do."""

import contextlib
import inspect
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

OWN = Path(__file__).resolve().parents[1]  # this package
LIBRARIES = re.compile(
    r"/(site|dist)-packages/(jax|jaxlib|flax|torch|equinox|haiku|numpy|jaxtyping|einops|typeguard|beartype)/"
    r"|/lib/python3\.\d+/(?!site-packages|dist-packages)|^<|frozen "
)


def place(trace: TracebackType | None) -> str:
    """Return " at file.py:12", the innermost frame that is the user's, or else a library's; "" if there is none."""
    frames = [f for f in traceback.extract_tb(trace) if OWN not in Path(f.filename).parents]
    users = [f for f in frames if not LIBRARIES.search(f.filename)]
    chosen = (users or frames or [None])[-1]
    return f" at {chosen.filename}:{chosen.lineno}" if chosen else ""


def explained(error: BaseException) -> str:
    """Return one line: what an error of a user's module means, and where it arises."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"SyntaxError at {error.filename}:{error.lineno}: {error.msg}"
    text = " ".join(NOISE.split(str(error))[0].split())
    kind = type(error).__name__
    remedy = next((words for test, words in REMEDIES if re.search(test, f"{kind}: {text}")), "")
    words = f"{kind}{place(error.__traceback__)}: {text if len(text) <= 300 else text[:297] + '...'}"
    return f"{remedy} ({words})" if remedy else words


def described(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return what a callable takes and what it is given: "forward(x, mask) is given (5, 3) float64"."""
    given = [_of_array(a) for a in args] + [f"{name}={_of_array(a)}" for name, a in kwargs.items()]
    function = function[0] if isinstance(function, tuple) and function and callable(function[0]) else function
    name = getattr(function, "__name__", type(function).__name__)
    with contextlib.suppress(TypeError, ValueError):
        words = [str(p).partition(":")[0] for p in inspect.signature(function).parameters.values()]
        name += f"({', '.join(words[:8])}{', ...' if words[8:] else ''})"
    return f"{name}{_defined(function)} is given {', '.join(given) or 'nothing'}"


def _defined(function: Any) -> str:
    """Return " of file.py:12", where a callable is defined, if that is in a file of the user's."""
    own = function if inspect.isroutine(function) else type(function).__call__ if callable(function) else function
    code = getattr(inspect.unwrap(own), "__code__", None)
    if code is None or LIBRARIES.search(code.co_filename) or OWN in Path(code.co_filename).parents:
        return ""
    return f" of {code.co_filename}:{code.co_firstlineno}"


def _of_array(value: Any) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if hasattr(value, "shape") else repr(value)[:40]


NOISE = re.compile(r"The error occurred while tracing|\n-{10,}|See https?://|For more information|\(https?://")

# What the messages of the frameworks mean; the first that fits is said.
REMEDIES = (
    (
        r"TracerBoolConversionError|TracerIntegerConversionError|TracerArrayConversionError|ConcretizationTypeError"
        r"|NonConcreteBooleanIndexError",
        "the JAX module decides in Python by a value that is known only when it runs (an `if`, a loop, or numpy on a "
        "traced array): use jnp, jnp.where or jax.lax.cond",
    ),
    (
        r"InvalidRngError|needs PRNG|key is required|requires a key|`key` when|rngs? is required|RngError",
        "the module wants a generator of random numbers",
    ),
    (r"unhashable type", "an attribute of the module cannot be hashed: make it a tuple, or a flax.core.FrozenDict"),
    (r"missing \d+ required (positional|keyword-only) arguments?", "too few inputs"),
    (
        r"takes (from \d+ to )?\d+ positional arguments? but \d+"
        r"|got an unexpected keyword argument|multiple values for",
        "too many inputs, or another name",
    ),
    (r"'NoneType' object has no attribute '(ndim|shape|dtype|size|reshape)'", "an input that is needed is not given"),
)
