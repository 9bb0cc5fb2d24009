"""Against torchvision itself: its own modules, not ours, held against our Flax ones, at full width and depth.

Run by: python -m parity torchvision [NAME ...] --data-dir DIR
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from torch import nn

import jaxnets
from data import fit_to, load
from data.base import full_scale
from data.loader import normalise
from data.registry import lookup
from experiment.registry import Entry
from jaxnets.environment import start_device
from jaxnets.step import eval_step
from parity.checks.layers import check
from parity.checks.small import real_batches
from parity.copy import to_flax
from parity.report import Report

INPUT_SHAPE = (64, 64, 3)  # what two cores can do in float64; every network takes it
EXAMPLES, IMAGES, BATCH = 4, 1000, 100
SHOWN = ("forward, eval", "forward, train", "gradients", "float32 forward")


class Agreement(NamedTuple):
    """In how many of the images both sides' float32 logits have their largest value at the same class."""

    images: int
    same: int
    same_centred: int  # once the mean logits over all images are taken away
    classes_centred: int  # different ones that are predicted then


def known() -> dict[str, Entry]:
    """Return the networks that torchvision has, by name, with all of its layers."""
    return {name: entry for name, entry in jaxnets.MODELS.items() if entry.torchvision == name}


def torchvision_module(name: str) -> nn.Module:
    """Return torchvision's own module of a registered network, with the initial weights that torchvision gives it."""
    from torchvision import models  # here: it takes seconds

    entry = jaxnets.MODELS[name]
    # torchvision warns that GoogLeNet's initialisation is slow, unless it is told whether to do it.
    options = {"aux_logits": False, "init_weights": True} if entry.torchvision == "googlenet" else {}
    return models.get_model(entry.torchvision, weights=None, **options)


def compare(name: str, *, seed: int = 0) -> Report:
    """Run every check but that of the training on torchvision's module and our Flax one.

    Args:
        name: as in `known()`.
        seed: of weights, images and masks.
    """
    entry = lookup("model", name, known())
    torch.manual_seed(seed)
    module = torchvision_module(name)
    inputs = real_batches(INPUT_SHAPE, 1, seed)[0].inputs[:EXAMPLES]
    return check(module, entry.build(), inputs, name=name, num_params=entry.num_params, seed=seed, same_names=True)


def agree(name: str, images: np.ndarray, seed: int = 0) -> Agreement:
    """Compare what both sides take normalised images (N, H, W, 3) for, in float32.

    The weights are torchvision's initial ones, the norm layers' statistics those of the first images. Untrained, a
    network takes all images for much the same; without the mean logits it does not, and roundings count a lot more.
    """
    torch.manual_seed(seed)
    module = with_statistics_of(torchvision_module(name), images[:BATCH])
    variables, model = to_flax(module.state_dict()), jaxnets.MODELS[name].build()
    logits_of = jax.jit(eval_step, static_argnames="model")
    ours, theirs = [], []
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        with torch.no_grad():
            theirs.append(module(torch.from_numpy(batch).permute(0, 3, 1, 2)).numpy())
        ours.append(np.asarray(logits_of(model, variables, batch)))
    found, reference = np.concatenate(ours), np.concatenate(theirs)
    mean = reference.mean(axis=0)
    same, same_centred = (
        int((a.argmax(axis=1) == b.argmax(axis=1)).sum())
        for a, b in ((found, reference), (found - mean, reference - mean))
    )
    return Agreement(len(images), same, same_centred, len(set((reference - mean).argmax(axis=1).tolist())))


def with_statistics_of(module: nn.Module, images: np.ndarray) -> nn.Module:
    """Return `module` in evaluation mode, its BatchNorms with the statistics of normalised images (N, H, W, 3).

    Those it starts with let the activations fade from layer to layer, in GoogLeNet to less than a rounding.
    """
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0  # the share of the new statistics
    with torch.no_grad():
        module.train()(torch.from_numpy(images).permute(0, 3, 1, 2))
    return module.eval()


def real_images(name: str, data_dir: Path | None, count: int = IMAGES) -> np.ndarray:
    """Return CIFAR-10's first test images, (count, H, W, 3) float32: as they are, or larger for AlexNet's kernels."""
    dataset = load("cifar10", data_dir)
    few = dataset.test._replace(inputs=dataset.test.inputs[:count], labels=dataset.test.labels[:count])
    model = jaxnets.MODELS[name].build()
    try:
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *few.inputs.shape[1:]), np.float32))
    except ValueError:  # a window that does not fit
        fitted, _ = fit_to(dataset._replace(train=few, test=few), INPUT_SHAPE)
        few = fitted.test
    return normalise(few.inputs, dataset.mean, dataset.std, full_scale(few.inputs.dtype))


def rows(names: Sequence[str], data_dir: Path | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of the comparison's table, one for each network; print each as it is done."""
    for name in names:
        lookup("model", name, known())
    start_device()
    for name in names or list(known()):
        report, agreement = compare(name), agree(name, real_images(name, data_dir))
        figures = {result.check: result.error for result in report.results}
        yield {"name": name, "ok": report.ok and agreement.same == agreement.images, **figures, **agreement._asdict()}
        shown = "  ".join(f"{check} {figures.get(check, np.inf):.1e}" for check in SHOWN)
        counts = f"{agreement.same} of {agreement.images}, centred {agreement.same_centred}"
        print(f"{name:10} {shown}  argmax {counts} in {agreement.classes_centred} classes", flush=True)
        for failure in report.failures:
            print(f"{name}: {failure.check} fails at {failure.layer}: {failure.diagnosis}", file=sys.stderr)
