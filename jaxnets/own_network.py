"""Networks of the user's own: their conventions behind the one of this package, and what they must put out."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from data import UserError
from experiment.own_network import Target, check_output, training_words, where


@dataclasses.dataclass(frozen=True, eq=False)  # equal to itself alone, as a user's module need not be hashable
class OwnNetwork:
    """A Linen module that is called as those of this package are: `train` is a keyword, `batch_stats` may be mutable.

    Whether it is trained, the module is told by the keyword of its `__call__`, or by the field, that it has for it:
    `train`, `training`, `is_training`, `deterministic` or `use_running_average`; or by none.
    """

    module: nn.Module

    def init(self, key: Any, x: Any) -> Any:
        """Return the initial variables."""
        module, words = self._in_mode(train=False)
        return module.init(key, x, **words)

    def apply(self, variables: Any, x: Any, *, train: bool, mutable: Any = (), rngs: Any = None) -> Any:
        """Return the output; with `mutable` also what is new in all collections but the parameters."""
        module, words = self._in_mode(train=train)
        if rngs:
            rngs = {"params": jax.random.fold_in(rngs["dropout"], 1), **rngs}  # the first is for all other names
        if not mutable:
            return module.apply(variables, x, rngs=rngs, **words)
        others = [name for name in variables if name != "params"]
        return module.apply(variables, x, rngs=rngs, mutable=others, **words)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "module"), name)  # `is_trained`, for frozen layers

    def _in_mode(self, *, train: bool) -> tuple[nn.Module, dict[str, Any]]:
        words: dict[str, Any] = training_words(inspect.signature(type(self.module).__call__).parameters, train=train)
        fields = [field.name for field in dataclasses.fields(self.module)]
        modes: dict[str, Any] = {} if words else training_words(fields, train=train)
        return (self.module.clone(**modes) if modes else self.module), words


def adapt(target: Target, value: Any, make: Callable[[], Any]) -> OwnNetwork:
    """Return the network that a target names: a Linen module, or what makes one.

    Raises:
        UserError: it is none.
    """
    module = value if isinstance(value, nn.Module) or not callable(value) else make()
    if not isinstance(module, nn.Module):
        kind = f"{type(module).__module__.partition('.')[0]}'s {type(module).__name__}"
        raise UserError(f"{target.text} is {kind}, expected a flax.linen.Module, or a function that returns one")
    return OwnNetwork(module)


def check(model: Any, key: Any, shape: tuple[int, ...], num_classes: int, name: str) -> None:
    """Check that a network puts out logits, in evaluation and in training; only shapes are computed.

    Raises:
        UserError: it fails, has no parameters, or puts out something else; names what came out.
    """
    x = jnp.zeros((2, *shape))
    try:
        variables: Any = jax.eval_shape(model.init, key, x)
    except Exception as error:  # whatever the user's code raises
        raise UserError(f"{name} fails on inputs {x.shape}, {where(error)}") from None
    if not variables.get("params"):
        raise UserError(f"{name} has no parameters to train")
    for train in (False, True):
        options = {"mutable": ["batch_stats"], "rngs": {"dropout": key}} if train else {}
        try:
            found = jax.eval_shape(partial(model.apply, train=train, **options), variables, x)
        except Exception as error:  # the same
            mode = "in training" if train else "in evaluation"
            raise UserError(f"{name} fails on inputs {x.shape} {mode}, {where(error)}") from None
        check_output(name, found[0] if train else found, x.shape, num_classes)
