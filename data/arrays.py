"""The one check that every array passes before it is used as data: converted if that is exact, refused otherwise."""

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from data.errors import DataError
from data.rows import Indexed


class Split(NamedTuple):
    """Examples and their labels."""

    inputs: np.ndarray  # images (N, H, W, C) uint8, waveforms (N, length, C) int16, or features (N, H, W, C) float32
    labels: np.ndarray  # (N,) int32, 0 <= label < len(classes)


KINDS = {(4, "uint8"): "images", (3, "int16"): "waveforms", (4, "float32"): "features"}
SCALES = {np.dtype(np.uint8): 255.0, np.dtype(np.int16): 32768.0, np.dtype(np.float32): 1.0}
EXPECTED = "(N, H, W, C) uint8, (N, length, C) int16 or (N, H, W, C) float32"
# Features found to be finite: they are searched only once, however many loaders are made of them.
_finite: "weakref.WeakValueDictionary[int, np.ndarray]" = weakref.WeakValueDictionary()


def full_scale(dtype: np.dtype) -> float:
    """Return the divisor that maps pixels to 0..1 and waveforms to -1..1; it is 1 for features."""
    return SCALES[dtype]


def as_split(name: str, inputs: Any, labels: Any, classes: int | Sequence[str] = 0) -> Split:
    """Check inputs and labels and convert them to the numpy arrays of a `Split`.

    Lists, JAX arrays and PyTorch tensors become numpy arrays. Whole numbers from 0 to 255 become uint8 images, floats
    become float32 features. One-hot rows, whole floats and names of classes become class numbers. Arrays that are
    right already are returned as they are, without a copy.

    Args:
        name: of the split, for messages: "training" and so on.
        inputs: the examples.
        labels: one for each example.
        classes: the names of the classes, or their number; 0 if unknown.

    Raises:
        DataError: says what was expected and what was found.
    """
    found = as_inputs(f"{name} inputs", inputs)
    numbers = _as_labels(f"{name} labels", as_array(f"{name} labels", labels), classes)
    if len(found) != len(numbers) or len(numbers) == 0:
        counts = f"found {len(found)} inputs and {len(numbers)} labels"
        raise DataError(f"{name} data: {counts}; the counts must be equal and at least 1")
    return Split(found, numbers)


