"""What a callable takes, by its signature; neither framework is imported."""

import inspect
import re
from collections.abc import Collection
from typing import Any

KEY_WORD = re.compile(r"(\w+_)?(key|keys|p?rng|rngs)")


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of a callable, or of a module's `__call__`; none where Python cannot tell."""
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def key_words(names: Collection[str]) -> tuple[str, ...]:
    """Return those of a callable's words that mean random numbers; the key of an attention is an input."""
    attention = any(other in names for other in ("query", "queries", "value", "values", "q", "v"))
    return tuple(n for n in names if is_key_word(n) and not (n in ("key", "keys") and attention))


def is_key_word(name: str) -> bool:
    """Return whether a parameter is called as a key of random numbers is: "key", "dropout_rng"."""
    return KEY_WORD.fullmatch(name) is not None
