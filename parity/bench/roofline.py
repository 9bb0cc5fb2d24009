"""The least time that a step can take on a device: Williams, Waterman and Patterson 2009, "Roofline".

Products: each weight of a layer with a kernel is multiplied and added at each output position (see
`experiment.model_summary`); what has no kernel counts nothing. A training step does so three times: forward, and
backward once for the weights' gradients and once for the inputs'; frozen layers only forward.

Bytes: what has to cross the memory's bus if everything else stays in caches. Each layer's output is written once and
read once, the batch is read once. Inference reads the weights once. Training reads and writes weights, gradients and
the optimizer's slots once. Weights, gradients and slots have 4 bytes, under bfloat16 activations have 2.

A small network whose whole state fits into the caches can be faster than this; its share is then above 1.
"""

from typing import NamedTuple

SLOTS = {
    "sgd": 0,
    "momentum": 1,
    "nesterov": 1,
    "adam": 2,
    "adamw": 2,
    "rmsprop": 1,
    "muon": 1,
}  # of each trained weight
WEIGHT_BYTES = 4
ACTIVATION_BYTES = {"float32": 4, "bfloat16": 2}


class Size(NamedTuple):
    """A network, as one example passes it."""

    flops: int  # of the forward pass
    trained_flops: int  # of these, in layers that are trained
    weights: int  # all values, frozen ones too
    trained_weights: int
    activations: int  # values that layers put out, together
    inputs: int  # values of an example


class Work(NamedTuple):
    """What a step has to do at least."""

    flops: int
    bytes: int


class Peak(NamedTuple):
    """What a device was seen to do."""

    flops: float  # a second, in a large matrix product
    bandwidth: float  # bytes a second, read and written


def training(size: Size, batch: int, precision: str, optimizer: str) -> Work:
    """Return the work of a training step."""
    moved = WEIGHT_BYTES * (size.weights - size.trained_weights)
    moved += 2 * WEIGHT_BYTES * size.trained_weights * (2 + SLOTS[optimizer])
    return Work(batch * (size.flops + 2 * size.trained_flops), moved + batch * _passing(size, precision))


def inference(size: Size, batch: int, precision: str) -> Work:
    """Return the work of a forward pass."""
    return Work(batch * size.flops, WEIGHT_BYTES * size.weights + batch * _passing(size, precision))


def _passing(size: Size, precision: str) -> int:
    """Return the bytes of activations and inputs, for one example."""
    return ACTIVATION_BYTES[precision] * (2 * size.activations + size.inputs)


def limit_seconds(work: Work, peak: Peak) -> float:
    """Return the least time of a step."""
    return max(work.flops / peak.flops, work.bytes / peak.bandwidth)


def limited_by(work: Work, peak: Peak) -> str:
    """Return which of the two limits decides."""
    return "compute" if work.flops / peak.flops >= work.bytes / peak.bandwidth else "bandwidth"


def better(peaks: list[Peak]) -> Peak:
    """Return the device's peak: the best that any framework came to."""
    return Peak(max(peak.flops for peak in peaks), max(peak.bandwidth for peak in peaks))
