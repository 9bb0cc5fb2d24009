"""How a callable wants to be called: words for training, keys of random numbers, one example at a time."""

import re
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from parity.sides.nnx_module import TRAINING_WORDS
from parity.sides.numbers import is_array
from parity.sides.signatures import is_key_word, key_words, parameters

__all__ = [
    "AXIS",
    "MODE_WORDS",
    "Convention",
    "batch_size",
    "called",
    "convention_of",
    "is_key_word",
    "key_for",
    "key_words",
    "learned",
    "parameters",
]

AXIS = "batch"  # of the examples, where a callable takes one at a time

# Words for the mode, and what they are in training.
MODE_WORDS = {**TRAINING_WORDS, "inference": False, "is_train": True, "eval_mode": False}
MISSING = re.compile(r"missing \d+ required [\w-]+ arguments?: (.*)")


class Convention(NamedTuple):
    """How a callable is called beside its inputs."""

    words: tuple[str, ...] = ()  # for the mode
    keys: tuple[str, ...] = ()  # required; given in every mode
    optional_keys: tuple[str, ...] = ()  # given in training
    batch: bool = False  # it takes one example: `jax.vmap` calls it for each
    axis_name: str | None = None  # of the batch, for a BatchNorm

    def keywords(self, train: bool, given: Mapping[str, Any] = {}) -> dict[str, Any]:
        """Return the keywords for a mode, keys left out, unless the caller gives them."""
        return {w: train is MODE_WORDS[w] for w in self.words if w not in given}

    def key_words(self, train: bool, given: Mapping[str, Any] = {}) -> tuple[str, ...]:
        """Return the names of the keys to give."""
        return tuple(k for k in self.keys + (self.optional_keys if train else ()) if k not in given)


def convention_of(function: Any, given: int = 0, consumed: Collection[str] = ()) -> Convention:
    """Read a convention off a signature, less what is consumed and what the positional inputs take."""
    found = parameters(function)
    named = [(n, p) for n, p in found.items() if n not in consumed and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    free = {n: p for n, p in named[given:] if p.kind is not p.POSITIONAL_ONLY}
    free |= {n: p for n, p in named[:given] if p.kind is p.KEYWORD_ONLY}
    keys = key_words(found)
    required = tuple(n for n, p in free.items() if n in keys and p.default is p.empty)
    optional = tuple(n for n, p in free.items() if n in keys and p.default is not p.empty)
    return Convention(tuple(n for n in free if n in MODE_WORDS), required, optional)


def learned(convention: Convention, error: BaseException) -> Convention | None:
    """Return the convention with the words that an error says are missing, or None if it names none that is known."""
    match = MISSING.search(str(error)) if isinstance(error, TypeError) else None
    names = re.findall(r"'(\w+)'", match[1]) if match else []
    words = tuple(n for n in names if n in MODE_WORDS and n not in convention.words)
    keys = tuple(n for n in names if is_key_word(n) and n not in convention.keys)
    if not words and not keys:
        return None
    return convention._replace(words=convention.words + words, keys=convention.keys + keys)


def key_for(word: str) -> Any:
    """Return a key of random numbers, always the same, and another one for each word."""
    return nnx.Rngs(0) if word == "rngs" else jax.random.fold_in(jax.random.PRNGKey(0), zlib.crc32(word.encode()))


def batch_size(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Return the number of examples: the first side of the first input that has one; 0 if none has."""
    arrays = [a for a in jax.tree.leaves((args, dict(kwargs))) if is_array(a)]
    return next((jnp.shape(a)[0] for a in arrays if jnp.ndim(a)), 0)


def called(
    bound: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], how: Convention, *, train: bool
) -> tuple[Any, dict[str, Any]]:
    """Call what is bound to its arrays by its convention, for each example where it takes one.

    Returns:
        The output, and the arrays afterwards, which no example has for itself.
    """
    words, keys = how.keywords(train, kwargs), how.key_words(train, kwargs)
    if not how.batch:
        return bound.call(*args, **kwargs, **words, **{k: key_for(k) for k in keys}), bound.after()
    size = batch_size(args, kwargs)
    split = {k: jax.random.split(key_for(k), size) for k in keys}
    given, filled = _batched((args, dict(kwargs)), size)

    def one(arrays: list[Any], keys: dict[str, Any]) -> Any:
        args, kwargs = filled(arrays)
        return bound.call(*args, **kwargs, **words, **keys), bound.after()

    return jax.vmap(one, out_axes=(0, None), axis_name=how.axis_name or AXIS)(given, split)


def _batched(tree: Any, size: int) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """Return those arrays of a tree that have an axis of examples, and a function that puts others in their place."""
    leaves, treedef = jax.tree.flatten(tree)
    slots = [i for i, a in enumerate(leaves) if is_array(a) and jnp.ndim(a) and jnp.shape(a)[0] == size]

    def filled(arrays: list[Any]) -> Any:
        new = list(leaves)
        for slot, array in zip(slots, arrays, strict=True):
            new[slot] = array
        return jax.tree.unflatten(treedef, new)

    return [leaves[i] for i in slots], filled
