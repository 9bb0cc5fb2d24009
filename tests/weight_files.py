"""Weights to convert and to start from: ordinary ones, ones of random bits, and files that run code if let."""

import io
import os
from functools import partial
from pathlib import Path

import numpy as np
import torch

import jaxnets
import torchnets
from experiment.registry import Entry


def small(entry: Entry) -> Entry:
    """The network in the size in which it is checked: nothing here depends on there being 138 million numbers."""
    shape = entry.small.input_shape or entry.input_shape
    return entry._replace(build=partial(entry.build, **entry.small.options), input_shape=shape)


def shrink(monkeypatch, name: str) -> None:
    for package in (jaxnets, torchnets):
        monkeypatch.setitem(package.MODELS, name, small(package.MODELS[name]))


def any_bits(name: str, num_classes: int = 10) -> dict[str, torch.Tensor]:
    """A state_dict of random bits: NaNs with payloads, infinities and subnormals are among them, and -0.0."""
    generator = np.random.default_rng(0)
    state = {}
    for key, tensor in torchnets.MODELS[name].build(num_classes=num_classes).state_dict().items():
        if tensor.is_floating_point():
            bits = generator.integers(0, 2**32, tensor.numel(), np.uint32)
            bits[:1], bits[-1:] = 0x7FA00001, 0x80000000  # a signalling NaN, and -0.0
            state[key] = torch.from_numpy(bits.view(np.float32).reshape(tuple(tensor.shape)))
        else:
            state[key] = torch.tensor(int(generator.integers(0, 2**31)), dtype=tensor.dtype)
    return state


def ann(num_classes: int = 10) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(torchnets.MODELS["ann"].build(num_classes=num_classes).state_dict())


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


class EvilSystem:
    def __reduce__(self):
        return os.system, ("touch executed",)


def saved(thing: object, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer, **options)
    return buffer.getvalue()
