"""Time single layers on the CPU: XLA's own lowering, the one of `jaxnets.layers`, and PyTorch's.

Run by: python -m benchmarks.layers [--rounds 7] [--json FILE]. The three take turns, A B C C B A; each figure is the
median in milliseconds, of the forward pass, and of the gradients by the input and by the kernel apart.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen as nn
from torch.nn import functional

from jaxnets.convolution import convolve
from jaxnets.layers import max_pool

# batch, side, channels in and out, kernel, stride, padding; and where it is from
CONVOLUTIONS = {
    "lenet5 conv1": (128, 32, 1, 6, 5, 1, 0),
    "lenet5 conv2": (128, 14, 6, 16, 5, 1, 0),
    "lenet5 conv3": (128, 5, 16, 120, 5, 1, 0),
    "simple_cnn conv2": (128, 16, 32, 64, 3, 1, 1),
    "quizdnn conv2": (64, 32, 64, 64, 3, 1, 1),
    "quizdnn conv5": (64, 16, 64, 64, 3, 1, 1),
    "resnet18_cifar layer3": (64, 8, 256, 256, 3, 1, 1),
    "resnet18_cifar layer4": (64, 4, 512, 512, 3, 1, 1),
    "resnet50 layer2 1x1": (8, 28, 128, 512, 1, 1, 0),
    "resnet50 conv1": (8, 224, 3, 64, 7, 2, 3),
}
POOLS = {"simple_cnn pool1": (128, 32, 32), "lenet5 pool1": (128, 28, 6), "quizdnn pool1": (64, 32, 64)}
PARTS = ("forward", "by the input", "by the kernel")
Timed = dict[str, Callable[[], Any]]  # the parts of a layer


def main() -> None:
    """Time all, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    layers = {name: convolution(*shape) for name, shape in CONVOLUTIONS.items()}
    layers |= {name: pooling(*shape) for name, shape in POOLS.items()}
    results = {name: measure(name, sides, arguments.rounds) for name, sides in layers.items()}
    if arguments.json:
        about = {
            "command": f"python -m benchmarks.layers --rounds {arguments.rounds}",
            "machine": platform.machine(),
            "cores": cores,
            "versions": {"python": platform.python_version(), **{name: version(name) for name in ("jax", "torch")}},
        }
        arguments.json.write_text(json.dumps({**about, "milliseconds": results}, indent=1) + "\n")


def measure(name: str, sides: dict[str, Timed], rounds: int) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of each part on each side, and print them."""
    times: dict[tuple[str, str], list[float]] = {}
    for turn in range(rounds + 1):  # the first one compiles
        for side in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
            for part, run in sides[side].items():
                start = time.perf_counter()
                jax.block_until_ready(run())
                times.setdefault((side, part), []).append((time.perf_counter() - start) * 1e3)
    found = {side: {part: statistics.median(times[side, part][1:]) for part in parts} for side, parts in sides.items()}
    for side, parts in found.items():
        print(f"{name:24}{side:10}" + "".join(f"{part} {value:8.2f}   " for part, value in parts.items()), flush=True)
    return found


def convolution(
    n: int, side: int, channels: int, outputs: int, size: int, stride: int, padding: int
) -> dict[str, Timed]:
    """Return a convolution's three parts on the three sides; `x` is (n, side, side, channels)."""
    rng, out = np.random.default_rng(0), (side + 2 * padding - size) // stride + 1
    x, kernel, dy = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((n, side, side, channels), (size, size, channels, outputs), (n, out, out, outputs))
    )
    options = {"strides": (stride,) * 2, "padding": ((padding, padding),) * 2}
    options["dimension_numbers"] = ("NHWC", "HWIO", "NHWC")
    tensors = [torch.from_numpy(array).permute(0, 3, 1, 2) for array in (x, dy)]
    weight = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()).contiguous(memory_format=torch.channels_last)
    ints = ((stride, stride), (padding, padding), (1, 1), False, (0, 0), 1)

    def backward(*wanted: bool) -> Callable[[], Any]:
        tensor, towards = tensors
        return lambda: torch.ops.aten.convolution_backward(towards, tensor, weight, None, *ints, (*wanted, False))

    forward = partial(functional.conv2d, tensors[0], weight, stride=stride, padding=padding)
    parts = (forward, backward(True, False), backward(False, True))
    return {
        "XLA": _in_jax(partial(_direct, **options), x, dy, kernel),
        "jaxnets": _in_jax(partial(convolve, **options), x, dy, kernel),
        "PyTorch": dict(zip(PARTS, parts, strict=True)),
    }


def pooling(n: int, side: int, channels: int) -> dict[str, Timed]:
    """Return a 2x2 max-pool's two parts on the three sides."""
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((n, size, size, channels)).astype(np.float32) for size in (side, side // 2))
    tensor, towards = (torch.from_numpy(array).permute(0, 3, 1, 2) for array in (x, dy))
    _, indices = functional.max_pool2d(tensor, 2, return_indices=True)

    def backward() -> torch.Tensor:
        return torch.ops.aten.max_pool2d_with_indices_backward(
            towards, tensor, [2, 2], [2, 2], [0, 0], [1, 1], False, indices
        )

    return {
        "XLA": _in_jax(partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2)), x, dy),
        "jaxnets": _in_jax(partial(max_pool, size=2), x, dy),
        "PyTorch": {"forward": partial(functional.max_pool2d, tensor, 2), "by the input": backward},
    }


def _direct(x: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)


def _in_jax(function: Callable[..., jax.Array], x: np.ndarray, dy: np.ndarray, *kernel: np.ndarray) -> Timed:
    arguments, towards = tuple(map(jnp.asarray, (x, *kernel))), jnp.asarray(dy)

    def gradient(at: int) -> Callable[..., jax.Array]:
        def by_one(towards: jax.Array, *arguments: jax.Array) -> jax.Array:
            def of_one(value: jax.Array) -> jax.Array:
                return function(*arguments[:at], value, *arguments[at + 1 :])

            return jax.vjp(of_one, arguments[at])[1](towards)[0]

        return by_one

    compiled = [partial(jax.jit(gradient(at)), towards, *arguments) for at in range(len(arguments))]
    parts = (partial(jax.jit(function), *arguments), *compiled)
    return dict(zip(PARTS, parts, strict=False))


if __name__ == "__main__":
    main()
