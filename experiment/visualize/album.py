"""All pictures of a network and an input: which there are, in what order, with captions."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from experiment.activations import Activation, Kernel, Pool
from experiment.runs.plots import drawable
from experiment.visualize.evidence import draw_grad_cam, draw_saliency, grad_cam, saliency
from experiment.visualize.filters import draw_filters, draw_responses
from experiment.visualize.maps import draw_activation
from experiment.visualize.mistakes import Mistake, draw_mistakes
from experiment.visualize.pooling import draw_pool
from experiment.visualize.subject import Subject, draw_input

TITLE = 40  # characters of the name of a run or of a file in a title


class Findings(NamedTuple):
    """What a network computes for one input, in numpy's arrays; the same for both frameworks."""

    network: str  # its name
    classes: Sequence[str]
    subject: Subject
    shares: np.ndarray  # (classes,) probabilities
    activations: Mapping[str, Activation]  # by name, in the order of the code; of one example
    kernels: Mapping[str, Kernel]
    pools: Mapping[str, Pool]
    layer: str | None  # whose filters are drawn
    by_input: np.ndarray  # (..., C) gradient of the predicted class's logit
    cam_layer: str | None  # at whose output Grad-CAM looks
    by_activation: np.ndarray | None  # (..., C) gradient there
    source: str = ""  # what the input is: "test example 3" or the name of a file
    true: str | None = None  # the class of the input, if it is known
    mistakes: Sequence[Mistake] = ()
    tested: str = ""  # how many test examples are wrong, in words

    @property
    def predicted(self) -> str:
        """The likeliest class."""
        return self.classes[int(self.shares.argmax())]

    @property
    def seconds(self) -> float | None:
        """How long the input is, if it is a sound."""
        rate = self.subject.rate
        return len(self.subject.values) / rate if self.subject.is_sound and rate else None


class Picture(NamedTuple):
    """A picture of the album."""

    section: str
    file: str
    caption: str
    alternative: str  # text for those who do not see it
    draw: Callable[[], bytes]


KINDS = {"relu": "ReLU", "gelu": "GELU", "max_pool": "max-pooling", "average_pool": "average pooling", "add": "sum"}
SECTIONS = {
    "Input": "What the network is given, and what it makes of it.",
    "Filters": "The weights that a layer has learned. Of images they show edges and colors, of sounds frequencies.",
    "Evidence": "What in the input the prediction depends on.",
    "Max-pooling": "Of each window, the largest value is kept.",
    "Activations": "What each layer and each function puts out, in the order of the code and named as there.",
    "Mistakes": "The test examples that are classified wrongly with the largest probability.",
}


def pictures(found: Findings) -> list[Picture]:
    """Return the pictures in the order of the page."""
    parts = (_input, _filters, _evidence, _pools, _activations, _mistakes)
    return [picture for part in parts for picture in part(found)]


def _input(found: Findings) -> Iterator[Picture]:
    true = f", true class {found.true}" if found.true is not None else ""
    title = f"{drawable(found.source, TITLE)}: predicted {drawable(found.predicted, 24)}"
    about = f"{drawable(found.network, TITLE)}" + (f"; true class {drawable(found.true, 24)}" if found.true else "")
    caption = f"{found.source}{true}: predicted {found.predicted} with a probability of {found.shares.max():.1%}."
    kind = "Waveform" if found.subject.is_sound else "Picture"
    text = f"{kind} of the input beside bars of the probabilities of the likeliest classes."
    draw = partial(draw_input, found.subject, found.classes, found.shares, title, about)
    yield Picture("Input", "input.png", caption, text, draw)


