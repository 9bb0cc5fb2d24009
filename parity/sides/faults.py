"""One line for what goes wrong in code of the user's: what it is, where in the user's files, what to do."""

import re
import traceback
from pathlib import Path
from types import TracebackType

import jax
from flax import errors

OWN = Path(__file__).resolve().parents[1]  # this package
LIBRARIES = re.compile(
    r"/(site|dist)-packages/(jax|jaxlib|flax|torch|equinox|haiku|numpy|jaxtyping|einops|typeguard|beartype)/"
    r"|/lib/python3\.\d+/(?!site-packages|dist-packages)|^<|frozen "
)


def place(trace: TracebackType | None) -> str:
    """Return "file.py:12" of the innermost frame that is the user's, or the innermost one."""
    frames = traceback.extract_tb(trace)
    users = [f for f in frames if not LIBRARIES.search(f.filename) and OWN not in Path(f.filename).parents]
    chosen = users[-1] if users else frames[-1] if frames else None
    return f"{chosen.filename}:{chosen.lineno}" if chosen else "an unknown place"


def explained(error: BaseException) -> str:
    """Return one line: what an error of a user's module means, and where it arises."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"SyntaxError at {error.filename}:{error.lineno}: {error.msg}"
    text = " ".join(str(error).split())
    remedy = next((words for test, words in REMEDIES if re.search(test, f"{type(error).__name__}: {text}")), "")
    words = f"{type(error).__name__} at {place(error.__traceback__)}: {_short(text)}"
    return f"{remedy} ({words})" if remedy else words


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:297]}..."


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


def is_traced_value(error: BaseException) -> bool:
    """Return whether JAX was asked for the value of a traced array."""
    kinds = (
        jax.errors.ConcretizationTypeError,
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError,
        jax.errors.NonConcreteBooleanIndexError,
    )
    return isinstance(error, kinds)


def wants_keys(error: BaseException) -> bool:
    """Return whether a Linen module asks for random numbers."""
    return isinstance(error, errors.InvalidRngError)


def wants_mutable(error: BaseException) -> bool:
    """Return whether a Linen module writes a collection in evaluation mode, such as a cache."""
    return isinstance(error, errors.ModifyScopeVariableError)
