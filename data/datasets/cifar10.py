"""CIFAR-10: 60,000 colour images of 32x32 in ten classes, in its binary or its Python layout.

Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images",
https://www.cs.toronto.edu/~kriz/cifar.html. The Python layout, which torchvision downloads, consists of pickles; they
are read without running them (`data.pickled`).
"""

from pathlib import Path
from typing import Any

import numpy as np

from data.archive import unpack
from data.base import DataError, Dataset, Source, Split, make_dataset
from data.download import fetch
from data.pickled import read_pickled

BINARY, PYTHON = "cifar-10-batches-bin", "cifar-10-batches-py"
TRAIN, TEST = tuple(f"data_batch_{number}" for number in range(1, 6)), ("test_batch",)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PIXELS = 3 * 32 * 32  # bytes of an image: all red, all green, all blue
RECORD = 1 + PIXELS  # bytes of a record in the binary layout: the label comes first
MIRRORS = ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",)
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"  # as TensorFlow Datasets has it
WANTED = r"(data_batch_[1-5]|test_batch)\.bin|batches\.meta\.txt|readme\.html"
MAX_BYTES = 2**28  # unpacked it is 184 MB


def load(data_dir: Path) -> Dataset:
    """Read the binary layout if it is there, else the Python layout.

    Returns:
        Images (N, 32, 32, 3), 50,000 for training and 10,000 for testing.

    Raises:
        DataError: neither folder exists, or a file is missing or damaged.
    """
    binary, python = data_dir / BINARY, data_dir / PYTHON
    fetch_it = f"python -m data download cifar10 --data-dir {data_dir}"
    if binary.is_dir():
        folder, names, read = binary, "{}.bin", _read_binary
        classes = _read_text(folder / "batches.meta.txt")
    elif python.is_dir():
        folder, names, read = python, "{}", _read_python
        classes = _texts(_entry(folder / "batches.meta", read_pickled(folder / "batches.meta"), "label_names"))
    else:
        raise DataError(f"cifar10: no folder at {binary} nor at {python}. Fetch it with: {fetch_it}")
    if classes != CLASSES:
        raise DataError(f"{folder}: expected the classes {', '.join(CLASSES)}; found {str(classes)[:200]}")
    train, test = ([read(folder / names.format(stem)) for stem in stems] for stems in (TRAIN, TEST))
    return make_dataset(_join(train), _join(test), CLASSES)


def download(data_dir: Path) -> None:
    """Download the binary archive, check its SHA-256 and unpack it, unless the folder exists."""
    if (data_dir / BINARY).exists():
        return
    archive = data_dir / "cifar-10-binary.tar.gz"
    fetch(MIRRORS, archive, SHA256)
    unpack(archive, data_dir / BINARY, wanted=WANTED, max_bytes=MAX_BYTES, root=BINARY)
    archive.unlink()


def _read_text(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text("ascii").split())
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected the names of the classes, found bytes that are no text") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a file's pixels (N, 3072) and labels (N,), both uint8."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    if not content or len(content) % RECORD:
        raise DataError(f"{path}: expected whole records of {RECORD} bytes, found {len(content)} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    return records[:, 1:], _check_labels(path, records[:, 0])


def _read_python(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a file's pixels (N, 3072) and labels (N,), both uint8."""
    if not path.is_file():
        raise _unreadable(path, FileNotFoundError(2, "No such file or directory"))
    content = read_pickled(path)
    pixels, labels = _entry(path, content, "data"), _entry(path, content, "labels")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (PIXELS,):
        found = f"{pixels.shape} {pixels.dtype}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(f"{path}: expected data (N, {PIXELS}) uint8, found {found}")
    if not isinstance(labels, list) or len(labels) != len(pixels) or not all(type(x) is int for x in labels):
        found = f"{len(labels)} labels" if isinstance(labels, list) else type(labels).__name__
        raise DataError(f"{path}: expected {len(pixels)} whole numbers as labels, found {found}")
    return pixels, _check_labels(path, np.array(labels))


def _entry(path: Path, content: Any, key: str) -> Any:
    """Return a value of the dict in a pickle; the official files, written by Python 2, have bytes as keys."""
    for name in (key, key.encode()):
        if isinstance(content, dict) and name in content:
            return content[name]
    raise DataError(f"{path}: expected a dict with '{key}', found none")


def _texts(values: Any) -> tuple[str, ...]:
    """Return the strings of Python 2 or 3 in a list; anything else becomes "?"."""
    texts = (x.decode("latin-1") if isinstance(x, bytes) else x for x in (values if isinstance(values, list) else []))
    return tuple(text if isinstance(text, str) else "?" for text in texts)


def _check_labels(path: Path, labels: np.ndarray) -> np.ndarray:
    bad = np.flatnonzero((labels < 0) | (labels >= len(CLASSES)))
    if len(bad):
        raise DataError(f"{path}: expected labels 0 to 9, found {labels[bad[0]]} at {bad[0]}")
    return labels.astype(np.uint8)


def _join(parts: list[tuple[np.ndarray, np.ndarray]]) -> Split:
    """Join the files as channels-last images, which are copied once to save memory."""
    images = np.empty((sum(len(labels) for _, labels in parts), 32, 32, 3), np.uint8)
    start = 0
    for pixels, labels in parts:
        images[start : start + len(labels)] = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        start += len(labels)
    return Split(images, np.concatenate([labels for _, labels in parts]).astype(np.int32))


def _unreadable(path: Path, error: OSError) -> DataError:
    again = f"if it cannot be found, move {path.parent} away and fetch it again: python -m data download cifar10"
    return DataError(f"{path}: cannot be read ({error.strerror or error}); {again} --data-dir {path.parent.parent}")


DATASETS = {"cifar10": Source(load, download, "50,000 + 10,000 pictures of ten classes, 32x32x3 (Krizhevsky 2009)")}
