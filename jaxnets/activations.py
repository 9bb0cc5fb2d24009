"""Activations, gradients, kernels and max-pooling of a network, by name. Twin of `torchnets.activations`.

A Flax module has a name for each of its layers, but ReLU and pooling are functions. So the network is traced: its
jaxpr is the list of all operations, each with the layer it belongs to and the Python functions that called it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.extend.core import ClosedJaxpr, Literal

from experiment.activations import Activation, Kernel, Pool, common_name, names, settle, without_partial_sums
from jaxnets.environment import ONCE
from jaxnets.step import Model, Variables

ACTIVATIONS = ("relu", "relu6", "gelu", "silu", "elu", "leaky_relu", "softplus", "sigmoid", "softmax", "log_softmax")
# JAX's name of a compiled function or of an operation: the common name.
FUNCTIONS = {name: name for name in (*ACTIVATIONS, "tanh", "concatenate", "add")} | {"logistic": "sigmoid"}
# Functions of several operations, which Python's frames name.
WHOLE = {name: name for name in ACTIVATIONS} | {
    **{"max_pool": "max_pool", "avg_pool": "average_pool", "adaptive_average_pool": "average_pool", "_mean": "mean"},
    **{"swish": "silu", "hard_silu": "hardswish", "hard_swish": "hardswish"},
}


class _Call(NamedTuple):
    """The call of a layer or of a function."""

    scope: str  # the name of the layer, or of the one that calls the function; "" at the top
    kind: str
    result: Any  # a variable of the jaxpr
    layer: bool = False
    equations: tuple[Any, ...] = ()  # of a function


class _Trace(NamedTuple):
    """The operations of a network, and its calls by name."""

    closed: ClosedJaxpr
    calls: dict[str, _Call]
    kernels: dict[str, Kernel]


def activations(model: Model, variables: Variables, inputs: np.ndarray) -> dict[str, Activation]:
    """Return what each layer and each function of the network puts out, in the order of the code.

    Args:
        model: a network.
        variables: its weights and statistics.
        inputs: (N, ..., C), normalised.
    """
    trace, x = _trace(model, variables, inputs), jnp.asarray(inputs)
    results = _once(lambda x, consts: [_values(trace, x, consts)[call.result] for call in trace.calls.values()])(
        x, trace.closed.consts
    )
    found = zip(trace.calls.items(), results, strict=True)
    return {name: Activation(call.kind, np.asarray(result)) for (name, call), result in found}


def gradient(
    model: Model, variables: Variables, inputs: np.ndarray, labels: np.ndarray, name: str | None = None
) -> np.ndarray:
    """Return the gradient (N, ..., C) of each example's logit of its label, by an activation or by the inputs (None).

    What max-pooling is given is rounded by `settle`, so of values that are equal but for rounding the first is kept.

    Args:
        model: a network.
        variables: its weights and statistics.
        inputs: (N, ..., C), normalised.
        labels: (N,).
        name: of the activation.
    """
    trace, x = _trace(model, variables, inputs), jnp.asarray(inputs)
    if name is None:
        found = _once(jax.grad(lambda x, consts: _chosen(trace, x, consts, labels)))(x, trace.closed.consts)
        return np.asarray(found)
    # Zeros are added to the activation, and differentiated by.
    result = trace.calls[name].result
    zeros = jnp.zeros(result.aval.shape, result.aval.dtype)
    found = _once(jax.grad(lambda more, consts: _chosen(trace, x, consts, labels, {result: more})))
    return np.asarray(found(zeros, trace.closed.consts))


def kernels(model: Model, variables: Variables, inputs: np.ndarray) -> dict[str, Kernel]:
    """Return the weights of each convolution and each linear layer, in the order of the code."""
    return _trace(model, variables, inputs).kernels


def max_pools(model: Model, variables: Variables, inputs: np.ndarray) -> dict[str, Pool]:
    """Return what each max-pooling keeps: where the gradient of the sum of its outputs arrives."""
    trace = _trace(model, variables, inputs)
    pools = {name: call for name, call in trace.calls.items() if call.kind == "max_pool"}
    read = {name: _read(call) for name, call in pools.items()}

    def given(x: jax.Array, consts: Any) -> Any:
        values = _values(trace, x, consts)
        return {name: [values[var] for var in found] for name, found in read.items()}

    def keep(given: Any) -> Any:
        found = {}
        for name, (x, *others) in given.items():
            outputs, back = jax.vjp(partial(_apply, pools[name], read[name], others), x)
            found[name] = (back(jnp.ones_like(outputs))[0], outputs)
        return found

    found = _once(given)(jnp.asarray(inputs), trace.closed.consts)
    # Of equal values the first is kept.
    values = {name: [settle(np.asarray(x)), *others] for name, (x, *others) in found.items()}
    results = _once(keep)(values)
    return {name: Pool(values[name][0], *map(np.asarray, results[name])) for name in pools}


def _once(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(function, compiler_options=ONCE)


def _trace(model: Model, variables: Variables, inputs: np.ndarray) -> _Trace:
    layers: list[tuple[str, nn.Module, tuple[int, ...]]] = []

    def forward(x: jax.Array) -> Any:
        outputs = []

        def watch(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            output = call(*args, **kwargs)
            is_layer = context.method_name == "__call__" and _is_layer(context.module, variables["params"])
            if is_layer and isinstance(output, jax.Array):
                layers.append((common_name("/".join(context.module.path)), context.module, args[0].shape[1:]))
                outputs.append(output)
            return output

        with nn.intercept_methods(watch):
            return model.apply(variables, x, train=False), outputs

    closed: Any = jax.make_jaxpr(forward)(jnp.asarray(inputs))
    kinds = {name: _kind(module) for name, module, _ in layers}
    results = closed.jaxpr.outvars[-len(layers) :] if layers else []
    calls = [_Call(name, kinds[name], var, layer=True) for (name, *_), var in zip(layers, results, strict=True)]
    calls += _functions(closed.jaxpr.eqns, kinds, len(inputs))
    made = {var: at for at, equation in enumerate(closed.jaxpr.eqns) for var in equation.outvars}
    calls = sorted(
        (call for call in calls if not isinstance(call.result, Literal) and call.result in made),
        key=lambda call: made[call.result],
    )
    calls = [calls[at] for at in without_partial_sums([call[:2] for call in calls])]
    named = names([call[:2] for call in calls], [call.layer for call in calls])
    found = {
        name: Kernel(kinds[name], np.asarray(_own(module, variables["params"])["kernel"]), shape)
        for name, module, shape in layers
        if kinds[name] in ("convolution", "linear")
    }
    return _Trace(closed, dict(zip(named, calls, strict=True)), found)


def _functions(equations: Iterable[Any], layers: Mapping[str, str], count: int) -> list[_Call]:
    """Return the calls of functions outside of the layers; those of one function follow one another."""
    found = []
    for (scope, kind, *_), group in groupby(equations, _label):
        run = tuple(group)
        result = run[-1].outvars[0]
        if kind and scope not in layers and result.aval.shape[:1] == (count,):
            found.append(_Call(scope, kind, result, equations=run))
    return found


def _label(equation: Any) -> tuple[str, str, int]:
    """Return the layer that an operation belongs to, the function that it is part of, and the line of that's call."""
    scope = ".".join(str(equation.source_info.name_stack).split("/")[1:])  # the first is the network's class
    traceback = equation.source_info.traceback
    frames = traceback.frames if traceback else ()
    for frame, caller in pairwise(frames):
        if kind := WHOLE.get(frame.function_name):
            return scope, kind, caller.line_num
    inner = equation
    while (
        inside := inner.params.get("call_jaxpr")
    ) is not None and inside.eqns:  # a function with a derivative of its own
        inner = inside.eqns[0]
    kind = FUNCTIONS.get(str(inner.params.get("name", inner.primitive.name)), "")
    shapes = {var.aval.shape for var in (*equation.invars, equation.outvars[0])}
    return scope, "" if kind == "add" and len(shapes) > 1 else kind, id(equation)


