"""A network's layers, for `--summary`; only shapes are computed."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from experiment.model_summary import Layer, product_flops
from experiment.registry import Entry
from jaxnets.environment import start_device


def summarize(entry: Entry) -> list[Layer]:
    """Return the layers in the order they are called in, for one example of the entry's input shape."""
    start_device()
    calls: list[tuple[nn.Module, tuple[int, ...]]] = []

    def watch(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        output = call(*args, **kwargs)
        if context.method_name == "__call__":
            calls.append((context.module, output.shape[1:]))
        return output

    with nn.intercept_methods(watch):
        model = entry.build()
        variables: Any = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *entry.input_shape)))
    return [
        _layer(module, shape, variables["params"])
        for module, shape in calls
        if isinstance(module, nn.Dropout) or _is_leaf(module, variables["params"])
    ]


def _is_leaf(module: nn.Module, params: Any) -> bool:
    own = _own(module, params)
    return bool(own) and not any(isinstance(value, dict) for value in own.values())


def _own(module: nn.Module, params: Any) -> dict[str, Any]:
    for name in module.path:
        params = params.get(name, {})
    return params


def _layer(module: nn.Module, shape: tuple[int, ...], params: Any) -> Layer:
    own = _own(module, params)
    flops = product_flops(own["kernel"].size, shape) if "kernel" in own else 0
    return Layer("/".join(module.path), type(module).__name__, shape, sum(p.size for p in own.values()), flops)
