"""Against torchvision itself: its own modules, not ours, held against our Flax ones, at full width and depth.

Run by: python -m parity torchvision [NAME ...] --data-dir DIR
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from torch import nn

import jaxnets
from data import fit_to, load
from data.loader import normalise
from data.registry import lookup
from experiment.registry import Entry
from jaxnets.steps import eval_step
from parity.checks import check
from parity.copy import to_flax
from parity.report import Report
from parity.suite import real_batches
from parity.torch_side import randomised

INPUT_SHAPE = (64, 64, 3)  # what two cores can do in float64; every network takes it
EXAMPLES, IMAGES, BATCH, CENTRED = 4, 1000, 50, 200


class Agreement(NamedTuple):
    """In how many of the images both sides' float32 logits have their largest value at the same class."""

    same: int
    images: int
    classes: int  # different ones that were predicted
    smallest_margin: float  # between the two largest logits, over the spread of the logits


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


def compare(name: str, *, pretrained: bool = False, seed: int = 0) -> Report:
    """Run every check but that of the training on torchvision's module and our Flax one.

    Args:
        name: as in `known()`.
        pretrained: build both as torchvision's published weights need it, which matters for GoogLeNet.
        seed: of weights, images and masks.
    """
    entry = lookup("model", name, known())
    torch.manual_seed(seed)
    module = torchvision_module(name)
    options = dict(entry.pretrained) if pretrained else {}
    for option, value in options.items():
        setattr(module, option, value)
    inputs = np.concatenate([batch.inputs for batch in real_batches(INPUT_SHAPE, 1, seed)])[:EXAMPLES]
    return check(module, entry.build(**options), inputs, name=name, num_params=entry.num_params, seed=seed)


def agree(name: str, images: np.ndarray, seed: int = 0) -> Agreement:
    """Compare what both sides take normalised images (N, H, W, 3) for, in float32.

    The weights are torchvision's initial ones, with random statistics and affines in the norm layers, and a bias of
    the head for which the mean logits are zero: untrained, a network takes all images for the same class.
    """
    torch.manual_seed(seed)
    module = randomised(torchvision_module(name), seed).eval()
    with torch.no_grad():
        head: Any = module.get_submodule(jaxnets.MODELS[name].head)
        head.bias -= module(torch.from_numpy(images[:CENTRED]).permute(0, 3, 1, 2)).mean(0)
    variables, model = to_flax(module.state_dict()), jaxnets.MODELS[name].build()
    logits_of = jax.jit(eval_step, static_argnames="model")
    same, classes, margins = 0, set(), []
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        with torch.no_grad():
            theirs = module(torch.from_numpy(batch).permute(0, 3, 1, 2)).numpy()
        ours = np.asarray(logits_of(model, variables, batch))
        same += int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum())
        classes |= set(theirs.argmax(axis=1).tolist())
        top = np.sort(theirs, axis=1)
        margins.append(((top[:, -1] - top[:, -2]) / theirs.std(axis=1)).min())
    return Agreement(same, len(images), len(classes), float(min(margins)))


def real_images(data_dir: Path | None, count: int = IMAGES) -> np.ndarray:
    """Return the first test images of CIFAR-10 as the networks here take them, (count, 64, 64, 3) float32."""
    dataset = load("cifar10", data_dir)
    few = dataset.test._replace(inputs=dataset.test.inputs[:count], labels=dataset.test.labels[:count])
    fitted, _ = fit_to(dataset._replace(train=few, test=few), INPUT_SHAPE)
    return normalise(fitted.test.inputs, dataset.mean, dataset.std)


def rows(names: Sequence[str], data_dir: Path | None) -> list[dict[str, Any]]:
    """Return the table of the comparison, a dict for each network; prints each as it is done."""
    images, found = real_images(data_dir), []
    for name in names or list(known()):
        lookup("model", name, known())
        report, agreement = compare(name), agree(name, images)
        figures = {result.check: result.error for result in report.results}
        row = {"name": name, "ok": report.ok and agreement.same == agreement.images, **figures, **agreement._asdict()}
        found.append(row)
        figures = "  ".join(
            f"{check} {figures[check]:.1e}" for check in ("forward, eval", "forward, train", "gradients")
        )
        print(
            f"{name:10} {figures}  argmax {agreement.same} of {agreement.images}, {agreement.classes} classes",
            flush=True,
        )
        for failure in report.failures:
            print(f"{name}: {failure.check} fails at {failure.layer}: {failure.diagnosis}", file=sys.stderr)
    return found
