"""A Linen module, or one of transformers' wrappers around it, as a pure function of its variables."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.core import unfreeze
from jax.extend import core

from parity.sides.arrays import bits, is_float, is_narrow, joined, narrowed, to_jax, to_numpy, wide, x64
from parity.sides.carries import wide_carries
from parity.sides.conventions import convention_of, key_for
from parity.sides.jax_faults import is_traced_value, wants_keys, wants_mutable
from parity.sides.jax_noise import given
from parity.sides.opened import NARROW
from parity.sides.random_draws import Draw
from parity.sides.trial import settle

SEED = 0


def made(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], variables: Any = None) -> "LinenSide":
    """Return the side of a module, which computes in float64 where its `dtype` is a field."""
    if dtype := narrow_dtype(module):
        try:
            side = LinenSide(module.clone(dtype=jnp.float64), args, kwargs, variables)  # pyright: ignore[reportCallIssue]
        except Exception:
            return LinenSide(module, args, kwargs, variables)
        side.notes.append(f"the Flax module's dtype is float64 here instead of {dtype}")
        return side
    return LinenSide(module, args, kwargs, variables)


def narrow_dtype(module: nn.Module) -> str:
    """Return the name of the dtype that a module computes in by a field of its own, "" if that is no narrow one."""
    if is_narrow():
        return ""
    dtype = getattr(module, "dtype", None) if "dtype" in {f.name for f in dataclasses.fields(module)} else None
    return jnp.dtype(dtype).name if any(dtype is d or dtype == d for d in NARROW) else ""


class LinenSide:
    """A Linen module and its variables, which `init` makes unless they are given."""

    kind = "Linen"

    def __init__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], variables: Any = None):
        self.notes: list[str] = []
        self.module, self.narrow = module, is_narrow()
        self._how = convention_of(module, len(args))
        made = unfreeze(variables) if variables is not None else self._initial(args, kwargs)
        made = made if "params" in made or variables is None else {"params": made}
        paths, self._treedef = jax.tree_util.tree_flatten_with_path(made)
        self._native = {joined(path): leaf for path, leaf in paths}
        self.leaves = {name: wide(leaf) for name, leaf in self._native.items()}
        self.trained = frozenset(n for n, a in self.leaves.items() if n.startswith("params/") and is_float(a))
        self._mutable = [name for name in made if name != "params"]
        self._eval_rngs = self._eval_mutable = self.concrete = False
        self.output: Any = None
        self.noise: Sequence[Draw] = ()  # what it draws in evaluation mode, and what it is given in its place
        self.numbers: Sequence[np.ndarray] | None = None
        self._settle(args, kwargs)

    def call(
        self, leaves: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, train: bool
    ) -> tuple[Any, dict[str, Any]]:
        """Return the output tree, and the leaves of mutable collections as they are afterwards."""
        args, kwargs = to_jax((args, dict(kwargs)))
        if self.narrow:
            leaves, args, kwargs = narrowed((dict(leaves), args, dict(kwargs)))
        words = self._how.keywords(train, kwargs)
        words |= {k: key_for(k) for k in self._how.key_words(train, kwargs)}
        rngs = self._rngs() if train or self._eval_rngs else {}
        mutable = self._mutable if train or self._eval_mutable else []
        with bits(self.narrow), wide_carries(), given(None if train else self.numbers):
            found = self.module.apply(
                self.variables(leaves), *args, **kwargs, **words, rngs=rngs, mutable=mutable if mutable else False
            )
        output, updated = found if mutable else (found, {})
        after = {joined(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(updated)[0]}
        return output, {name: leaf for name, leaf in after.items() if name in leaves}

    def variables(self, leaves: Mapping[str, Any]) -> Any:
        """Return leaves as the module's own tree of variables."""
        return jax.tree.unflatten(self._treedef, [jnp.asarray(leaves[name]) for name in self._native])

    def native(self, leaves: Mapping[str, Any]) -> Any:
        """Return leaves as the module's own tree of variables, in its own dtypes."""
        with x64():
            return self.variables({n: np.asarray(leaves[n]).astype(a.dtype) for n, a in self._native.items()})

    def _settle(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Find out whether evaluation needs random numbers, or writes to a collection."""
        for _ in range(3):
            try:
                settle(self, args, kwargs)
                return
            except Exception as error:
                if wants_keys(error) and not self._eval_rngs:
                    self._eval_rngs = True
                    self.notes.append("the Flax module draws random numbers in evaluation mode, too")
                elif wants_mutable(error) and self._mutable and not self._eval_mutable:
                    self._eval_mutable = True
                else:
                    raise

    def _rngs(self) -> dict[str, Any]:
        names = ("params", "dropout", "drop_path", "noise", "sample", "default")
        return {name: jax.random.fold_in(jax.random.PRNGKey(SEED), i) for i, name in enumerate(names)}

    def _initial(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        words, make = self._how.keywords(False, kwargs), cast(Any, self.module.init)

        def init(key: Any, args: Any, kwargs: Any) -> Any:
            words_ = words | dict.fromkeys(self._how.key_words(False, kwargs), key)
            rngs = {name: jax.random.fold_in(key, i) for i, name in enumerate(self._rngs())}
            with wide_carries():
                return unfreeze(make(rngs, *args, **kwargs, **words_))

        try:
            made = made_cheaply(init, args, kwargs)
        except Exception as error:
            if not is_traced_value(error):
                raise
            made = made_cheaply(lambda key, *_: init(key, args, kwargs), (), {})  # the inputs are constants
        return without_sown(made)


def without_sown(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables without what `sow` has written, which is made of the inputs: tuples."""

    def sown(tree: Any) -> bool:
        leaves = jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, tuple))
        return any(isinstance(leaf, tuple) for leaf in leaves)

    return {name: tree for name, tree in variables.items() if name == "params" or not sown(tree)}


