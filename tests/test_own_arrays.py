"""Arrays from Python: those that mean one thing are converted, the others are refused."""

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import jaxnets  # noqa: F401 (before JAX is used: it leaves out what XLA computes wrong)
from data import DataError, Loader, Split, make_dataset

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 5, 4, 1), np.uint8)
FEATURES = RNG.normal(size=(12, 5, 4, 2)).astype(np.float32)
LABELS = (np.arange(12) % 3).astype(np.int32)
ONE_HOT = np.eye(3)[LABELS]
CLASSES = ("a", "b", "c")


def made(inputs: Any, labels: Any) -> Split:
    """Return the training split; what a loader of the same arrays yields has to be the same."""
    split = make_dataset(Split(inputs, labels), Split(inputs, labels), CLASSES).train
    channels = split.inputs.shape[-1]
    if np.asarray(labels[0]).dtype.kind != "U":  # a loader does not know the names of classes
        loader = Loader(Split(inputs, labels), np.zeros(channels), np.ones(channels), 5, seed=1, classes=3)
        assert (next(loader.epoch()).labels == split.labels[loader.indices(0, 0)]).all()
    return split


INPUTS = {
    "a list": IMAGES.tolist(),
    "JAX": jnp.asarray(IMAGES),
    "PyTorch": torch.from_numpy(IMAGES),
    "int64": IMAGES.astype(np.int64),
    "int16": IMAGES.astype(np.int16),
    "big-endian": IMAGES.astype(">u4"),
    "a flipped view": IMAGES[::-1][::-1],
    "objects": IMAGES.astype(object),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_images_of_every_library_are_converted(kind):
    found = made(INPUTS[kind], LABELS).inputs
    assert type(found) is np.ndarray
    assert found.dtype == np.uint8
    assert (found == IMAGES).all()


@pytest.mark.parametrize(
    "values",
    [
        FEATURES.astype(np.float64),
        FEATURES.astype(">f4"),
        jnp.asarray(FEATURES),
        torch.from_numpy(FEATURES).requires_grad_(),
        torch.from_numpy(FEATURES).double(),
    ],
)
def test_features_of_every_library_become_float32(values):
    found = made(values, LABELS).inputs
    assert found.dtype == np.float32
    assert (found == FEATURES).all()


def test_half_precision_features_keep_their_values():
    for values in (
        FEATURES.astype(np.float16),
        jnp.asarray(FEATURES, jnp.bfloat16),
        torch.tensor(FEATURES).bfloat16(),
    ):
        found = made(values, LABELS).inputs
        assert found.dtype == np.float32
        assert np.abs(found - FEATURES).max() < 0.02


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.tolist(),
        LABELS.astype(np.uint64),
        LABELS.astype(np.float32),
        LABELS.astype(object),
        LABELS[:, None],
        jnp.asarray(LABELS),
        torch.from_numpy(LABELS).long(),
        *(ONE_HOT.astype(dtype) for dtype in (np.int64, np.uint8, np.float32, bool, object)),
        jnp.asarray(ONE_HOT),
        torch.from_numpy(ONE_HOT),
        ONE_HOT.astype(int).tolist(),
        [CLASSES[label] for label in LABELS],
    ],
)
def test_labels_of_every_kind_become_class_numbers(labels):
    found = made(IMAGES, labels).labels
    assert found.dtype == np.int32
    assert (found == LABELS).all()


def changed(values: np.ndarray, index, value) -> np.ndarray:
    copy = values.copy()
    copy[index] = value
    return copy


