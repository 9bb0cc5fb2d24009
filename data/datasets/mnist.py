"""MNIST and Fashion-MNIST: four IDX files each, in torchvision's folder layout.

Sources: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/ (CC BY-SA 3.0);
Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747 (MIT).
"""

from functools import partial
from pathlib import Path

import numpy as np

from data.base import DataError, Dataset, Source, Split, make_dataset
from data.download import fetch
from data.idx import read_idx

# SHA-256 of the official .gz files, in the order of FILES.
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
MNIST_SHA256 = (
    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
)
FASHION_SHA256 = (
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
)
MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
FASHION_MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def load(data_dir: Path, *, name: str, folder: str, classes: tuple[str, ...]) -> Dataset:
    """Read the four files in `data_dir/folder/raw`, plain or gzipped.

    Returns:
        Images (N, 28, 28, 1).

    Raises:
        DataError: a file is missing or damaged, or the files do not match.
    """
    paths = [_find(data_dir / folder / "raw" / stem, name, data_dir) for stem in FILES]
    train = _read_split(paths[0], paths[1], len(classes))
    test = _read_split(paths[2], paths[3], len(classes))
    return make_dataset(train, test, classes)


def download(data_dir: Path, *, folder: str, mirrors: tuple[str, ...], sha256: tuple[str, ...]) -> None:
    """Download the four .gz files to `data_dir/folder/raw` and check the SHA-256 of each."""
    for stem, digest in zip(FILES, sha256, strict=True):
        name = f"{stem}.gz"
        fetch([mirror + name for mirror in mirrors], data_dir / folder / "raw" / name, digest)


def _find(path: Path, name: str, data_dir: Path) -> Path:
    candidates = (path, path.with_name(path.name + ".gz"))
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise DataError(
        f"{name}: no file at {candidates[0]} nor at {candidates[1]}. "
        f"Fetch it with: python -m data download {name} --data-dir {data_dir}"
    )


def _read_split(images_path: Path, labels_path: Path, num_classes: int) -> Split:
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if images.shape[1:] != (28, 28):
        raise DataError(f"{images_path}: expected images of 28x28, found {images.shape[1]}x{images.shape[2]}")
    if len(images) == 0 or len(images) != len(labels):
        raise DataError(f"{labels_path}: expected {len(images)} labels as in {images_path}, found {len(labels)}")
    if labels.max() >= num_classes:
        at = int(labels.argmax())
        raise DataError(f"{labels_path}: expected labels 0 to {num_classes - 1}, found {labels[at]} at {at}")
    return Split(images[..., None], labels.astype(np.int32))


DATASETS = {
    "mnist": Source(
        partial(load, name="mnist", folder="MNIST", classes=tuple("0123456789")),
        partial(download, folder="MNIST", mirrors=MNIST_MIRRORS, sha256=MNIST_SHA256),
        "60,000 + 10,000 handwritten digits, 28x28x1 (LeCun et al.)",
    ),
    "fashion_mnist": Source(
        partial(load, name="fashion_mnist", folder="FashionMNIST", classes=FASHION_CLASSES),
        partial(download, folder="FashionMNIST", mirrors=FASHION_MIRRORS, sha256=FASHION_SHA256),
        "60,000 + 10,000 articles of clothing, 28x28x1 (Zalando Research)",
    ),
}