def made_cheaply(init: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return what an initialiser returns; random floats are drawn by numpy, as they are replaced by PyTorch's anyway.

    Constants and tables are computed, each by its own equations alone: neither the forward pass nor hundreds of random
    generators are compiled.
    """
    arrays, treedef = jax.tree.flatten((args, dict(kwargs)))
    numbers = [i for i, a in enumerate(arrays) if isinstance(a, jax.Array | np.ndarray)]

    def flat(key: Any, *values: Any) -> Any:
        new = list(arrays)
        for i, value in zip(numbers, values, strict=True):
            new[i] = value
        return init(key, *jax.tree.unflatten(treedef, new))

    key = jax.random.PRNGKey(SEED)
    given = [jnp.asarray(arrays[i]) for i in numbers]
    closed, shapes = jax.make_jaxpr(flat, return_shape=True)(key, *given)
    flat_shapes, tree = jax.tree_util.tree_flatten_with_path(shapes)
    random = _dependent(closed.jaxpr)
    drawn = [
        isinstance(v, core.Var) and v in random and is_float(s) and joined(path).startswith("params/")
        for v, (path, s) in zip(closed.jaxpr.outvars, flat_shapes, strict=True)
    ]
    wanted = [v for v, draw in zip(closed.jaxpr.outvars, drawn, strict=True) if not draw]
    computed = iter(_evaluated(closed, [key, *given], wanted))
    rng = np.random.default_rng(SEED)
    leaves = [_drawn(rng, s) if draw else next(computed) for draw, (_, s) in zip(drawn, flat_shapes, strict=True)]
    return jax.tree.unflatten(tree, leaves)


def _dependent(jaxpr: Any) -> set[Any]:
    """Return the variables of a jaxpr that are computed from its arguments."""
    found = set(jaxpr.invars)
    for equation in jaxpr.eqns:
        if any(isinstance(v, core.Var) and v in found for v in equation.invars):
            found |= set(equation.outvars)
    return found


def _evaluated(closed: Any, args: list[Any], wanted: list[Any]) -> list[np.ndarray]:
    """Return the values of some variables of a jaxpr, computed by the equations that they need and no others."""
    needed, chosen = {v for v in wanted if isinstance(v, core.Var)}, []
    for equation in reversed(closed.jaxpr.eqns):
        if any(v in needed for v in equation.outvars):
            chosen.append(equation)
            needed |= {v for v in equation.invars if isinstance(v, core.Var)}
    jaxpr = closed.jaxpr.replace(
        eqns=chosen[::-1], outvars=wanted, debug_info=closed.jaxpr.debug_info.with_unknown_names()
    )
    return [to_numpy(a) for a in core.jaxpr_as_fun(core.ClosedJaxpr(jaxpr, closed.consts))(*args)]


def _drawn(rng: np.random.Generator, shape: Any) -> np.ndarray:
    fan_in = max(1, int(np.prod(shape.shape[:-1])))
    return (rng.normal(size=shape.shape) / np.sqrt(fan_in)).astype(shape.dtype)