REFUSED = {
    "NaN": (
        changed(FEATURES, (7, 0, 0, 1), np.nan),
        LABELS,
        "inputs: expected finite numbers, found nan in example 7",
    ),
    "infinity": (changed(FEATURES, (2, 0, 0, 0), -np.inf), LABELS, "found -inf in example 2"),
    "too large": (changed(FEATURES.astype(float), 3, 1e300), LABELS, "found 1e.300 in example 3"),
    "negative pixels": (IMAGES.astype(int) - 1, LABELS, "values from -1 to 25[0-9]; images are 0..255"),
    "12-bit pixels": (IMAGES.astype(np.uint16) * 16, LABELS, "values from"),
    "no channel": (IMAGES[..., 0], LABELS, r"found \(12, 5, 4\) uint8; give grey images a channel"),
    "float waveforms": (FEATURES[..., 0], LABELS, "convert waveforms in -1..1"),
    "channels first": (np.zeros((12, 3, 32, 32), np.uint8), LABELS, "expected channels last"),
    "boolean": (IMAGES > 9, LABELS, "expected .* bool"),
    "flat": (IMAGES.reshape(12, -1), LABELS, r"found \(12, 20\) uint8"),
    "one number": (3, LABELS, r"found \(\) int64"),
    "complex": (FEATURES.astype(complex), LABELS, "expected numbers"),
    "empty examples": (IMAGES[:, :0], LABELS, "expected examples that hold something"),
    "ragged": ([[1, 2], [3]], LABELS, "cannot be made an array"),
    "masked": (np.ma.masked_less(FEATURES, 0), LABELS, "found masked values"),
    "too few labels": (IMAGES, LABELS[:-1], "found 12 inputs and 11 labels"),
    "nothing": (IMAGES[:0], LABELS[:0], "found 0 inputs and 0 labels"),
    "from 1": (IMAGES, LABELS + 1, "labels: found label 3, expected 0 to 2"),
    "negative": (IMAGES, LABELS - 1, "found label -1, expected 0 to 2"),
    "huge": (IMAGES, LABELS.astype(np.int64) + 2**32, "found label 4294967296, expected 0 to 2"),
    "fractions": (IMAGES, LABELS + 0.5, "expected whole numbers, found 0.5 at 0"),
    "missing": (IMAGES, changed(LABELS.astype(float), 4, np.nan), "expected whole numbers, found nan at 4"),
    "none": (IMAGES, changed(LABELS.astype(object), 4, None), "expected numbers|cannot be made"),
    "soft": (IMAGES, ONE_HOT * 0.9 + 1 / 30, "expected one 1 in each one-hot row, row 0 is"),
    "two of them": (IMAGES, changed(ONE_HOT, (5, slice(None)), 1), "row 5 is"),
    "no class": (IMAGES, changed(ONE_HOT, 5, 0), "row 5 is"),
    "four columns": (IMAGES, np.eye(4)[LABELS], r"one-hot rows \(N, 3\), found \(12, 4\)"),
    "three dimensions": (IMAGES, ONE_HOT[..., None], r"found \(12, 3, 1\)"),
    "unknown names": (IMAGES, ["x", "y", "z"] * 4, "expected (one of a, b, c|class numbers); found 'x', 'y', 'z'"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_may_mean_several_things_is_refused_in_one_line(fault):
    inputs, labels, said = REFUSED[fault]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, fails in (
            ("training", lambda: make_dataset(Split(inputs, labels), Split(IMAGES, LABELS), CLASSES)),
            ("loader", lambda: Loader(Split(inputs, labels), np.zeros(1), np.ones(1), 4, classes=3)),
        ):
            with pytest.raises(DataError, match=f"^{name} .*{said}|^{name} {said}") as error:
                fails()
            assert "\n" not in str(error.value)


def test_splits_of_different_shapes_are_refused():
    with pytest.raises(DataError, match=r"test inputs: .*\(5, 4, 1\) uint8 for training and \(4, 4, 1\) uint8 in the"):
        make_dataset(Split(IMAGES, LABELS), Split(IMAGES[:, 1:], LABELS), CLASSES)


def test_a_loader_checks_its_statistics():
    cases = (
        (np.zeros(1), np.zeros(1), "std: expected finite numbers, std above 0"),
        ([np.nan], [1.0], "mean: expected finite"),
        (np.zeros(3), np.ones(1), r"one number for each channel \(1,\), found \(3,\)"),
    )
    make: Any = Loader
    for mean, std, said in cases:
        with pytest.raises(DataError, match=said):
            make(Split(IMAGES, LABELS), mean, std, 4)
    others: Any = jnp.asarray(IMAGES)
    loader = make(Split(others, LABELS), jnp.zeros(1), [1 / 255], 12)
    np.testing.assert_allclose(next(loader.epoch()).inputs, IMAGES, rtol=1e-6)
