"""What a network's file registers, and how the registries are filled."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from data.registry import discover


class Small(NamedTuple):
    """A size of a large network in which two cores can check every number in float64."""

    input_shape: tuple[int, ...]
    options: Mapping[str, Any] = {}  # further arguments of `build`
    quick: Mapping[str, Any] = {}  # still more of them, for a quick check: most often fewer layers of a kind


class Entry(NamedTuple):
    """A network: how it is made, and what must be true of it."""

    build: Callable[..., Any]  # build(num_classes=..., **options) makes the module
    # Of one input, channels last on both sides: (H, W, C), or (length, C) of a waveform, where any length will do.
    input_shape: tuple[int, ...]
    num_params: int  # trainable, with the default number of classes
    source: str  # the paper or specification that it follows
    head: str  # PyTorch's name of the layer that is made anew for another task: "fc", "classifier.6"
    num_frozen: int = 0  # parameters that are never trained
    small: Small = Small(())  # by default the network as it is
    torchvision: str = ""  # torchvision's name of the network, if it has it: names and shapes are then the same
    whitens: str = (
        ""  # its first convolution, if that whitens patches of the training examples: `experiment.loop.whitening`
    )
    pretrained: Mapping[str, Any] = {}  # what `build` needs to be told for torchvision's weights


def find_models(framework: str) -> dict[str, Entry]:
    """Return every network of `framework` ("jaxnets" or "torchnets") by name.

    A network is a file in `<framework>/models` with a dict `MODELS` of names to `Entry`; there is no other list.
    """
    return discover(f"{framework}.models", "MODELS")
