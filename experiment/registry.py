"""What a network's file registers, and how the registries are filled."""

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any, NamedTuple

from data.registry import discover, lookup
from experiment.own_network import CHANNELS, Maker, Target, find, is_reference, parse_target


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
    any_size: bool = False  # takes images of any height and width: it ends with a mean over all positions
    pretrained: Mapping[str, Any] = {}  # what `build` needs to be told for torchvision's weights
    # The name of a network of the user's own; then `num_params` is 0, and an empty `input_shape` is the dataset's.
    own: str = ""


class Models(dict[str, Entry]):
    """Every registered network by name; a name with arguments, and one of the user's own, is found, too.

    Iterating and `len` are for the registered ones.
    """

    def __init__(self, framework: str, registered: Mapping[str, Entry]):
        super().__init__(registered)
        self._framework = framework

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and is_reference(name))

    def get(self, name: str, default: Any = None) -> Any:
        """Return the entry of a name, or the default."""
        if name in self:
            return self[name]
        return default

    def __missing__(self, name: str) -> Entry:
        """Return the entry of a name with arguments, or of a network of the user's own.

        Raises:
            UserError: there is none.
        """
        if not is_reference(name):
            raise KeyError(name)
        target = parse_target(name)
        if target.source or target.is_object:
            return self._own(target)
        entry: Entry = lookup("model", target.name, dict(self))
        maker = Maker(target, entry.build)
        return entry._replace(build=maker, num_params=0, own=target.text)

    def _own(self, target: Target) -> Entry:
        value, _ = find(target)
        if isinstance(value, Entry):
            return value._replace(own=target.text)
        adapt = importlib.import_module(f"{self._framework}.own_network").adapt
        shape = getattr(value, "input_shape", ())
        fits = isinstance(shape, (tuple, list)) and len(shape) in (2, 3) and all(type(n) is int for n in shape)
        maker = Maker(target, value, adapt)
        return Entry(maker, tuple(shape) if fits else (), 0, target.text, getattr(value, "head", ""), own=target.text)


def find_models(framework: str) -> Models:
    """Return every network of `framework` ("jaxnets" or "torchnets") by name.

    A network is a file in `<framework>/models` with a dict `MODELS` of names to `Entry`; there is no other list.
    """
    return Models(framework, discover(f"{framework}.models", "MODELS"))


def with_shape(entry: Entry, shape: tuple[int, ...]) -> Entry:
    """Return the entry of a network; one of the user's own takes inputs of `shape`, unless it says which."""
    if not entry.own:
        return entry
    shape = entry.input_shape or shape
    channels = {name: shape[-1] for name in CHANNELS if name in signature(entry.build).parameters}
    return entry._replace(input_shape=shape, build=partial(entry.build, **channels))
