"""A dataset of arrays from a Python program."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data.arrays import Split, as_array, as_split
from data.base import Dataset, make_dataset
from data.errors import DataError
from data.holdout import Plan, held_out

TEST_SHARE = 0.2  # as of own folders
Pair = tuple[Any, Any]


def from_arrays(
    inputs: Any,
    labels: Any,
    *,
    test: Pair | None = None,
    validation: Pair | None = None,
    classes: Sequence[str] | None = None,
    rate: int | None = None,
    test_share: float = TEST_SHARE,
    split_seed: int = 0,
) -> Dataset:
    """Return a dataset of arrays, lists, JAX arrays, PyTorch tensors or data frames.

    Args:
        inputs: images (N, H, W, C) with values 0 to 255, features (N, H, W, C) of floats, or waveforms (N, length, C)
            int16; channels last.
        labels: class numbers from 0 (N,), one-hot rows (N, classes), or names of classes (N,).
        test: inputs and labels of the test set. Default: `test_share` of the examples, of each class, equal examples
            together.
        validation: inputs and labels of the validation set. Default: a training holds out some of its examples.
        classes: names of the classes. Default: the sorted names in `labels`, or the numbers.
        rate: sampling rate of waveforms, in Hz.
        test_share: see `test`.
        split_seed: of the choice of the test examples.

    Raises:
        DataError: an array is not as described; says what was found and what was expected.
    """
    pairs = {"training": (inputs, labels)}
    for name, pair in (("test", test), ("validation", validation)):
        if pair is not None:
            pairs[name] = _pair(name, pair)
    names = _names(labels) if classes is None else tuple(map(str, classes))
    if len(names) < 2:
        raise DataError(f"training labels: found only the class {', '.join(names) or '0'}, expected at least two")
    for name, (some, _) in pairs.items():
        _check_layout(f"{name} inputs", some)
    splits = {name: as_split(name, *pair, names) for name, pair in pairs.items()}
    notes = ()
    if "test" not in splits:
        if not 0 < test_share < 1:
            raise DataError(f"test_share is {test_share}, expected a share between 0 and 1")
        splits["training"], splits["test"] = _apart(splits["training"], Plan(test_share, split_seed))
        notes = (f"no test set is given: {len(splits['test'].labels):,} examples are for testing",)
    made = make_dataset(splits["training"], splits["test"], names, validation=splits.get("validation"), rate=rate)
    return made._replace(notes=notes)


def _pair(name: str, pair: Any) -> Pair:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise DataError(f"{name}: expected a pair (inputs, labels), found {type(pair).__name__}")
    return pair[0], pair[1]


def _names(labels: Any) -> tuple[str, ...]:
    """Return the names of the classes that labels are of."""
    found = as_array("training labels", labels)
    if found.dtype.kind in "US":
        texts = {one.decode(errors="replace") if isinstance(one, bytes) else one for one in found.ravel().tolist()}
        return tuple(sorted(texts))
    if found.ndim == 2 and found.shape[1] > 1:
        return tuple(map(str, range(found.shape[1])))
    if not found.size:
        return ("0", "1")  # that there are no examples is said later
    numbers = np.unique(found.ravel())
    whole = np.isfinite(numbers.astype(float)) & (numbers == np.round(numbers.astype(float)))
    if not whole.all():
        raise DataError(
            f"training labels: expected whole numbers, found {numbers[~whole][0]}; classes are learned here"
        )
    count = int(numbers[-1]) + 1
    if count > max(20, 2 * len(numbers)):
        spread = f"{len(numbers)} numbers from {int(numbers[0])} to {count - 1}"
        raise DataError(f"training labels: found {spread}; number the classes from 0, or name them by text")
    return tuple(map(str, range(max(0, count))))


def _check_layout(name: str, inputs: Any) -> None:
    """Refuse what has one or three channels first, and flat examples."""
    shape = tuple(np.shape(inputs)) if not hasattr(inputs, "shape") else tuple(inputs.shape)
    if len(shape) == 4 and shape[1] in (1, 3) and shape[2] == shape[3] > 4:
        raise DataError(f"{name}: expected channels last, found {shape}; use np.moveaxis(x, 1, -1)")
    if len(shape) == 2:
        advice = "give each example a shape, such as x.reshape(-1, 8, 8, 1)"
        raise DataError(f"{name}: expected (N, H, W, C) or (N, length, C), found {shape}; {advice}")


def _apart(split: Split, plan: Plan) -> tuple[Split, Split]:
    count = len(split.labels)
    rest, held = held_out(split, plan) if count > 1 else (np.arange(count), np.arange(0))
    if not len(rest) or not len(held):
        few = "1 example is" if count == 1 else f"{count} examples are"
        raise DataError(f"training data: {few} too few to hold out a test set; give test=(inputs, labels)")
    return Split(split.inputs[rest], split.labels[rest]), Split(split.inputs[held], split.labels[held])
