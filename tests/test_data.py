import gzip
import hashlib
import http.server
import threading
import time
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import data
from data import DataError, Loader, Split, UserError, fit_to, hold_out, make_dataset
from data.download import fetch
from tests.idx_files import arrays, idx_bytes, write_tree

MNIST_MD5 = {  # of the unpacked files, as published
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def numbered(count: int, channels: int = 1) -> Split:
    """Images that say which one they are."""
    images = np.zeros((count, 2, 2, channels), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.arange(count) // 256, np.arange(count) % 256
    return Split(images, (np.arange(count) % 10).astype(np.int32))


def loader(split: Split, batch_size: int, seed: int | None) -> Loader:
    channels = split.inputs.shape[-1]
    return Loader(split, np.zeros(channels, np.float32), np.full(channels, 1 / 255, np.float32), batch_size, seed)


def ids(batches) -> list[int]:
    images = np.concatenate([batch.inputs for batch in batches])
    return [round(float(i[0, 0, 0] * 256 + i[0, 1, 0])) for i in images]


@given(
    count=st.integers(1, 300), batch_size=st.integers(1, 70), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 9)
)
def test_every_image_comes_exactly_once_an_epoch(count, batch_size, seed, epoch):
    split = numbered(count)
    batches = list(loader(split, batch_size, seed).epoch(epoch))
    assert sorted(ids(batches)) == list(range(count))
    assert len(batches) == len(loader(split, batch_size, seed))
    for batch in batches:
        assert batch.inputs.dtype == np.float32
        assert batch.labels.dtype == np.int32
    labels = np.concatenate([batch.labels for batch in batches])
    assert (labels == np.array(ids(batches)) % 10).all()  # images keep their labels


@given(count=st.integers(1, 300), sizes=st.tuples(st.integers(1, 70), st.integers(1, 70)), epoch=st.integers(0, 9))
def test_the_order_does_not_depend_on_the_batch_size(count, sizes, epoch):
    split = numbered(count)
    first, second = (ids(loader(split, size, 7).epoch(epoch)) for size in sizes)
    assert first == second


@given(count=st.integers(2, 300), batch_size=st.integers(2, 70))
def test_no_training_batch_holds_a_single_image_but_evaluation_keeps_the_ragged_one(count, batch_size):
    split = numbered(count)
    assert min(len(batch.labels) for batch in loader(split, batch_size, 0).epoch()) >= 2
    sizes = [len(batch.labels) for batch in loader(split, batch_size, None).epoch()]
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    assert sum(sizes) == count
    assert ids(loader(split, batch_size, None).epoch()) == list(range(count))


def test_the_order_depends_on_seed_and_epoch_alone():
    split = numbered(100)
    assert ids(loader(split, 8, 1).epoch(3)) == ids(loader(split, 8, 1).epoch(3))
    assert ids(loader(split, 8, 1).epoch(3)) != ids(loader(split, 8, 1).epoch(4))
    assert ids(loader(split, 8, 1).epoch(3)) != ids(loader(split, 8, 2).epoch(3))


@given(count=st.integers(2, 500), share=st.floats(0.01, 0.5))
def test_validation_and_training_images_are_disjoint_and_complete(count, share):
    split = numbered(count)
    rest, held = hold_out(split, share)
    seen = ids(loader(rest, 16, None).epoch()) + ids(loader(held, 16, None).epoch())
    assert sorted(seen) == list(range(count))
    assert len(held.labels) >= 1
    assert (hold_out(split, share)[1].labels == held.labels).all()


def test_batches_have_the_training_pixels_mean_0_and_standard_deviation_1():
    dataset = data.load("digits")
    pixels = np.concatenate([b.inputs for b in Loader(dataset.train, dataset.mean, dataset.std, 100).epoch()])
    assert abs(pixels.mean(dtype=np.float64)) < 1e-6
    assert abs(pixels.std(dtype=np.float64) - 1) < 1e-6


def test_statistics_are_those_of_numpy_for_every_channel():
    images = np.random.default_rng(0).integers(0, 200, (50, 5, 4, 3), np.uint8) + np.array([0, 20, 50], np.uint8)
    split = Split(images, np.zeros(50, np.int32))
    dataset = make_dataset(split, split, ("one",))
    np.testing.assert_allclose(dataset.mean, (images / 255).mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(dataset.std, (images / 255).std((0, 1, 2)), rtol=1e-6)


def test_digits_are_scikit_learns_in_a_fixed_split():
    dataset = data.load("digits")
    assert dataset.train.inputs.shape == (1437, 8, 8, 1)
    assert dataset.test.inputs.shape == (360, 8, 8, 1)
    assert np.bincount(dataset.test.labels).min() >= 29  # every class is tested
    # The split is a promise: figures in the README hold for this one.
    assert hashlib.sha256(dataset.test.inputs.tobytes()).hexdigest()[:16] == "15a1a27a82fd05cf"


@pytest.mark.parametrize("zipped", [False, True])
def test_small_idx_tree_round_trips(tmp_path, zipped):
    write_tree(tmp_path, zipped=zipped)
    dataset = data.load("mnist", tmp_path)
    for name, split in (("train", dataset.train), ("t10k", dataset.test)):
        assert (split.inputs[..., 0] == arrays()[f"{name}-images-idx3-ubyte"]).all()
        assert (split.labels == arrays()[f"{name}-labels-idx1-ubyte"]).all()


def test_real_mnist_is_the_published_one(real_data):
    for stem, md5 in MNIST_MD5.items():
        content = gzip.decompress((real_data / "MNIST" / "raw" / f"{stem}.gz").read_bytes())
        assert hashlib.md5(content).hexdigest() == md5
    dataset = data.load("mnist", real_data)
    assert dataset.train.inputs.shape == (60000, 28, 28, 1)
    assert dataset.test.inputs.shape == (10000, 28, 28, 1)
    # The mean and deviation that PyTorch's MNIST example uses.
    np.testing.assert_allclose([dataset.mean[0], dataset.std[0]], [0.1307, 0.3081], atol=5e-5)


def test_real_fashion_mnist_loads(real_data):
    dataset = data.load("fashion_mnist", real_data)
    assert dataset.classes[9] == "Ankle boot"
    assert (np.bincount(dataset.test.labels) == 1000).all()


def test_the_data_folder_comes_from_the_option_then_the_variable_then_the_cache(tmp_path, monkeypatch):
    write_tree(tmp_path / "a")
    monkeypatch.setenv("JAXNETS_DATA", str(tmp_path / "a"))
    assert len(data.load("mnist").train.labels) == 60
    with pytest.raises(DataError, match="nowhere"):
        data.load("mnist", tmp_path / "nowhere")
    monkeypatch.delenv("JAXNETS_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"\.cache/jaxnets/MNIST/raw"):
        data.load("mnist")


IMAGES, LABELS = arrays()["train-images-idx3-ubyte"], arrays()["train-labels-idx1-ubyte"]
BAD_FILES = {
    # name of the fault: (file, its bytes, what must be said: found and expected)
    "truncated": ("train-images-idx3-ubyte", idx_bytes(IMAGES)[:-100], ["promises 47040", "found only 46940"]),
    "too long": ("train-images-idx3-ubyte", idx_bytes(IMAGES) + b"x", ["promises 47040", "found more"]),
    "header only in part": ("train-images-idx3-ubyte", idx_bytes(IMAGES)[:7], ["16 bytes", "found 7"]),
    "empty": ("train-labels-idx1-ubyte", b"", ["8 bytes", "found 0"]),
    "wrong magic": ("train-images-idx3-ubyte", idx_bytes(IMAGES, magic=0x0D03), ["0x00000803", "0x00000d03"]),
    "labels for images": ("train-images-idx3-ubyte", idx_bytes(np.zeros(99, np.uint8)), ["0x00000803", "0x00000801"]),
    "wrong count": ("train-labels-idx1-ubyte", idx_bytes(LABELS[:-1]), ["expected 60", "found 59"]),
    "label out of range": ("train-labels-idx1-ubyte", idx_bytes(LABELS + 1), ["0 to 9", "found 10 at 9"]),
    "wrong size": ("train-images-idx3-ubyte", idx_bytes(IMAGES[:, :20]), ["28x28", "20x28"]),
    "absurd header": ("train-images-idx3-ubyte", idx_bytes(IMAGES, shape=(2**31, 28, 28)), ["at most 1073741824"]),
    "not gzip": ("train-images-idx3-ubyte.gz", b"<!DOCTYPE html>", ["expected gzip"]),
    "truncated gzip": ("train-images-idx3-ubyte.gz", gzip.compress(idx_bytes(IMAGES))[:-500], ["cut short"]),
    "flipped gzip": ("train-images-idx3-ubyte.gz", None, ["expected gzip"]),
}


@pytest.mark.parametrize("fault", BAD_FILES)
def test_a_bad_file_is_named_with_what_was_found_and_expected(tmp_path, fault):
    name, content, said = BAD_FILES[fault]
    raw = write_tree(tmp_path)
    if content is None:
        content = bytearray(gzip.compress(idx_bytes(IMAGES)))
        content[len(content) // 2] ^= 0xFF
    if name.endswith(".gz"):
        (raw / name.removesuffix(".gz")).unlink()
    (raw / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        data.load("mnist", tmp_path)
    message = str(error.value)
    assert str(raw / name) in message
    assert "\n" not in message
    for words in said:
        assert words in message


def test_missing_files_name_every_path_and_the_command_that_fetches_them(tmp_path):
    raw = write_tree(tmp_path)
    (raw / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError) as error:
        data.load("mnist", tmp_path)
    message = str(error.value)
    assert f"{raw / 't10k-labels-idx1-ubyte'} " in message
    assert f"{raw / 't10k-labels-idx1-ubyte.gz'}" in message
    assert f"python -m data download mnist --data-dir {tmp_path}" in message


def test_an_unknown_dataset_gets_the_nearest_name_and_the_list():
    with pytest.raises(UserError, match=rf"'fashion-mnist'.*mean 'fashion_mnist'.*{', '.join(data.DATASETS)}"):
        data.load("fashion-mnist")


@given(height=st.integers(4, 40), width=st.integers(4, 40), to=st.tuples(st.integers(4, 40), st.integers(4, 40)))
def test_images_of_any_size_fit_any_network_of_their_channels(height, width, to):
    images = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), np.uint8)
    split = Split(images, np.zeros(3, np.int32))
    dataset = make_dataset(split, split, ("one",))
    fitted, note = fit_to(dataset, (*to, 3))
    assert fitted.train.inputs.shape == (3, *to, 3)
    assert fitted.train.inputs.dtype == np.uint8
    assert (note is None) == ((height, width) == to)


def test_28_pixels_are_padded_to_32_by_2_on_each_side():
    images = np.full((2, 28, 28, 1), 255, np.uint8)
    split = Split(images, np.zeros(2, np.int32))
    fitted, note = fit_to(make_dataset(split, split, ("one",)), (32, 32, 1))
    assert note == "images of 28x28x1 are padded to 32x32x1"
    assert (fitted.train.inputs[:, 2:30, 2:30] == 255).all()
    assert fitted.train.inputs.sum() == images.sum()


def test_channels_that_mean_nothing_cannot_be_made_to_fit():
    split = Split(np.zeros((2, 28, 28, 2), np.uint8), np.zeros(2, np.int32))
    with pytest.raises(DataError, match="takes inputs of 32x32x3, the dataset has images of 28x28x2"):
        fit_to(make_dataset(split, split, ("one",)), (32, 32, 3))


class Server(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # quiet
        pass

    def do_GET(self) -> None:
        if self.path == "/forbidden":
            self.send_error(403)
        elif self.path in ("/stalled", "/truncated"):  # promises more than it sends, and then hangs, or hangs up
            self.send_response(200)
            self.send_header("Content-Length", "15")
            self.end_headers()
            self.wfile.write(b"the right")
            self.wfile.flush()
            time.sleep(2 if self.path == "/stalled" else 0)
        else:
            super().do_GET()


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "good").write_bytes(b"the right bytes")
    (folder / "bad").write_bytes(b"<html>not found, but politely</html>")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=folder)) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_a_download_tries_the_next_mirror_until_the_hash_is_right(tmp_path, server):
    path, digest = tmp_path / "got" / "file", hashlib.sha256(b"the right bytes").hexdigest()
    fetch([f"{server}/missing", f"{server}/bad", f"{server}/good"], path, digest)
    assert path.read_bytes() == b"the right bytes"


def test_a_download_with_wrong_bytes_never_reaches_its_final_path(tmp_path, server):
    path = tmp_path / "got" / "file"
    with pytest.raises(DataError, match=r"missing: .*404.*bad: not the bytes expected"):
        fetch([f"{server}/missing", f"{server}/bad"], path, "0" * 64)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "said"), [("forbidden", "403"), ("stalled", "timed out"), ("truncated", ""), ("bad", "not the bytes")]
)
def test_a_download_that_goes_wrong_is_said_and_the_next_mirror_tried(fault, said, tmp_path, server):
    path, digest = tmp_path / "got" / "file", hashlib.sha256(b"the right bytes").hexdigest()
    with pytest.raises(DataError, match=f"cannot download file. {server}/{fault}: .*{said}") as error:
        fetch([f"{server}/{fault}"], path, digest, timeout=0.5)
    assert "\n" not in str(error.value)
    assert list(path.parent.iterdir()) == []
    fetch([f"{server}/{fault}", f"{server}/good"], path, digest, timeout=0.5)
    assert path.read_bytes() == b"the right bytes"


def test_a_server_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(DataError, match="cannot download file"):
        fetch(["http://127.0.0.1:9/file"], tmp_path / "file", "0" * 64)
