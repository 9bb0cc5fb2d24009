"""An NNX module behind the interface of a Linen one: variables in, the output and the new variables out."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
from flax import nnx

from experiment.weights.layout import layer_path
from parity.copy import leaves, unflatten

# How other people tell a module that it is being trained, and what they call it (design decision 6).
TRAINING_WORDS = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}
COLLECTIONS: dict[type, str] = {nnx.Param: "params", nnx.BatchStat: "batch_stats"}

Visit = Callable[[str, Any, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
_visits: list[Visit] = []  # the outermost first


def training_words(parameters: Mapping[str, Any], train: bool) -> dict[str, bool]:
    """Return those of the keywords that put a module into training or evaluation mode."""
    return {word: train is means for word, means in TRAINING_WORDS.items() if word in parameters}


class NnxModule:
    """An NNX module whose variables are handed in at each call, under Linen's names.

    The generators of its dropout layers stay inside; a list's entry, ("layers", 0, "kernel"), is "layers_0/kernel".
    """

    def __init__(self, module: nnx.Module):
        self._type = type(module)
        # `...` takes what no filter before it has taken: keys and counters of random numbers.
        self._graph, state, self._rest = nnx.split(module, _is_tensor, ...)
        self._variables = dict(nnx.to_flat_state(state))
        self._names = {path: _name(path, variable) for path, variable in self._variables.items()}

    def init(self, _key: Any, _x: Any, **_mode: bool) -> dict[str, Any]:
        """Return the variables that it was made with, {"params": ...}; an NNX module is made with them."""
        return unflatten({name: self._variables[path][...] for path, name in self._names.items()})

    def apply(
        self, variables: Mapping[str, Any], x: jax.Array, *, train: bool, mutable: Any = False, **_: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Return the output, and the variables of the collections in `mutable` as they are afterwards."""
        values = dict(leaves(variables))
        state = {path: self._variables[path].replace(values[name]) for path, name in self._names.items()}
        module = nnx.merge(self._graph, nnx.from_flat_state(state), self._rest)
        module.train() if train else module.eval()
        words = training_words(inspect.signature(self._type.__call__).parameters, train)
        with _watched(module):
            output = module(x, **words)
        after = dict(nnx.to_flat_state(nnx.state(module, _is_tensor)))
        kept = {name: after[path][...] for path, name in self._names.items() if name.partition("/")[0] in mutable}
        return output, unflatten(kept)


@contextlib.contextmanager
def nnx_intercepted(visit: Visit) -> Iterator[None]:
    """Call `visit(name, layer, run, args, kwargs)` in place of each call of an NNX layer inside."""
    _visits.append(visit)
    try:
        yield
    finally:
        _visits.pop()


@contextlib.contextmanager
def _watched(module: nnx.Module) -> Iterator[None]:
    """Route the calls of a module's layers through the visits. NNX has no hooks: the classes are patched meanwhile."""
    layers = {id(layer): _joined(path) for path, layer in nnx.iter_modules(module) if path}
    classes = {type(layer) for path, layer in nnx.iter_modules(module) if path and callable(layer)}
    originals = {cls: (cls.__call__, "__call__" in vars(cls)) for cls in classes}
    inside: set[int] = set()  # a subclass may call its parent's __call__, which is no second call

    def patched(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if id(self) not in layers or id(self) in inside:
                return original(self, *args, **kwargs)
            run = partial(original, self)
            for visit in reversed(_visits):
                run = partial(_visited, visit, layers[id(self)], self, run)
            inside.add(id(self))
            try:
                return run(*args, **kwargs)
            finally:
                inside.remove(id(self))

        return call

    try:
        for cls, (original, _) in originals.items():
            cls.__call__ = patched(original)
        yield
    finally:
        for cls, (original, own) in originals.items():
            if own:
                cls.__call__ = original
            else:
                del cls.__call__


def _visited(visit: Visit, name: str, layer: Any, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return visit(name, layer, run, args, kwargs)


def _is_tensor(_path: Any, variable: Any) -> bool:
    return isinstance(variable, nnx.Variable) and not isinstance(variable, nnx.RngState)


def _name(path: tuple[Any, ...], variable: Any) -> str:
    known = (name for cls, name in COLLECTIONS.items() if isinstance(variable, cls))
    return f"{next(known, type(variable).__name__)}/{_joined(path)}"


def _joined(path: tuple[Any, ...]) -> str:
    return layer_path(".".join(map(str, path)))
