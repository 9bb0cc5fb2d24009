"""ResNet: He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", arXiv 1512.03385.

In torchvision's names and shapes: version 1.5, whose bottleneck has its stride at the 3x3 convolution. Then its
sisters: for 32x32 pixels, for waveforms, and a frozen ResNet-50 with a head of its own for transfer learning.
"""

from functools import partial
from typing import Any

import jax
from flax import nnx

from experiment.geometry import window
from experiment.registry import Entry, Small
from jaxnets.nnx.layers import BatchNorm, global_average_pool, he_normal, linear, max_pool, relu, sequential
from jaxnets.nnx.layers import conv as any_conv

conv = partial(any_conv, bias=False, init=he_normal)


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions and a shortcut, (N, ..., in_channels) to (N, ..., planes)."""

    expansion = 1

    def __init__(self, in_channels: int, planes: int, stride: int, dims: int, *, rngs: nnx.Rngs):
        n, p, d, size = in_channels, planes, dims, window(dims, 3)
        self.conv1 = conv(d, n, p, size, stride, size // 2, rngs=rngs)
        self.bn1 = BatchNorm(p)
        self.conv2 = conv(d, p, p, size, 1, size // 2, rngs=rngs)
        self.bn2 = BatchNorm(p)
        self.downsample = nnx.List([conv(d, n, p, 1, stride, rngs=rngs), BatchNorm(p)] if n != p else [])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the sum of both ways."""
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return relu(y + sequential(self.downsample, x))


class Bottleneck(nnx.Module):
    """Convolutions 1x1, 3x3, 1x1 and a shortcut, (N, ..., in_channels) to (N, ..., 4 * planes)."""

    expansion = 4

    def __init__(self, in_channels: int, planes: int, stride: int, dims: int, *, rngs: nnx.Rngs):
        n, p, d, size, out = in_channels, planes, dims, window(dims, 3), 4 * planes
        self.conv1 = conv(d, n, p, 1, rngs=rngs)
        self.bn1 = BatchNorm(p)
        self.conv2 = conv(d, p, p, size, stride, size // 2, rngs=rngs)
        self.bn2 = BatchNorm(p)
        self.conv3 = conv(d, p, out, 1, rngs=rngs)
        self.bn3 = BatchNorm(out)
        self.downsample = nnx.List([conv(d, n, out, 1, stride, rngs=rngs), BatchNorm(out)] if n != out else [])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the sum of both ways."""
        y = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return relu(y + sequential(self.downsample, x))


class ResNet(nnx.Module):
    """A stem, four stages of blocks, a head; (N, H, W, C), or (N, length, C), to (N, num_classes)."""

    def __init__(
        self,
        block: Any,
        depths: tuple[int, int, int, int],
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        dims: int = 2,
        small_images: bool = False,  # a 3x3 stem and no max-pool
        hidden: tuple[int, ...] = (),  # linear layers before the last one
        dropout: float | None = None,  # behind each of these
        frozen: bool = False,  # only `fc` is trained
        *,
        rngs: nnx.Rngs,
    ):
        self.dims, self.small_images, self.frozen = dims, small_images, frozen
        d, size = dims, window(dims, 3 if small_images else 7)
        self.conv1 = conv(d, in_channels, width, size, 1 if small_images else window(d, 2), size // 2, rngs=rngs)
        self.bn1 = BatchNorm(width)
        stages, channels = [], width
        for stage, depth in enumerate(depths):
            planes, blocks = width * 2**stage, []
            for at in range(depth):
                stride = window(d, 2) if stage > 0 and at == 0 else 1
                blocks += [block(channels, planes, stride, d, rngs=rngs)]
                channels = planes * block.expansion
            stages += [nnx.List(blocks)]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        head: list[Any] = []
        for out in hidden if num_classes else ():
            head += [linear(channels, out, rngs=rngs), relu, nnx.Dropout(dropout or 0.0, rngs=rngs)]
            channels = out
        last = linear(channels, num_classes, rngs=rngs)
        self.fc: Any = nnx.List([*head, last]) if head else last

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return logits."""
        return self.head(self.features(x))

    def features(self, x: jax.Array) -> jax.Array:
        """Return what the head takes, (N, channels)."""
        for name, layer in nnx.iter_children(self):  # frozen layers keep their statistics still, too (trap 21)
            if not self.is_trained(str(name)):
                layer.eval()
        x = relu(self.bn1(self.conv1(x)))
        if not self.small_images:
            size = window(self.dims, 3)
            x = max_pool(x, size, window(self.dims, 2), size // 2)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = sequential(stage, x)
        return global_average_pool(x)

    def head(self, x: jax.Array) -> jax.Array:
        """Return logits of features (N, channels)."""
        return sequential([self.fc] if callable(self.fc) else self.fc, x)

    def is_trained(self, name: str) -> bool:
        """Tell whether the layer of this name is trained, or frozen."""
        return not self.frozen or name.startswith("fc")


SOURCE = "He et al. 2016, arXiv 1512.03385"
DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
BLOCKS = {"resnet18": BasicBlock, "resnet34": BasicBlock, "resnet50": Bottleneck}
QUICK = {"depths": (1, 2, 1, 1)}  # blocks with and without a stride and a shortcut of their own
NUM_PARAMS = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032}
resnet18 = partial(ResNet, block=BasicBlock, depths=DEPTHS["resnet18"], num_classes=10)
resnet50 = partial(ResNet, block=Bottleneck, depths=DEPTHS["resnet50"], num_classes=10)
MODELS = {
    name: Entry(
        partial(ResNet, block=BLOCKS[name], depths=DEPTHS[name]),
        (224, 224, 3),
        count,
        SOURCE,
        "fc",
        any_size=True,
        small=Small((64, 64, 3), {"width": 8, "num_classes": 10}, QUICK),
        torchvision=name,
    )
    for name, count in NUM_PARAMS.items()
} | {
    "resnet18_cifar": Entry(
        partial(resnet18, small_images=True),
        (32, 32, 3),
        11_173_962,
        f"{SOURCE}, for 32x32",
        "fc",
        any_size=True,
        small=Small((32, 32, 3), {"width": 8}, QUICK),
    ),
    "resnet18_1d": Entry(
        partial(resnet18, in_channels=1, dims=1),
        (8000, 1),
        11_175_370,
        f"{SOURCE}, for waveforms",
        "fc",
        small=Small((2000, 1), {"width": 8}, QUICK),
    ),
    "resnet50_transfer": Entry(
        partial(resnet50, hidden=(128, 64), dropout=0.2, frozen=True),
        (32, 32, 3),
        271_178,
        f"{SOURCE}, frozen, with a head 2048-128-64-10",
        "fc",
        any_size=True,
        num_frozen=23_508_032,
        small=Small((32, 32, 3), {"width": 8}, QUICK),
        torchvision="resnet50",
    ),
}