def _values(
    trace: _Trace,
    x: jax.Array,
    consts: Sequence[Any],
    more: Mapping[Any, jax.Array] | None = None,
    settled: Mapping[int, Any] | None = None,
) -> dict[Any, jax.Array]:
    """Return the values of all variables; `more` is added to some, and some are `settled` for an operation.

    The weights, `consts`, are arguments: what a compiled program has as constants XLA folds, which takes long.
    """
    jaxpr = trace.closed.jaxpr
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, x], strict=True))
    return _evaluate(jaxpr.eqns, values, more or {}, settled or {})


def _evaluate(
    equations: Iterable[Any], values: dict[Any, Any], more: Mapping[Any, jax.Array], settled: Mapping[int, Any]
) -> dict[Any, Any]:
    for equation in equations:
        given = [atom.val if isinstance(atom, Literal) else values[atom] for atom in equation.invars]
        if id(equation) in settled:
            given = [
                _settled(x) if atom is settled[id(equation)] else x
                for atom, x in zip(equation.invars, given, strict=True)
            ]
        results = equation.primitive.bind(*given, **equation.primitive.get_bind_params(equation.params))
        results = results if equation.primitive.multiple_results else [results]
        for var, result in zip(equation.outvars, results, strict=True):
            values[var] = result + more[var] if var in more else result
    return values


def _chosen(
    trace: _Trace,
    x: jax.Array,
    consts: Sequence[Any],
    labels: np.ndarray,
    more: Mapping[Any, jax.Array] | None = None,
) -> jax.Array:
    """Return the sum of the logits of the labels; each depends on its own example alone."""
    pools = [call for call in trace.calls.values() if call.kind == "max_pool"]
    settled = {id(equation): _read(call)[0] for call in pools for equation in call.equations}
    logits = _values(trace, x, consts, more, settled)[trace.closed.jaxpr.outvars[0]]
    return logits[jnp.arange(len(labels)), jnp.asarray(labels)].sum()


def _settled(x: jax.Array) -> jax.Array:
    """Round a value; its derivative is that of the value."""
    return x + jax.lax.stop_gradient(settle(x, jnp) - x)


def _read(call: _Call) -> list[Any]:
    """Return the variables that a pooling reads: what it pools, then constants."""
    made = {var for equation in call.equations for var in equation.outvars}
    read = [atom for equation in call.equations for atom in equation.invars if not isinstance(atom, Literal)]
    found = dict.fromkeys(var for var in read if var not in made)
    return sorted(found, key=lambda var: len(var.aval.shape) != len(call.result.aval.shape))


def _apply(call: _Call, read: Sequence[Any], others: Sequence[jax.Array], x: jax.Array) -> jax.Array:
    return _evaluate(call.equations, dict(zip(read, [x, *others], strict=True)), {}, {})[call.result]


def _is_layer(module: nn.Module, params: Any) -> bool:
    own = _own(module, params)
    return bool(own) and not any(isinstance(value, Mapping) for value in own.values())


def _own(module: nn.Module, params: Any) -> Any:
    for name in module.path:
        params = params.get(name, {})
    return params


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Dense):
        return "linear"
    return "convolution" if isinstance(module, nn.Conv) else _other(module)


def _other(module: nn.Module) -> str:
    return "normalization" if "Norm" in type(module).__name__ else "layer"
