"""CIFAR-10 in both layouts, and pickles that must not run."""

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import data
from data import DataError
from data.datasets import cifar10
from data.pickled import read_pickled
from tests.image_files import (
    CIFAR_FILES,
    cifar_arrays,
    python2_batch,
    write_cifar_binary,
    write_cifar_python,
)

LEAVES = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=9)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
    ),
)


@given(value=VALUES, protocol=st.sampled_from([2, 3, 4]))
def test_a_pickle_of_plain_values_reads_as_pickle_reads_it(value, protocol, tmp_path_factory):
    path = tmp_path_factory.mktemp("pickle") / "x"
    path.write_bytes(pickle.dumps(value, protocol))
    assert read_pickled(path) == value


@given(
    dtype=st.sampled_from(["u1", "<i4", ">i8", "<f4", "f8", "?"]),
    shape=st.lists(st.integers(0, 4), max_size=3),
    protocol=st.sampled_from([2, 3, 4]),
    order=st.sampled_from("CF"),
)
def test_a_pickled_array_reads_as_pickle_reads_it(dtype, shape, protocol, order, tmp_path_factory):
    made = np.random.default_rng(0).integers(0, 200, shape).astype(dtype).copy(order=order)
    path = tmp_path_factory.mktemp("pickle") / "x"
    path.write_bytes(pickle.dumps([made, made, (b"text", made.dtype)][: 3 if made.size else 1], protocol))
    if made.size == 0 and protocol == 2:
        return  # Python 3 writes b"" in Python 2's protocol as a call, which is refused like any other
    found = read_pickled(path)[0]
    assert (found.dtype, found.shape) == (made.dtype, made.shape)
    assert (found == made).all()


def test_a_pickle_of_python_2_reads_as_pickle_reads_it(tmp_path):
    path = write_cifar_python(tmp_path) / "test_batch"
    found, expected = read_pickled(path), pickle.loads(path.read_bytes(), encoding="bytes")
    assert found.keys() == expected.keys() == {b"batch_label", b"labels", b"data", b"filenames"}
    assert (found.pop(b"data") == expected.pop(b"data")).all()
    assert found == expected


