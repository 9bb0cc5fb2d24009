"""Solutions of lesson 11."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from exercises import Exercise
from flax import linen as nn

import parity


def conv(features):
    """Return PyTorch's convolution of 4x4, stride 2, padding 1."""
    return nn.Conv(features, (4, 4), strides=2, padding=1)


def conv_same(features):
    """Leave Flax's padding, SAME, which is (1, 1) at even sizes and (1, 2) at odd ones: a mistake."""
    return nn.Conv(features, (4, 4), strides=2)


def check_conv(answer):
    """Compare with PyTorch at an even and at an odd size."""
    torch.manual_seed(0)
    for size, features in ((8, 3), (9, 5)):
        layer = torch.nn.Conv2d(2, features, 4, stride=2, padding=1)
        variables = parity.to_flax(layer.state_dict())
        x = np.random.default_rng(size).normal(size=(2, size, size, 2)).astype(np.float32)
        expected = layer(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()
        found = np.asarray(answer(features).apply(variables, x))
        assert found.shape == expected.shape, f"{size}x{size}: expected shape {expected.shape}, found {found.shape}"
        assert np.allclose(found, expected, atol=1e-5), f"{size}x{size}: other numbers than PyTorch's"


def accuracy(batches):
    """Return the share of all examples that are right."""
    right = count = 0
    for logits, labels in batches:
        right += int((np.argmax(logits, axis=1) == labels).sum())
        count += len(labels)
    return right / count


def mean_of_means(batches):
    """Average the batches' accuracies: a mistake."""
    return float(np.mean([(np.argmax(logits, axis=1) == labels).mean() for logits, labels in batches]))


def check_accuracy(answer):
    """Check batches of several sizes."""
    logits, labels = np.eye(3)[[0, 1, 2, 0, 1]], np.array([0, 1, 2, 0, 2])
    batches = [(logits[:4], labels[:4]), (logits[4:], labels[4:])]
    assert abs(answer(iter(batches)) - 0.8) < 1e-9, "four of five are right, and the batches have four and one"
    assert answer([(logits[:2], labels[:2])]) == 1.0, "all of one batch are right"


def adam(rate, decay):
    """Return PyTorch's Adam with weight decay."""
    return optax.chain(optax.add_decayed_weights(decay), optax.adam(rate))


def decoupled(rate, decay):
    """Return AdamW under another name: a mistake."""
    return optax.adamw(rate, weight_decay=decay)


def check_adam(answer):
    """Compare five steps with PyTorch."""
    start, rng = np.array([1.0, -2.0, 3.0], np.float32), np.random.default_rng(0)
    weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = torch.optim.Adam([weight], lr=0.1, weight_decay=0.5)
    tx, params = answer(0.1, 0.5), jnp.asarray(start)
    state = tx.init(params)
    for number in range(1, 6):
        gradient = rng.normal(size=3).astype(np.float32)
        weight.grad = torch.from_numpy(gradient)
        optimizer.step()
        updates, state = tx.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        expected = weight.detach().numpy()
        assert np.allclose(jax.device_get(params), expected, atol=1e-5), f"step {number}: PyTorch's is {expected}"


EXERCISES = [
    Exercise(conv, check_conv, conv_same),
    Exercise(accuracy, check_accuracy, mean_of_means),
    Exercise(adam, check_adam, decoupled),
]
