"""EMNIST, handwritten letters and digits, and QMNIST, MNIST with all 60,000 test digits, in torchvision's layout.

Sources: Cohen et al. 2017, arXiv 1702.05373 (public domain); Yadav and Bottou 2019, arXiv 1905.10498 (BSD).
"""

import shutil
import string
import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from data.base import DataError, Dataset, Source, Split
from data.datasets.mnist import load, read_labels
from data.download import fetch
from data.idx import INTEGER, read_idx

MIRRORS = (
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/gzip.zip",
)
SHA256 = "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"  # as TensorFlow Datasets has it
PARTS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "test-images-idx3-ubyte", "test-labels-idx1-ubyte")
MAX_BYTES = 2**30  # of one file, gzipped; the largest has 190 MB
MERGED = "CIJKLMOPSUVWXYZ".lower()  # their lower case is counted as upper case
BALANCED = (*string.digits, *string.ascii_uppercase, *(x for x in string.ascii_lowercase if x not in MERGED))
SPLITS = {  # split: (classes, contents)
    "letters": (tuple(string.ascii_lowercase), "124,800 + 20,800 letters of either case"),
    "balanced": (BALANCED, "112,800 + 18,800 digits and letters, 47 classes"),
    "digits": (tuple(string.digits), "240,000 + 40,000 digits"),
    "bymerge": (BALANCED, "697,932 + 116,323 digits and letters, 47 classes"),
    "byclass": (
        (*string.digits, *string.ascii_uppercase, *string.ascii_lowercase),
        "697,932 + 116,323 digits and letters, 62 classes",
    ),
}
QMNIST = tuple(f"qmnist-{part}" for part in (PARTS[0], "train-labels-idx2-int", PARTS[2], "test-labels-idx2-int"))


def load_emnist(data_dir: Path, *, name: str, split: str) -> Dataset:
    """Read the files of a split in `data_dir/EMNIST/raw`, plain or gzipped.

    Returns:
        Images (N, 28, 28, 1), upright: the files hold them transposed.

    Raises:
        DataError: a file is missing or damaged, or the files do not match.
    """
    files = tuple(f"emnist-{split}-{part}" for part in PARTS)
    read = _read_letters if split == "letters" else read_labels
    found = load(data_dir, name=name, folder="EMNIST", classes=SPLITS[split][0], files=files, read=read)
    upright = (
        Split(np.ascontiguousarray(part.inputs.swapaxes(1, 2)), part.labels) for part in (found.train, found.test)
    )
    train, test = upright
    return found._replace(train=train, test=test)


def download_emnist(data_dir: Path) -> None:
    """Download the archive of all splits (562 MB), check its SHA-256 and unpack its files."""
    raw = data_dir / "EMNIST" / "raw"
    archive = raw / "gzip.zip"
    fetch(MIRRORS, archive, SHA256)
    try:
        with zipfile.ZipFile(archive) as members:
            for member in (f"emnist-{split}-{part}.gz" for split in SPLITS for part in PARTS):
                if members.getinfo(f"gzip/{member}").file_size > MAX_BYTES:
                    raise DataError(f"{archive}: {member} has more than {MAX_BYTES} bytes")
                partial_file = raw / f"{member}.part"
                with members.open(f"gzip/{member}") as source, partial_file.open("wb") as target:
                    shutil.copyfileobj(source, target)
                partial_file.replace(raw / member)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({type(error).__name__}: {error})") from None
    archive.unlink()


def download_qmnist(data_dir: Path) -> None:
    """Raise an error with the command to run: only MD5 sums of the files have been published."""
    both = f"[QMNIST('{data_dir}', train=part, download=True) for part in (True, False)]"
    command = f'python -c "from torchvision.datasets import QMNIST; {both}"'
    raise DataError(
        f"qmnist: its files have no published SHA-256, so this command does not fetch them; run: {command}"
    )


def _read_letters(path: Path) -> np.ndarray:
    """Read the labels of the split of letters, which begin at 1."""
    return read_idx(path, 1).astype(np.int32) - 1


def _read_classes(path: Path) -> np.ndarray:
    """Read the class, the first of the eight numbers that QMNIST has for each digit."""
    return read_idx(path, 2, INTEGER)[:, 0]


DATASETS = {
    ("emnist" if split == "letters" else f"emnist_{split}"): Source(
        partial(load_emnist, name="emnist" if split == "letters" else f"emnist_{split}", split=split),
        download_emnist,
        f"{about}, 28x28x1 (Cohen et al. 2017)",
    )
    for split, (_, about) in SPLITS.items()
} | {
    "qmnist": Source(
        partial(load, name="qmnist", folder="QMNIST", classes=tuple(string.digits), files=QMNIST, read=_read_classes),
        download_qmnist,
        "60,000 + 60,000 handwritten digits, 28x28x1 (Yadav and Bottou 2019)",
    )
}