def _filters(found: Findings) -> Iterator[Picture]:
    if found.layer is None:
        return
    kernel = found.kernels[found.layer]
    if kernel.kind == "convolution":
        kernel = kernel._replace(values=_upright(found, kernel.values))
    rate = found.subject.rate
    if kernel.kind == "convolution" and rate and len(kernel.input_shape) == 2:
        rate = rate * kernel.input_shape[0] / len(found.subject.values)  # of what the layer is given
    flat = found.subject.values.shape
    image = flat if kernel.input_shape == (int(np.prod(flat)),) else ()
    what = "filters" if kernel.kind == "convolution" else "weights"
    words = f"The {what} of {found.layer}, {' x '.join(map(str, kernel.values.shape))} (positions, inputs, outputs)."
    if kernel.kind == "linear":
        words = f"The weights of {found.layer}, {kernel.values.shape[0]} inputs by {kernel.values.shape[1]} units."
    yield Picture(
        "Filters",
        f"filters-{_file(found.layer)}.png",
        words,
        f"The {what} of the layer {found.layer}, drawn as a grid.",
        partial(draw_filters, found.layer, kernel, rate, image),
    )
    if kernel.kind == "convolution" and len(kernel.input_shape) == 2:
        yield Picture(
            "Filters",
            f"responses-{_file(found.layer)}.png",
            f"How much each filter of {found.layer} lets through of each frequency.",
            f"A map of the frequency responses of the filters of {found.layer}, sorted by frequency.",
            partial(draw_responses, found.layer, kernel, rate),
        )


def _evidence(found: Findings) -> Iterator[Picture]:
    name = drawable(found.predicted, 24)
    yield Picture(
        "Evidence",
        "saliency.png",
        f"Input gradient: how much the logit of {found.predicted} changes with each value of the input.",
        "The input, and the magnitude of the gradient at each of its positions.",
        partial(draw_saliency, found.subject, saliency(found.by_input), f"Input gradient of class {name}"),
    )
    if found.cam_layer is None or found.by_activation is None:
        return
    values = grad_cam(found.activations[found.cam_layer].values[0], found.by_activation)
    title = f"Grad-CAM of class {name} at {found.cam_layer}"
    yield Picture(
        "Evidence",
        "grad-cam.png",
        f"Grad-CAM: the channels of {found.cam_layer}, each weighted by the mean gradient of the logit of "
        f"{found.predicted}; what speaks against the class is left out.",
        "The input, and a map of where the activations speak for the predicted class.",
        partial(draw_grad_cam, found.subject, values, title),
    )


def _pools(found: Findings) -> Iterator[Picture]:
    for name, pool in found.pools.items():
        shown = Pool(*(_upright(found, values[0])[None] for values in pool))
        words = f"{name}: input, the positions that are kept, and output, in the channels with the largest outputs."
        yield Picture(
            "Max-pooling",
            f"pool-{_file(name)}.png",
            words,
            f"Channels of the input of {name}, which of their values are kept, and the output.",
            partial(draw_pool, name, shown, found.seconds),
        )


def _activations(found: Findings) -> Iterator[Picture]:
    last = [*found.activations][-1:]
    digits = len(str(len(found.activations)))
    for at, (name, activation) in enumerate(found.activations.items(), 1):
        values = _upright(found, activation.values[0])
        size = " x ".join(map(str, values.shape))
        kind = KINDS.get(activation.kind, activation.kind.replace("_", " "))
        is_output = [name] == last and values.shape == (len(found.classes),)
        yield Picture(
            "Activations",
            f"activation-{at:0{digits}}-{_file(name)}.png",
            f"{name}: {kind}, {size}.",
            f"The activations of {name}.",
            partial(
                draw_activation, f"{name}: {kind}, {size}", values, found.seconds, found.classes if is_output else ()
            ),
        )


def _mistakes(found: Findings) -> Iterator[Picture]:
    if found.mistakes:
        yield Picture(
            "Mistakes",
            "mistakes.png",
            f"{found.tested}. The mistakes with the largest probability of the predicted class, largest first.",
            "; ".join(f"example {one.number}: {one.predicted} in place of {one.true}" for one in found.mistakes),
            partial(draw_mistakes, found.mistakes, "The most confident mistakes", found.tested),
        )


def _upright(found: Findings, values: np.ndarray) -> np.ndarray:
    """Return maps (H, W, ...) as the input is drawn: in spectrograms the pitch goes up."""
    return values[::-1] if found.subject.spectrogram and values.ndim > 2 else values


def _file(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)
