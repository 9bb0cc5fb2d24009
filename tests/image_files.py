"""Small datasets of pictures, in the layouts of the real ones, and pickles as Python 2 wrote them."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image

CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CIFAR_FILES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def cifar_arrays(stem: str, count: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 3072) and labels (N,), uint8, of a file."""
    rng = np.random.default_rng(CIFAR_FILES.index(stem))
    return rng.integers(0, 256, (count, 3072), np.uint8), (np.arange(count) * 7 % 10).astype(np.uint8)


def write_cifar_binary(root: Path) -> Path:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for stem in CIFAR_FILES:
        pixels, labels = cifar_arrays(stem)
        (folder / f"{stem}.bin").write_bytes(np.hstack([labels[:, None], pixels]).tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(CIFAR_CLASSES) + "\n\n")
    return folder


def write_cifar_python(root: Path) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for stem in CIFAR_FILES:
        (folder / stem).write_bytes(python2_batch(*cifar_arrays(stem)))
    names = b"".join(_text(name) for name in CIFAR_CLASSES)
    numbers = _text("num_cases_per_batch") + b"M\x10'" + _text("num_vis") + b"M\0\x0c"
    content = b"\x80\x02}(" + _text("label_names") + b"](" + names + b"e" + numbers + b"u."
    (folder / "batches.meta").write_bytes(content)
    return folder


def python2_batch(pixels: np.ndarray, labels: np.ndarray) -> bytes:
    """The operations of Python 2's cPickle, protocol 2, for a batch: its text is bytes, its array comes by BUILD."""
    memo = (b"q" + bytes([slot]) for slot in range(256))
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    shape = b"".join(b"M" + struct.pack("<H", size) for size in pixels.shape)
    dtype = b"cnumpy\ndtype\n" + next(memo) + b"U\x02u1K\0K\x01\x87R" + next(memo)
    dtype += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n" + next(memo) + b"cnumpy\nndarray\n" + next(memo)
    array += b"K\0\x85U\x01b\x87R" + next(memo) + b"(K\x01" + shape + b"\x86" + dtype
    array += b"\x89T" + struct.pack("<I", pixels.size) + pixels.tobytes() + b"tb"
    names = b"".join(_text(f"picture_{number:06}.png") for number in range(len(labels)))
    parts = (_text("batch_label"), _text("training batch 1 of 5"), _text("labels"), b"](" + numbers + b"e")
    parts += (_text("data"), array, _text("filenames"), b"](" + names + b"e")
    return b"\x80\x02}" + next(memo) + b"(" + b"".join(parts) + b"u."


def _text(text: str) -> bytes:
    return b"U" + bytes([len(text)]) + text.encode()


def picture(seed: int, height: int = 20, width: int = 30, channels: int = 3) -> np.ndarray:
    """A smooth picture: noise would not survive JPEG, nor resizing."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, channels), np.uint8).squeeze())
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def write_pictures(root: Path, classes: dict[str, int], seed: int = 0) -> Path:
    """So many pictures of each class, of many sizes, kinds and suffixes."""
    for number, (name, count) in enumerate(classes.items()):
        folder = root / name
        folder.mkdir(parents=True)
        for at in range(count):
            made = picture(seed + 1000 * number + at, 20 + at % 7, 20 + at % 5)
            Image.fromarray(made).save(folder / f"{at}{('.png', '.jpg', '.JPEG', '.PNG')[at % 4]}")
    return root
