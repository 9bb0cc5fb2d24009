"""ResNet: He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", arXiv 1512.03385.

In torchvision's names and shapes: version 1.5, whose bottleneck has its stride at the 3x3 convolution. Then its
sisters: for 32x32 pixels, for waveforms, and a frozen ResNet-50 with a head of its own for transfer learning.
"""

from functools import partial
from typing import Any

import jax
from flax import linen as nn

from experiment.geometry import window
from experiment.registry import Entry, Small
from jaxnets.layers import BatchNorm, global_average_pool, he_normal, linear, max_pool, relu, sequential
from jaxnets.layers import conv as any_conv

conv = partial(any_conv, bias=False, init=he_normal)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, (N, ..., in_channels) to (N, ..., planes)."""

    in_channels: int
    planes: int
    stride: int
    dims: int
    expansion = 1

    def setup(self):
        n, p, d, size = self.in_channels, self.planes, self.dims, window(self.dims, 3)
        self.conv1 = conv(d, n, p, size, self.stride, size // 2)
        self.bn1 = BatchNorm(p)
        self.conv2 = conv(d, p, p, size, 1, size // 2)
        self.bn2 = BatchNorm(p)
        self.downsample = [conv(d, n, p, 1, self.stride), BatchNorm(p)] if n != p else []

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        y = relu(self.bn1(self.conv1(x), train=train))
        y = self.bn2(self.conv2(y), train=train)
        return relu(y + sequential(self.downsample, x, train=train))


class Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3, 1x1 and a shortcut, (N, ..., in_channels) to (N, ..., 4 * planes)."""

    in_channels: int
    planes: int
    stride: int
    dims: int
    expansion = 4

    def setup(self):
        n, p, d, size, out = self.in_channels, self.planes, self.dims, window(self.dims, 3), 4 * self.planes
        self.conv1 = conv(d, n, p, 1)
        self.bn1 = BatchNorm(p)
        self.conv2 = conv(d, p, p, size, self.stride, size // 2)
        self.bn2 = BatchNorm(p)
        self.conv3 = conv(d, p, out, 1)
        self.bn3 = BatchNorm(out)
        self.downsample = [conv(d, n, out, 1, self.stride), BatchNorm(out)] if n != out else []

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        y = relu(self.bn1(self.conv1(x), train=train))
        y = relu(self.bn2(self.conv2(y), train=train))
        y = self.bn3(self.conv3(y), train=train)
        return relu(y + sequential(self.downsample, x, train=train))


class ResNet(nn.Module):
    """A stem, four stages of blocks, a head; (N, H, W, C), or (N, length, C), to (N, num_classes)."""

    block: Any
    depths: tuple[int, int, int, int]
    num_classes: int = 1000
    in_channels: int = 3
    width: int = 64
    dims: int = 2
    small_images: bool = False  # a 3x3 stem and no max-pool
    hidden: tuple[int, ...] = ()  # linear layers before the last one
    dropout: float | None = None  # behind each of these
    frozen: bool = False  # only `fc` is trained

    def setup(self):
        d, width, size = self.dims, self.width, window(self.dims, 3 if self.small_images else 7)
        self.conv1 = conv(d, self.in_channels, width, size, 1 if self.small_images else window(d, 2), size // 2)
        self.bn1 = BatchNorm(width)
        stages, channels = [], width
        for stage, depth in enumerate(self.depths):
            planes, blocks = width * 2**stage, []
            for at in range(depth):
                stride = window(d, 2) if stage > 0 and at == 0 else 1
                blocks += [self.block(channels, planes, stride, d)]
                channels = planes * self.block.expansion
            stages += [blocks]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        head: list[Any] = []
        for out in self.hidden if self.num_classes else ():
            head += [linear(channels, out), relu, nn.Dropout(self.dropout or 0.0)]
            channels = out
        last = linear(channels, self.num_classes)
        self.fc: Any = [*head, last] if head else last

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return logits."""
        return self.head(self.features(x, train=train), train=train)

    @nn.nowrap  # or Flax would put "ResNet.features" in front of the name of every operation
    def features(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return what the head takes, (N, channels)."""
        moving = train and not self.frozen  # frozen layers keep their statistics still, too (trap 21)
        x = relu(self.bn1(self.conv1(x), train=moving))
        if not self.small_images:
            size = window(self.dims, 3)
            x = max_pool(x, size, window(self.dims, 2), size // 2)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = sequential(stage, x, train=moving)
        return global_average_pool(x)

    @nn.nowrap
    def head(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return logits of features (N, channels)."""
        return sequential([self.fc] if callable(self.fc) else self.fc, x, train=train)

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
