"""What a network's file registers, and how the registries are filled."""

from collections.abc import Callable
from typing import Any, NamedTuple

from data.registry import discover


class Entry(NamedTuple):
    """A network: how it is made, and what must be true of it."""

    build: Callable[..., Any]  # build(num_classes=10, **options) makes the module
    input_shape: tuple[int, ...]  # of one input: (H, W, C), channels last on both sides
    num_params: int  # trainable, with the default number of classes
    source: str  # the paper or specification that it follows


def find_models(framework: str) -> dict[str, Entry]:
    """Return every network of `framework` ("jaxnets" or "torchnets") by name.

    A network is a file in `<framework>/models` with a dict `MODELS` of names to `Entry`; there is no other list.
    """
    return discover(f"{framework}.models", "MODELS")
