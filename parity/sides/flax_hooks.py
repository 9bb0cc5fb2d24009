"""Looking into a pass of a Flax module, Linen or NNX: what each layer is given, and what is put in its place.

Twin of `torch_hooks`.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

from parity.sides.calls import Call, CallName, Masks, Numbering
from parity.sides.nnx_module import nnx_intercepted


@contextlib.contextmanager
def intercepted(visit: Any) -> Iterator[None]:
    """Call `visit(call, layer, run, args, kwargs)` in place of each call of a layer; the outer context is first."""
    numbering = Numbering()

    def numbered(name: str, *call: Any) -> Any:
        return visit(numbering.next(name), *call)

    def intercept(next_fun: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        # A method may be asked of a module outside of any pass, where it has no path.
        name = "/".join(context.module.path) if context.method_name == "__call__" else ""
        if not name:
            return next_fun(*args, **kwargs)
        return numbered(name, context.module, next_fun, args, kwargs)

    with nn.intercept_methods(intercept), nnx_intercepted(numbered):
        yield


@contextlib.contextmanager
def recorded() -> Iterator[dict[str, Call]]:
    """Collect what every layer is given and returns."""
    calls: dict[str, Call] = {}

    def visit(name: CallName, _layer: Any, run: Any, args: Any, kwargs: Any) -> Any:
        output = run(*args, **kwargs)
        if args and all(map(is_array, (args[0], output))):
            calls[name] = Call(args[0], output)
        return output

    with intercepted(visit):
        yield calls


@contextlib.contextmanager
def forced(reference: Mapping[str, Call]) -> Iterator[dict[str, Call]]:
    """Feed every layer the reference's input of that call, hand on its output; collect the given and the returned."""
    calls: dict[str, Call] = {}

    def visit(name: str, run: Any, x: jax.Array) -> Any:
        output = run(jnp.asarray(reference[name].input))
        if not is_array(output):
            return output
        calls[name] = Call(x, output)
        return jnp.asarray(reference[name].output)

    with _hooked(reference, visit):
        yield calls


@contextlib.contextmanager
def probed(probes: Mapping[str, Call]) -> Iterator[None]:
    """Add a probe to the input and to the output of every call: its gradient is the gradient there."""
    with _hooked(probes, lambda name, run, x: run(x + probes[name].input) + probes[name].output):
        yield


@contextlib.contextmanager
def _hooked(names: Collection[str], visit: Any) -> Iterator[None]:
    """Call `visit(call, run, input)` in place of each call of a layer that is in `names`."""

    def intercept(name: CallName, _: Any, run: Any, args: Any, kwargs: Any) -> Any:
        if name not in names or not args or not is_array(args[0]):
            return run(*args, **kwargs)
        return visit(name, lambda x: run(x, *args[1:], **kwargs), args[0])

    with intercepted(intercept):
        yield


@contextlib.contextmanager
def injected(masks: Masks | None) -> Iterator[None]:
    """Make dropout layers use the given masks: two generators never agree, masks do (trap 20)."""
    if masks is None:
        yield
        return

    def replace(name: str, layer: nn.Dropout, x: jax.Array) -> jax.Array | None:
        if name not in masks:  # PyTorch has no such layer: its own noise is left, and the comparison fails
            return None
        return jnp.where(masks[name], x / (1 - layer.rate), 0) if layer.rate < 1 else jnp.zeros_like(x)

    with hooked_dropout(replace):
        yield


@contextlib.contextmanager
def hooked_dropout(visit: Any) -> Iterator[None]:
    """Call `visit(call, layer, input)` in place of each active dropout layer; None leaves the layer's output."""
    numbering = Numbering()  # of the active ones alone

    def intercept(name: CallName, layer: Any, run: Any, args: Any, kwargs: Any) -> Any:
        if not isinstance(layer, (nn.Dropout, nnx.Dropout)):
            return run(*args, **kwargs)
        given = args[1] if len(args) > 1 else kwargs.get("deterministic")
        if layer.deterministic if given is None else given:
            return run(*args, **kwargs)
        output = visit(numbering.next(name.layer), layer, args[0])
        return run(*args, **kwargs) if output is None else output

    with intercepted(intercept):
        yield


def is_array(value: Any) -> bool:
    """Tell an array, traced or not, from anything else that a layer may take or return."""
    return isinstance(value, (jax.Array, np.ndarray))