class Evil:
    """What a pickle can do to whoever loads it."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_does_not_run(tmp_path, protocol):
    victim, folder = tmp_path / "victim", write_cifar_python(tmp_path)
    content = pickle.dumps({"data": Evil(victim)}, protocol)
    pickle.loads(content)
    assert victim.exists()  # it would
    victim.unlink()
    (folder / "data_batch_3").write_bytes(content)
    with pytest.raises(DataError, match=r"data_batch_3: (names|holds|calls) [^\n]*which plain data does not need"):
        data.load("cifar10", tmp_path)
    assert not victim.exists()


BATCH = python2_batch(*cifar_arrays("test_batch"))
EVIL = {
    # what is in it: (the pickle, what must be said)
    "protocol 0": (b"cos\nsystem\n(S'touch x'\ntR.", "names os.system"),
    "a known name with other arguments": (b"\x80\x02cnumpy\ndtype\nU\x07touch x\x85R.", "calls something"),
    "an array of objects": (pickle.dumps(np.array([{}], object), 2), "holds an array of 'O8'"),
    "state for what is none": (b"\x80\x02]}b.", "sets the state of something that is no array"),
    "an instance": (b"(S'touch x'\nios\nsystem\n.", "holds the operation STRING"),
    "an extension": (b"\x80\x02\x82\x01.", "holds the operation EXT1"),
    "a persistent id": (b"\x80\x02Pos.system\n.", "holds the operation PERSID"),
    "a float": (pickle.dumps(0.5, 2), "holds the operation BINFLOAT"),
    "an array larger than its bytes": (BATCH.replace(b"M\x14\0", b"M\x15\0"), r"shape \(21, 3072\) uint8 in 61440"),
    "a name that is a list": (b"\x80\x04](K\x01e]\x93.", "names something by what is no text"),
    "something left over": (pickle.dumps([1], 2) + b"x", "left over"),
    "a mark alone": (b"\x80\x02(.", "a mark where a value should be"),
    "one text made bytes many times": (
        b"\x80\x02X\xf4\x01\0\0" + b"a" * 500 + b"q\x01X\x06\0\0\0latin1q\x02c_codecs\nencode\nq\x03"
        b"h\x03h\x01h\x02\x86Rh\x03h\x01h\x02\x86R.",
        "more memory than its own size",
    ),
}


@pytest.mark.parametrize("fault", EVIL)
def test_a_pickle_of_anything_else_is_refused_in_one_line(tmp_path, fault):
    content, said = EVIL[fault]
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"^{path}: .*({said})") as error:
        read_pickled(path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [path]


@given(at=st.integers(0, 200), value=st.integers(0, 255), cut=st.integers(0, 300))
def test_a_garbled_pickle_is_an_error_or_a_value_but_nothing_else(at, value, cut, tmp_path_factory):
    content = bytearray(python2_batch(np.zeros((1, 3), np.uint8), np.zeros(1, np.uint8)))
    content[at % len(content)] = value
    path = tmp_path_factory.mktemp("pickle") / "x"
    path.write_bytes(content[: max(0, len(content) - cut)] if cut < 100 else content)
    try:
        read_pickled(path)
    except DataError as error:
        message = str(error)
    else:
        message = str(path)
    assert message.startswith(str(path))


@pytest.mark.parametrize("write", [write_cifar_binary, write_cifar_python])
def test_both_layouts_of_cifar_are_the_same_pictures(tmp_path, write):
    write(tmp_path)
    dataset = data.load("cifar10", tmp_path)
    assert dataset.classes[3] == "cat"
    for split, stems in ((dataset.train, CIFAR_FILES[:5]), (dataset.test, CIFAR_FILES[5:])):
        pixels, labels = (np.concatenate(parts) for parts in zip(*map(cifar_arrays, stems), strict=True))
        assert split.inputs.flags.c_contiguous
        assert (split.inputs[..., 1].reshape(-1, 1024) == pixels[:, 1024:2048]).all()  # green, row by row
        assert split.inputs[1, 2, 3].tolist() == pixels[1, [67, 1091, 2115]].tolist()  # row 2, column 3: 2 * 32 + 3
        assert (split.labels == labels).all()


def batch(count: int, pixels: int = 3072, labels: int | None = None, label: int = 0) -> bytes:
    """A batch of the Python layout that may be wrong."""
    made = np.full(count if labels is None else labels, label, np.uint8)
    return python2_batch(np.zeros((count, pixels), np.uint8), made)


BAD_CIFAR = {
    # name of the fault: (layout, file, its bytes or how they change, what must be said)
    "half a record": (write_cifar_binary, "data_batch_2.bin", lambda b: b[:-1], ["records of 3073", "found 61459"]),
    "no records": (write_cifar_binary, "data_batch_2.bin", b"", ["records of 3073", "found 0"]),
    "label": (write_cifar_binary, "test_batch.bin", lambda b: b[:3073] + b"\n" + b[3074:], ["0 to 9, found 10 at 1"]),
    "other classes": (write_cifar_binary, "batches.meta.txt", b"cat\ndog", ["airplane", "('cat', 'dog')"]),
    "no text": (write_cifar_binary, "batches.meta.txt", b"\xff\xfe", ["no text"]),
    "missing": (write_cifar_binary, "data_batch_5.bin", None, ["cannot be read", "python -m data download cifar10"]),
    "missing pickle": (write_cifar_python, "test_batch", None, ["cannot be read", "python -m data download cifar10"]),
    "cut short": (write_cifar_python, "test_batch", lambda b: b[:-900], ["not a whole pickle"]),
    "grey": (write_cifar_python, "test_batch", batch(5, 1024), ["(N, 3072)", "(5, 1024)"]),
    "a label missing": (write_cifar_python, "test_batch", batch(5, labels=4), ["expected 5", "found 4"]),
    "pickled label": (write_cifar_python, "test_batch", batch(2, label=200), ["0 to 9, found 200 at 0"]),
    "no dict": (write_cifar_python, "data_batch_1", pickle.dumps([1], 2), ["expected a dict with 'data'"]),
    "no array": (write_cifar_python, "data_batch_1", pickle.dumps({"data": [1], "labels": [1]}, 2), ["found list"]),
}


@pytest.mark.parametrize("fault", BAD_CIFAR)
def test_a_bad_cifar_file_is_named_with_what_was_found_and_expected(tmp_path, fault):
    write, name, change, said = BAD_CIFAR[fault]
    path = write(tmp_path) / name
    content = path.read_bytes()
    path.unlink()
    if change is not None:
        path.write_bytes(change(content) if callable(change) else change)
    with pytest.raises(DataError) as error:
        data.load("cifar10", tmp_path)
    message = str(error.value)
    assert "\n" not in message
    for words in (str(path.parent), *said):
        assert words in message


def test_cifar_that_is_not_there_names_both_folders_and_the_command(tmp_path):
    with pytest.raises(DataError) as error:
        data.load("cifar10", tmp_path)
    for name in ("cifar-10-batches-bin", "cifar-10-batches-py"):
        assert str(tmp_path / name) in str(error.value)
    assert f"python -m data download cifar10 --data-dir {tmp_path}" in str(error.value)


def test_cifar_is_unpacked_from_its_archive(tmp_path, monkeypatch):
    folder = write_cifar_binary(tmp_path / "made")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, folder.name)
    root = tmp_path / "data"
    root.mkdir()
    (root / "cifar-10-binary.tar.gz").write_bytes(buffer.getvalue())  # what has the right hash is not fetched again
    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(buffer.getvalue()).hexdigest())
    cifar10.download(root)
    assert [path.name for path in root.iterdir()] == ["cifar-10-batches-bin"]
    assert len(data.load("cifar10", root).train.labels) == 100
