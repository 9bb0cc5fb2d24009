"""Running a Flax Linen module and reading everything off it, by path. Twin of `torch_side`."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx
from flax.errors import FlaxError

from jaxnets.compiler_guard import guard
from parity.copy import flatten, unflatten
from parity.sides.calls import Call, Masks, Run, Site
from parity.sides.compilation import QUICK_COMPILATION
from parity.sides.flax_hooks import forced, hooked_dropout, injected, is_array, probed, recorded
from parity.sides.names import Names
from parity.sides.nnx_module import NnxModule, training_words
from parity.sides.random_draws import Draw
from parity.sides.randomness import jax_draws

guard()  # a proof rests on JAX computing what it is told


def mode(module: nn.Module | NnxModule, train: bool) -> dict[str, Any]:
    """Return the keywords that put a module into training or evaluation mode, read off its signature."""
    if isinstance(module, NnxModule):
        return {"train": train}
    parameters = inspect.signature(type(module).__call__).parameters
    return training_words(parameters, train)


class FlaxSide:
    """A Flax module under test, in the precision asked for, with the variables it is given.

    Tensors and layers are called here what PyTorch calls them: what the module calls them is in `names`.
    """

    def __init__(self, module: nn.Module | nnx.Module, dtype: type[np.floating], names: Names | None = None):
        self.module = NnxModule(module) if isinstance(module, nnx.Module) else module
        self.dtype, self.names = dtype, names or Names()
        # Jitted once each, as compiling is most of a check's time: one is for output, statistics and gradients.
        self._pass = jax.jit(self._differentiate, static_argnames="train", compiler_options=QUICK_COMPILATION)
        self._forward = jax.jit(self._run, static_argnames="train", compiler_options=QUICK_COMPILATION)

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """Let JAX compute in this precision, and nowhere in less: no TF32 on a GPU either (trap 19)."""
        with jax.enable_x64(self.dtype is np.float64), jax.default_matmul_precision("highest"):
            yield

    def structure(self, input_shape: tuple[int, ...]) -> dict[str, Any]:
        """Return the shapes and dtypes of the variables that `init` would make, by path; nothing is computed."""
        with jax.enable_x64(True):  # so that a counter may be the int64 that PyTorch's is
            wide = self._initial_shapes(input_shape)
        usual = self._initial_shapes(input_shape)  # and a weight of no dtype of its own is the float32 that it is
        chosen = {path: usual[path] if leaf.dtype == np.float64 else leaf for path, leaf in wide.items()}
        hollow = {path: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape) for path, leaf in chosen.items()}
        return self.names.from_native(hollow)

    def _initial_shapes(self, input_shape: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
        key, x = jax.random.key(0), jax.ShapeDtypeStruct((2, *input_shape), np.float32)
        shapes = jax.eval_shape(lambda k, x: self.module.init(k, x, **mode(self.module, False)), key, x)
        paths = jax.tree_util.tree_flatten_with_path(shapes)[0]
        return {"/".join(str(part.key) for part in path): leaf for path, leaf in paths}

    def layer_shapes(self, input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Return the shape of every layer's output, and of the last "output", for one input; nothing is computed."""

        def run(key: jax.Array, x: jax.Array) -> Any:
            variables = self.module.init(key, x, **mode(self.module, False))
            with recorded() as calls:
                output, _ = self._apply(variables, x, train=False)
            return {name: call.output for name, call in calls.items()} | {"output": output}

        x = jax.ShapeDtypeStruct((1, *input_shape), np.float32)
        shapes = jax.eval_shape(run, jax.random.key(0), x)
        return {name: tuple(shape.shape) for name, shape in shapes.items()}

    def forward(self, variables: dict[str, np.ndarray], inputs: np.ndarray) -> Run:
        """Run the module on inputs (N, ..., C) in evaluation mode."""
        with self.precision():
            output, _, calls = self._forward(self._nested(variables), self._cast(inputs), None, train=False)
            return Run(np.array(output), self._calls(calls), {})

    def run(
        self,
        variables: dict[str, np.ndarray],
        inputs: np.ndarray,
        cotangent: np.ndarray,
        *,
        train: bool,
        masks: Masks | None = None,
    ) -> tuple[Run, dict[str, np.ndarray]]:
        """Run the module on inputs (N, ..., C), forward and back.

        Returns:
            The forward pass, with the statistics as they are after a training step; and the gradients of
            sum(output * cotangent) by path, that of the "input" among them.
        """
        with self.precision():
            arrays = self._nested(variables), self._cast(inputs), self._cast(cotangent)
            (params, x), (output, updated, calls) = self._pass(*arrays, self._masks(masks), train=train)
            gradients = self.names.from_native(flatten({"params": params})) | {"input": np.array(x)}
            return Run(np.array(output), self._calls(calls), self.names.from_native(flatten(updated))), gradients

    def plain_passes(
        self, variables: dict[str, np.ndarray], inputs: np.ndarray, cotangent: np.ndarray
    ) -> dict[str, tuple[Callable[..., list[Any]], list[Any]]]:
        """Return the passes as users compile them, without the hooks of the checks.

        Returns:
            "forward, eval" and "gradients, train": a function of arrays that returns a list of arrays, and its
            arguments.
        """
        arguments, tree = jax.tree.flatten((self._nested(variables), self._cast(inputs), self._cast(cotangent)))

        def forward(*leaves: Any) -> list[Any]:
            variables, x, _ = tree.unflatten(leaves)
            return [self._apply(variables, x, train=False)[0]]

        def backward(*leaves: Any) -> list[Any]:
            variables, x, cotangent = tree.unflatten(leaves)

            def objective(params: Any, x: jax.Array) -> tuple[jax.Array, Any]:
                output, updated = self._apply({**variables, "params": params}, x, train=True)
                return (output * cotangent).sum(), (output, updated)

            return jax.tree.leaves(jax.grad(objective, argnums=(0, 1), has_aux=True)(variables["params"], x))

        return {"forward, eval": (forward, arguments), "gradients, train": (backward, arguments)}

    def forced(
        self,
        variables: dict[str, np.ndarray],
        inputs: np.ndarray,
        reference: Mapping[str, Call],
        *,
        train: bool,
        masks: Masks | None = None,
    ) -> Run:
        """Run the module with every layer fed the reference's own input, and what follows it the reference's output.

        Returns:
            The output; and by call what the layer would have been given, and what it returned for that input.
        """
        order: list[str] = []  # JAX would sort the calls by name

        def run(variables: Any, x: jax.Array, reference: dict[str, Call], masks: Masks | None) -> Any:
            with forced(reference) as calls, injected(masks):
                output, _ = self._apply(variables, x, train=train)
            order.extend(calls)
            return output, calls

        with self.precision():
            compiled = jax.jit(run, compiler_options=QUICK_COMPILATION)
            native = self.names.native_calls(reference), self._masks(masks)
            output, calls = compiled(self._nested(variables), self._cast(inputs), *native)
            return Run(np.array(output), self._calls({name: calls[name] for name in order}), {})

    def traced(
        self, variables: dict[str, np.ndarray], inputs: np.ndarray, reference: Mapping[str, Call]
    ) -> tuple[dict[str, Call], np.ndarray | None]:
        """Run the module as `forced` does, in evaluation mode. Not compiled, as each time it is for other layers.

        Returns:
            The calls of all layers, with what they are given; and the output, or None if the pass ended before it, as
            the reference's tensors had other shapes than the module expects.
        """
        with self.precision(), recorded() as calls, forced(self.names.native_calls(reference)):
            try:
                output, _ = self._apply(self._nested(variables), jnp.asarray(self._cast(inputs)), train=False)
            except (TypeError, ValueError, FlaxError):
                return self._calls(calls), None
            return self._calls(calls), np.array(output)

    def cotangents(
        self,
        variables: dict[str, np.ndarray],
        inputs: np.ndarray,
        cotangent: np.ndarray,
        reference: Mapping[str, Call],
        *,
        train: bool,
        masks: Masks | None = None,
    ) -> dict[str, Call]:
        """Return the gradients of sum(output * cotangent) at the input and output of every call in `reference`."""

        def objective(probes: dict[str, Call], variables: Any, x: jax.Array, masks: Masks | None) -> jax.Array:
            with probed(probes), injected(masks):
                output, _ = self._apply(variables, x, train=train)
            return (output * self._cast(cotangent)).sum()

        with self.precision():
            native = self.names.native_calls(reference)
            probes = {name: Call(*(jnp.zeros(a.shape, self.dtype) for a in call)) for name, call in native.items()}
            compiled = jax.jit(jax.grad(objective), compiler_options=QUICK_COMPILATION)
            arrays = self._nested(variables), self._cast(inputs), self._masks(masks)
            return self._calls(compiled(probes, *arrays))

    def sites(self, variables: dict[str, np.ndarray], inputs: np.ndarray) -> dict[str, Site]:
        """Return every call of a dropout layer in a training step, in order; nothing is computed."""
        found: dict[str, Site] = {}

        def visit(name: str, layer: nn.Dropout, x: jax.Array) -> jax.Array:
            shape = tuple(1 if axis in layer.broadcast_dims else size for axis, size in enumerate(x.shape))
            found[name] = Site(shape, float(layer.rate))
            return x

        def run(variables: Any, x: jax.Array) -> jax.Array:
            with hooked_dropout(visit):
                return self._apply(variables, x, train=True)[0]

        with self.precision():
            jax.eval_shape(run, self._nested(variables), self._cast(inputs))
        return self.names.from_native_sites(found)

    def draws(self, variables: dict[str, np.ndarray], inputs: np.ndarray) -> list[Draw]:
        """Return what a training step draws, in dropout layers and elsewhere, in order; what one key gives, once."""
        with self.precision():
            given = self._nested(variables), self._cast(inputs)
            closed = jax.make_jaxpr(lambda variables, x: self._apply(variables, x, train=True)[0])(*given)
            return jax_draws(closed, jax.tree.leaves(given))[0]

    def _differentiate(
        self, variables: Any, x: jax.Array, cotangent: jax.Array, masks: Masks | None, *, train: bool
    ) -> tuple[Any, Any]:
        def objective(params: Any, x: jax.Array) -> tuple[jax.Array, Any]:
            output, updated, calls = self._run({**variables, "params": params}, x, masks, train=train)
            return (output * cotangent).sum(), (output, updated, calls)

        return jax.grad(objective, argnums=(0, 1), has_aux=True)(variables["params"], x)

    def _run(self, variables: Any, x: jax.Array, masks: Masks | None, *, train: bool) -> tuple[Any, Any, Any]:
        with recorded() as calls, injected(masks):
            output, updated = self._apply(variables, x, train=train)
        return output, updated, calls

    def _apply(self, variables: Any, x: jax.Array, *, train: bool) -> tuple[Any, Any]:
        mutable = [name for name in variables if name != "params"] if train else []
        rngs = {"dropout": jax.random.key(0)}  # of no effect where masks are injected
        output, updated = self.module.apply(variables, x, **mode(self.module, train), mutable=mutable, rngs=rngs)
        if not is_array(output):
            words = f"a {type(output).__name__}"
            raise TypeError(f"Flax's module returns {words}, one tensor is compared: let it return the logits alone")
        return output, updated

    def _nested(self, variables: dict[str, np.ndarray]) -> Any:
        native = self.names.to_native(variables)
        return unflatten({path: self._cast(array) for path, array in native.items()})

    def _masks(self, masks: Masks | None) -> Masks | None:
        return None if masks is None else self.names.native_sites(masks)

    def _calls(self, calls: Mapping[str, Call]) -> dict[str, Call]:
        return self.names.from_native_calls({name: Call(*map(np.array, call)) for name, call in calls.items()})

    def _cast(self, array: np.ndarray) -> np.ndarray:
        return array.astype(self.dtype, copy=False) if np.issubdtype(array.dtype, np.floating) else array
