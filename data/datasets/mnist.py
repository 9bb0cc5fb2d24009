"""MNIST, Fashion-MNIST and Kuzushiji-MNIST: four IDX files each, in torchvision's folder layout.

Sources: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/ (CC BY-SA 3.0);
Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747 (MIT); Clanuwat et al. 2018, arXiv 1812.01718 (CC BY-SA 4.0).
"""

from collections.abc import Callable
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
KMNIST_SHA256 = (  # as TensorFlow Datasets has them
    "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
    "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
    "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
    "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
)
KMNIST_MIRRORS = ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",)
KMNIST_CLASSES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
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


def read_labels(path: Path) -> np.ndarray:
    """Read class numbers (N,)."""
    return read_idx(path, 1)


def load(
    data_dir: Path,
    *,
    name: str,
    folder: str,
    classes: tuple[str, ...],
    files: tuple[str, ...] = FILES,
    read: Callable[[Path], np.ndarray] = read_labels,
) -> Dataset:
    """Read the four files in `data_dir/folder/raw`, plain or gzipped.

    Args:
        data_dir: the folder of the datasets.
        name: the dataset's name, for messages.
        folder: the dataset's folder.
        classes: the names of the classes.
        files: the names of the files, without .gz.
        read: reads class numbers from a file of labels.

    Returns:
        Images (N, 28, 28, 1).

    Raises:
        DataError: a file is missing or damaged, or the files do not match.
    """
    paths = [_find(data_dir / folder / "raw" / stem, name, data_dir) for stem in files]
    train = _read_split(paths[0], paths[1], len(classes), read)
    test = _read_split(paths[2], paths[3], len(classes), read)
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


def _read_split(images_path: Path, labels_path: Path, num_classes: int, read: Callable[[Path], np.ndarray]) -> Split:
    images, labels = read_idx(images_path, 3), read(labels_path)
    if images.shape[1:] != (28, 28):
        raise DataError(f"{images_path}: expected images of 28x28, found {images.shape[1]}x{images.shape[2]}")
    if len(images) == 0 or len(images) != len(labels):
        raise DataError(f"{labels_path}: expected {len(images)} labels as in {images_path}, found {len(labels)}")
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        at = int(wrong.argmax())
        raise DataError(f"{labels_path}: expected labels 0 to {num_classes - 1}, found {labels[at]} at {at}")
    return Split(images[..., None], labels.astype(np.int32))


DATASETS = {
    "mnist": Source(
        partial(load, name="mnist", folder="MNIST", classes=tuple("0123456789")),
        partial(download, folder="MNIST", mirrors=MNIST_MIRRORS, sha256=MNIST_SHA256),
        "60,000 + 10,000 handwritten digits, 28x28x1 (LeCun et al.)",
    ),
    "kmnist": Source(
        partial(load, name="kmnist", folder="KMNIST", classes=KMNIST_CLASSES),
        partial(download, folder="KMNIST", mirrors=KMNIST_MIRRORS, sha256=KMNIST_SHA256),
        "60,000 + 10,000 Japanese characters, 28x28x1 (Clanuwat et al. 2018)",
    ),
    "fashion_mnist": Source(
        partial(load, name="fashion_mnist", folder="FashionMNIST", classes=FASHION_CLASSES),
        partial(download, folder="FashionMNIST", mirrors=FASHION_MIRRORS, sha256=FASHION_SHA256),
        "60,000 + 10,000 articles of clothing, 28x28x1 (Zalando Research)",
    ),
}