def as_array(name: str, values: Any) -> np.ndarray:
    """Return a native numpy array of numbers or text, without a copy if it is one already."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise DataError(f"{name}: found masked values; fill them or leave those examples out")
    if detach := getattr(values, "detach", None):  # a PyTorch tensor, which may need a gradient or be on a GPU
        tensor = detach().cpu()
        values = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
    try:
        array = np.asarray(values)
        if array.dtype == object:
            array = np.array(array.tolist())
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name}: cannot be made an array ({' '.join(str(error).split())[:200]})") from None
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "biufUS":
        raise DataError(f"{name}: expected numbers, found {array.shape} {array.dtype}")
    if any(stride < 0 for stride in array.strides):  # a flipped view, which PyTorch does not take
        array = np.ascontiguousarray(array)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def as_inputs(name: str, values: Any) -> np.ndarray:
    """Check inputs and convert them to one of the kinds in KINDS; see `as_split`."""
    if isinstance(values, Indexed):  # of an array that has been checked
        return cast(np.ndarray, values)
    array = as_array(name, values)
    found = f"found {array.shape} {array.dtype}"
    if 0 in array.shape[1:]:
        raise DataError(f"{name}: expected examples that hold something, {found}")
    if array.ndim == 4 and array.dtype.kind in "iu" and array.dtype != np.uint8:
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        if low < 0 or high > 255:
            raise DataError(
                f"{name}: expected {EXPECTED}, {found} with values from {low} to {high}; images are 0..255"
            )
        array = array.astype(np.uint8)
    if array.ndim == 4 and array.dtype.kind == "f":
        array = _features(name, array)
    if (array.ndim, array.dtype.name) not in KINDS:
        raise DataError(f"{name}: expected {EXPECTED}, {found}{_advice(array)}")
    if array.dtype == np.uint8 and array.shape[1] in (1, 3) and array.shape[3] > 4:
        raise DataError(f"{name}: expected channels last, {found}; use np.moveaxis(x, 1, -1)")
    return array


def _features(name: str, array: np.ndarray) -> np.ndarray:
    if _finite.get(id(array)) is array:
        return array
    with np.errstate(over="ignore"):
        features = array.astype(np.float32, copy=False)
    step = max(1, 2**22 * len(features) // max(1, features.size))
    for start in range(0, len(features), step):  # in pieces, to save memory
        bad = ~np.isfinite(features[start : start + step]).all(axis=(1, 2, 3))
        if bad.any():
            at = start + int(bad.argmax())
            values = array[at].ravel()
            value = values[~np.isfinite(features[at].ravel())][0]
            raise DataError(f"{name}: expected finite numbers, found {value} in example {at}")
    _finite[id(features)] = features
    return features


def _advice(array: np.ndarray) -> str:
    if array.ndim == 3 and array.dtype.kind == "f":
        return "; convert waveforms in -1..1 by (x * 32767).astype(np.int16), or give images a channel: x[..., None]"
    if array.ndim == 3:
        return "; give grey images a channel: x[..., None]"
    if array.dtype == bool:
        return "; convert by x.astype(np.uint8) * 255"
    return ""


def _as_labels(name: str, labels: np.ndarray, classes: int | Sequence[str]) -> np.ndarray:
    """Return class numbers (N,) int32."""
    count = classes if isinstance(classes, int) else len(classes)
    found = f"found {labels.shape} {labels.dtype}"
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind in "biuf":
        return _from_one_hot(name, labels, count)
    if labels.ndim == 2 and labels.shape[1] == 1:  # a column of class numbers
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"{name}: expected class numbers (N,) or one-hot rows (N, classes), {found}")
    if labels.dtype.kind in "US":
        labels = _from_names(name, labels, () if isinstance(classes, int) else classes)
    if labels.dtype.kind == "f":
        wrong = ~(np.isfinite(labels) & (labels == np.round(labels)))
        if wrong.any():
            raise DataError(f"{name}: expected whole numbers, found {labels[wrong][0]} at {int(wrong.argmax())}")
    limit = count or 2**31
    wrong = (labels < 0) | (labels >= limit) if labels.dtype != bool else np.zeros(len(labels), bool)
    if wrong.any():
        bad = int(labels[wrong][0])
        raise DataError(f"{name}: found label {bad}, expected 0 to {limit - 1}")
    return labels.astype(np.int32, copy=False)


def _from_one_hot(name: str, rows: np.ndarray, count: int) -> np.ndarray:
    if count and rows.shape[1] != count:
        raise DataError(f"{name}: expected class numbers (N,) or one-hot rows (N, {count}), found {rows.shape}")
    wrong = ~(((rows == 0) | (rows == 1)).all(axis=1) & (rows.astype(np.float64).sum(axis=1) == 1))
    if wrong.any():
        at = int(wrong.argmax())
        raise DataError(f"{name}: expected one 1 in each one-hot row, row {at} is {str(rows[at].tolist())[:100]}")
    return rows.argmax(axis=1).astype(np.int32)


def _from_names(name: str, labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    texts = [label.decode(errors="replace") if isinstance(label, bytes) else label for label in labels.tolist()]
    if unknown := sorted(set(texts) - set(classes)):
        known = f"one of {', '.join(classes)[:200]}" if classes else "class numbers"
        raise DataError(f"{name}: expected {known}; found {str(unknown[:3])[1:-1]}")
    places = {text: at for at, text in enumerate(classes)}
    return np.array([places[text] for text in texts], np.int32)
