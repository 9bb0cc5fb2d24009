"""Deliberate bugs in the networks of this project."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

import jaxnets
import parity
import torchnets
from jaxnets.layers import BatchNorm, flatten, global_average_pool, max_pool, relu, sequential
from jaxnets.models import ann, googlenet, inception, lenet5, m5, quizdnn, resnet, vgg_shrink
from parity import suite
from parity.checks.network import EXAMPLES
from parity.report import Failure
from tests.planted import Patch, Planted


def of_network(name: str, plant: Callable[[Patch], Any], patch: Patch) -> tuple[Failure, ...]:
    """Check a registered network in its small size; `plant` changes what its Flax side is built of, or returns it."""
    twins = suite.build_small(name, 0)
    options = {**torchnets.MODELS[name].small.options, **torchnets.MODELS[name].small.quick}
    wrong = plant(patch)
    module = wrong(**options) if wrong else jaxnets.MODELS[name].build(**options)
    inputs = suite.real_batches(twins.input_shape, 1, 0)[0].inputs[:EXAMPLES]
    return parity.check(twins.torch, module, inputs, same_names=True, fail_fast=True).failures


def swap(module: Any, name: str, wrong: Any) -> Callable[[Patch], None]:
    """Put `wrong` in the place of a function that a model file uses."""
    return lambda patch: patch(module, name, wrong)


def same_at_stride_2(dims: int, _: int, n_out: int, size: int, stride: int = 1, padding: int = 0) -> nn.Conv:
    pads: Any = "SAME" if stride == 2 and size == 3 else ((padding, padding),) * dims
    return nn.Conv(n_out, (size,) * dims, strides=stride, padding=pads, use_bias=False)


def shifted_first(dims: int, _: int, n_out: int, size: int, stride: int = 1, padding: int = 0) -> nn.Conv:
    pads = ((padding + 1, padding - 1) if size == 80 else (padding, padding),) * dims
    return nn.Conv(n_out, (size,) * dims, strides=stride, padding=pads)


class Biased(BatchNorm):
    @nn.compact
    def __call__(self, x, *, train):
        shape = (self.num_features,)
        scale, bias = (self.param(n, nn.initializers.ones, shape, jnp.float32) for n in ("scale", "bias"))
        mean, var = (self.variable("batch_stats", n, jnp.zeros, shape, jnp.float32) for n in ("mean", "var"))
        count = self.variable("batch_stats", "num_batches_tracked", jnp.zeros, (), int)
        x_mean, x_var, axes = mean.value, var.value, tuple(range(x.ndim - 1))
        if train:
            x_mean, x_var = x.mean(axes), x.var(axes)
            mean.value = 0.9 * mean.value + 0.1 * x_mean
            var.value = 0.9 * var.value + 0.1 * x_var
            count.value += 1
        return (x - x_mean) / jnp.sqrt(x_var + self.epsilon) * scale + bias


class NoLastReLU(resnet.BasicBlock):
    def __call__(self, x, *, train=False):
        y = relu(self.bn1(self.conv1(x), train=train))
        return self.bn2(self.conv2(y), train=train) + sequential(self.downsample, x, train=train)


class NoShortcut(resnet.BasicBlock):
    def __call__(self, x, *, train=False):
        y = relu(self.bn1(self.conv1(x), train=train))
        y = self.bn2(self.conv2(y), train=train)
        return relu(y + sequential(self.downsample, x, train=train)) if self.downsample else relu(y)


class ShortcutAfter(resnet.BasicBlock):
    def __call__(self, x, *, train=False):
        y = relu(self.bn1(self.conv1(x), train=train))
        return relu(self.bn2(self.conv2(y), train=train)) + sequential(self.downsample, x, train=train)


class Unfrozen(resnet.ResNet):
    def __call__(self, x, *, train=False):
        x = relu(self.bn1(self.conv1(x), train=train))
        x = max_pool(x, 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = sequential(stage, x, train=train)
        return sequential(self.fc, global_average_pool(x), train=train)


class DeadPool(inception.InceptionBlock):
    """The bug of the teaching notebook that this project exists for."""

    def __call__(self, x, *, train=False):
        paths = (self.path1, self.path3, self.path5)
        pooled = self.path_pool[0](x)  # computed, and never used
        pooled = self.path_pool[1](x, train=train)
        return jnp.concatenate([*(sequential(path, x, train=train) for path in paths), pooled], axis=-1)


class OtherOrder(inception.InceptionBlock):
    def __call__(self, x, *, train=False):
        paths = (self.path1, self.path5, self.path3, self.path_pool)
        return jnp.concatenate([sequential(path, x, train=train) for path in paths], axis=-1)


class NormFirst(quizdnn.Unit):
    def __call__(self, x, *, train=False):
        return relu(self.bn(self.conv(x), train=train))


class LessAdded(quizdnn.QuizDNN):
    def __call__(self, x, *, train=False):
        x1 = self.unit1(x, train=train)
        x2 = self.unit2(x1, train=train)
        x3 = self.unit3(x2, train=train)
        x4 = max_pool(x1 + x2 + x3, 2)
        x5 = self.unit5(x4, train=train)
        x6 = self.unit6(x4 + x5, train=train)
        x7 = self.unit7(x4 + x5 + x6, train=train)
        x8 = max_pool(x5 + x6 + x7, 2)
        x9 = self.unit9(x8, train=train)
        x10 = self.unit10(x8 + x9, train=train)
        x11 = self.unit11(x8 + x9 + x10, train=train)
        return self.fc(global_average_pool(x11))


class Softmaxed(ann.ANN):
    def __call__(self, x, *, train=False):
        return jax.nn.log_softmax(super().__call__(x, train=train))


class NoDropout(ann.ANN):
    def __call__(self, x, *, train=False):
        x = relu(self.bn1(self.fc1(flatten(x)), train=train))
        x = relu(self.bn2(self.fc2(self.drop1(x, deterministic=not train)), train=train))
        return self.fc3(x)


def pad_in_front(x: jax.Array, kernel_size: int) -> jax.Array:
    before, after = kernel_size // 2, (kernel_size - 1) // 2
    return jnp.pad(x, ((0, 0), *((before, after),) * (x.ndim - 2), (0, 0)))


def zero_at_zero(x: jax.Array) -> jax.Array:
    return jnp.maximum(x, 0)


def average_pool(x: jax.Array, size: int, *_: Any, **__: Any) -> jax.Array:
    return nn.avg_pool(x, (size,) * (x.ndim - 2), (size,) * (x.ndim - 2))


def floor_pool(x: jax.Array, *args: int, **options: Any) -> jax.Array:
    return max_pool(x, *args, **{**options, "ceil": False})


def maximum_over_all(x: jax.Array) -> jax.Array:
    return x.max(tuple(range(1, x.ndim - 1)))


NETWORKS = [
    (
        "SAME at stride 2",
        4,
        "resnet18_cifar",
        swap(resnet, "conv", same_at_stride_2),
        "forward, eval",
        "layer2_0/conv1",
        r"^SAME padding.*\(trap 4\)",
    ),
    (
        "epsilon 1e-3",
        2,
        "resnet18_cifar",
        swap(resnet, "BatchNorm", partial(BatchNorm, epsilon=1e-3)),
        "forward, eval",
        "bn1",
        r"epsilon is 0.001 .*\(trap 2\)",
    ),
    (
        "biased variance",
        1,
        "resnet18_cifar",
        swap(resnet, "BatchNorm", Biased),
        "BatchNorm statistics",
        "bn1/var",
        r"biased one.*\(trap 1\)",
    ),
    (
        "momentum 0.01",
        2,
        "ann",
        swap(ann, "BatchNorm", partial(BatchNorm, momentum=0.01)),
        "BatchNorm statistics",
        "bn1/mean",
        r"share is 0.01 where PyTorch's is 0.1 \(trap 2\)",
    ),
    (
        "no ReLU behind the sum",
        10,
        "resnet18_cifar",
        lambda _: partial(resnet.resnet18, block=NoLastReLU, small_images=True),
        "forward, eval",
        "layer1_0",
        r"PyTorch: .* \+ .*, ReLU; Flax: ",
    ),
    (
        "no shortcut",
        10,
        "resnet18_cifar",
        lambda _: partial(resnet.resnet18, block=NoShortcut, small_images=True),
        "forward, eval",
        "layer1_0",
        r"PyTorch: .* \+ .*, ReLU; Flax: layer1_0/bn2, ReLU \(trap 10\)",
    ),
    (
        "shortcut behind the ReLU",
        10,
        "resnet18_cifar",
        lambda _: partial(resnet.resnet18, block=ShortcutAfter, small_images=True),
        "forward, eval",
        "layer1_0",
        "",
    ),
    (
        "frozen statistics move",
        21,
        "resnet50_transfer",
        lambda _: partial(
            Unfrozen, block=resnet.Bottleneck, hidden=(128, 64), depths=(1, 2, 1, 1), num_classes=10, frozen=True
        ),
        "forward, train",
        "bn1",
        r"batch's statistics are used in evaluation, too \(trap 21\)",
    ),
    (
        "maximum for mean",
        7,
        "resnet18_cifar",
        swap(resnet, "global_average_pool", maximum_over_all),
        "forward, eval",
        "fc",
        "PyTorch: .*mean over all positions; Flax: .*maximum over all positions",
    ),
    (
        "dead max-pool",
        10,
        "inception",
        swap(inception, "InceptionBlock", DeadPool),
        "forward, eval",
        "blocks_0/path_pool_1",
        r"PyTorch: .*max-pool 3, stride 1, padding 1; Flax: blocks_0's input \(trap 10\): .*"
        "between blocks_0's input and blocks_0/path_pool_1 differs",
    ),
    (
        "paths in another order",
        10,
        "inception",
        swap(inception, "InceptionBlock", OtherOrder),
        "forward, eval",
        "blocks_0",
        r"PyTorch: \[.*\]; Flax: \[.*\]",
    ),
    (
        "BatchNorm before ReLU",
        10,
        "quizdnn",
        swap(quizdnn, "Unit", NormFirst),
        "forward, eval",
        "unit1/bn",
        r"PyTorch: unit1/conv, ReLU; Flax: unit1/conv \(trap 10\)",
    ),
    (
        "a summand is left out",
        10,
        "quizdnn",
        lambda _: LessAdded,
        "forward, eval",
        "unit3",
        r"PyTorch: unit1 \+ unit2; Flax: unit2 \(trap 10\)",
    ),
    (
        "the pixel more in front",
        5,
        "vgg_shrink",
        swap(vgg_shrink, "pad_same", pad_in_front),
        "forward, eval",
        "conv2_1",
        r"zeros \(1, 2\); Flax: .*zeros \(2, 1\) \(trap 5\)",
    ),
    (
        "first padding shifted",
        4,
        "m5",
        swap(m5, "conv", shifted_first),
        "forward, eval",
        "conv_0",
        r"shifted padding: \(39, 37\) where PyTorch pads \(38, 38\)",
    ),
    (
        "average for max-pool",
        6,
        "lenet5",
        swap(lenet5, "max_pool", average_pool),
        "forward, eval",
        "conv2",
        r"Flax: conv1, ReLU, average pool 2, stride 2 \(trap 6\)",
    ),
    (
        "tanh GELU for ReLU",
        10,
        "lenet5",
        swap(lenet5, "relu", jax.nn.gelu),
        "forward, eval",
        "conv2",
        r"PyTorch: conv1, ReLU, .*; Flax: conv1, tanh GELU",
    ),
    (
        "log softmax of the logits",
        18,
        "ann",
        lambda _: Softmaxed,
        "forward, eval",
        "output",
        r"PyTorch: fc3; Flax: fc3, log softmax",
    ),
    ("a dropout is left out", 20, "ann", lambda _: NoDropout, "forward, train", "fc3", ""),
    (
        "no ceil mode",
        6,
        "googlenet",
        swap(googlenet, "max_pool", floor_pool),
        "forward, eval",
        "conv2",
        r"ceil mode; Flax: conv1, max-pool 3, stride 2 \(trap 6\)",
    ),
]


BUGS = [
    Planted(bug, trap, name, partial(of_network, name, plant), *rest) for bug, trap, name, plant, *rest in NETWORKS
]
