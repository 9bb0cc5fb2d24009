"""The datasets in MNIST's format beside MNIST: which way up, and which number is which class."""

import gzip
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import EMNIST, KMNIST, QMNIST

import data
from data import DataError
from data.datasets import emnist
from tests.idx_files import idx_bytes, write_tree

RNG = np.random.default_rng(0)
IMAGES = {"train": RNG.integers(0, 256, (30, 28, 28), np.uint8), "test": RNG.integers(0, 256, (9, 28, 28), np.uint8)}


def write_emnist(raw: Path, split: str, first: int, classes: int) -> None:
    raw.mkdir(parents=True, exist_ok=True)
    for part, images in IMAGES.items():
        labels = (first + np.arange(len(images)) % classes).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            (raw / f"emnist-{split}-{part}-{kind}-ubyte").write_bytes(idx_bytes(array))


@pytest.mark.parametrize("split", emnist.SPLITS)
def test_emnist_is_upright_and_its_letters_begin_at_0(split, tmp_path):
    classes = len(emnist.SPLITS[split][0])
    write_emnist(tmp_path / "EMNIST/raw", split, int(split == "letters"), classes)
    dataset = data.load("emnist" if split == "letters" else f"emnist_{split}", tmp_path)
    theirs = EMNIST(tmp_path, split)
    assert dataset.classes == tuple(name for name in theirs.classes if name != "N/A")
    assert (dataset.train.inputs[..., 0] == IMAGES["train"].swapaxes(1, 2)).all()
    assert (dataset.test.inputs[..., 0] == IMAGES["test"].swapaxes(1, 2)).all()
    for ours, label in zip(dataset.train.labels, theirs.targets.tolist(), strict=True):
        assert dataset.classes[ours] == theirs.classes[label]


def test_kmnist_and_qmnist_are_read_as_torchvision_reads_them(tmp_path):
    write_tree(tmp_path, "KMNIST")
    raw = tmp_path / "QMNIST/raw"
    raw.mkdir(parents=True)
    for part, images in IMAGES.items():
        numbers = RNG.integers(0, 5000, (len(images), 8)).astype(np.int32)
        numbers[:, 0] = np.arange(len(images)) % 10
        (raw / f"qmnist-{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        content = struct.pack(">III", 0x0C02, *numbers.shape) + numbers.astype(">i4").tobytes()
        (raw / f"qmnist-{part}-labels-idx2-int").write_bytes(content)
    for name, theirs in (("kmnist", KMNIST), ("qmnist", QMNIST)):
        dataset = data.load(name, tmp_path)
        for split, train in ((dataset.train, True), (dataset.test, False)):
            other = theirs(tmp_path, train=train)
            expected = other.targets if name == "kmnist" else other.targets[:, 0]
            assert (split.inputs[..., 0] == other.data.numpy()).all()
            assert split.labels.tolist() == expected.tolist()
    assert dataset.classes == tuple("0123456789")


def test_a_letter_out_of_range_and_labels_of_another_kind_are_named(tmp_path):
    raw = tmp_path / "EMNIST/raw"
    write_emnist(raw, "letters", 0, 26)
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte: expected labels 0 to 25, found -1 at 0"):
        data.load("emnist", tmp_path)
    write_emnist(raw, "letters", 1, 27)
    with pytest.raises(DataError, match=r"expected labels 0 to 25, found 26 at 26"):
        data.load("emnist", tmp_path)
    with pytest.raises(DataError, match=r"qmnist: its files have no published SHA-256.*QMNIST"):
        emnist.download_qmnist(tmp_path)


def test_emnist_is_unpacked_from_its_archive(tmp_path, monkeypatch):
    made = tmp_path / "made"
    for split, (classes, _) in emnist.SPLITS.items():
        write_emnist(made, split, int(split == "letters"), len(classes))
    raw = tmp_path / "EMNIST/raw"
    raw.mkdir(parents=True)
    with zipfile.ZipFile(raw / "gzip.zip", "w") as archive:
        for path in made.iterdir():
            archive.writestr(f"gzip/{path.name}.gz", gzip.compress(path.read_bytes()))
        archive.writestr("../evil", b"x")
    monkeypatch.setattr(emnist, "fetch", lambda *_: None)
    emnist.download_emnist(tmp_path)
    assert len(data.load("emnist_digits", tmp_path).train.labels) == 30
    assert not (raw / "gzip.zip").exists()
    assert len(list(raw.iterdir())) == 4 * len(emnist.SPLITS)
