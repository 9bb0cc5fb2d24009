"""Pictures: one's own folder, and fitting a dataset to a network."""

import json
import shutil
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given
from PIL import Image, ImageOps
from torchvision.transforms import v2

import data
from data import DataError, Split, UserError, fit_to, make_dataset
from data.datasets.folder import read_picture
from data.picture_sizes import picture_sizes
from tests.image_files import (
    picture,
    write_pictures,
)


def test_pictures_of_many_sizes_are_split_by_their_content(tmp_path):
    write_pictures(tmp_path, {"cat": 40, "Dog": 30})
    dataset = data.load(str(tmp_path), input_shape=(16, 12, 3))
    assert dataset.classes == ("Dog", "cat")
    assert dataset.train.inputs.shape[1:] == dataset.test.inputs.shape[1:] == (16, 12, 3)
    counts = np.bincount(dataset.train.labels) + np.bincount(dataset.test.labels)
    assert counts.tolist() == [30, 40]
    assert 4 <= len(dataset.test.labels) <= 26
    for name in ("cat", "Dog"):  # twins, hidden files and other files change nothing of the split
        for path in list((tmp_path / name).iterdir()):
            shutil.copy(path, path.with_name("twin-" + path.name))
        (tmp_path / name / ".hidden.png").write_text("")
        (tmp_path / name / "notes.txt").write_text("")
    (tmp_path / ".git").mkdir()
    twice = data.load("folder", tmp_path, (16, 12, 3))
    assert len(twice.test.labels) == 2 * len(dataset.test.labels)
    assert {image.tobytes() for image in twice.test.inputs} == {image.tobytes() for image in dataset.test.inputs}


def test_train_and_test_folders_are_taken_as_they_are(tmp_path):
    write_pictures(tmp_path / "train", {"a": 3, "b": 2, "c": 2})
    write_pictures(tmp_path / "test", {"c": 2}, seed=50)
    dataset = data.load("folder", tmp_path, (8, 8, 3))
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert dataset.test.labels.tolist() == [2, 2]


@given(height=st.integers(1, 60), width=st.integers(1, 60), to=st.tuples(st.integers(1, 30), st.integers(1, 30)))
@example(height=4, width=29, to=(3, 28))  # 29 - 29 / 28 * 28 is a little below 0
def test_a_picture_of_any_size_becomes_the_networks(height, width, to, tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "x.png"
    Image.fromarray(picture(0, height, width)).save(path)
    made = read_picture(path, *to)
    assert made.shape == (*to, 3)
    assert made.dtype == np.uint8


@pytest.mark.parametrize(("height", "width"), [(40, 40), (41, 61), (90, 30), (25, 25)])
def test_a_picture_is_resized_and_cropped_as_torchvision_does_it(tmp_path, height, width):
    made = picture(1, height, width)
    Image.fromarray(made).save(tmp_path / "x.png")
    steps = v2.Compose([v2.Resize(24, antialias=True), v2.CenterCrop(24)])
    expected = steps(torch.from_numpy(made.copy()).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    found = read_picture(tmp_path / "x.png", 24, 24)
    apart = np.abs(found.astype(int) - expected)
    if height == width:
        assert apart.max() <= 1
    assert apart.mean() < 6  # torchvision crops at whole pixels
    assert apart.mean() < np.abs(found.astype(int) - expected[:, ::-1]).mean() / 3


def test_every_kind_of_picture_becomes_colour_on_white(tmp_path):
    made = picture(2, 24, 24)
    grey = np.full((8, 8), 0x8012, np.uint16)
    clear = np.dstack([made, np.full((24, 24), 0, np.uint8)])
    palette = Image.fromarray(made).quantize(4)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(clear).save(tmp_path / "clear.png")
    palette.save(tmp_path / "palette.png", transparency=0)
    Image.fromarray(made).convert("CMYK").save(tmp_path / "print.jpg")
    assert (read_picture(tmp_path / "grey.png", 4, 4) == 0x80).all()
    assert (read_picture(tmp_path / "clear.png", 4, 4) == 255).all()
    zero = np.asarray(palette) == 0
    assert (read_picture(tmp_path / "palette.png", 24, 24)[zero] == 255).all()
    assert np.abs(read_picture(tmp_path / "print.jpg", 24, 24).astype(int) - made).mean() < 10


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
def test_a_photograph_is_turned_upright_as_pillow_turns_it(tmp_path, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture(4, 24, 24)).save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert (read_picture(tmp_path / name, 24, 24) == expected).all()


SPOILT = [
    b"garbage!" * 4,
    bytes(32),
    b"MM\0*",
    b"II*\0\x08\0\0\0\xff\xff\x12\x01",
    b"Exif\0\0Exif\0\0MM\0*\0\0\0\x08\0\0",
]


@pytest.mark.parametrize("exif", SPOILT)
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_damaged_metadata_does_not_cost_the_picture(tmp_path, exif, suffix):
    made, path, plain = picture(4, 24, 24), tmp_path / f"x.{suffix}", tmp_path / f"plain.{suffix}"
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(made).save(path, exif=exif if suffix == "png" else b"Exif\0\0" + exif, **options)
    Image.fromarray(made).save(plain, **options)
    assert (read_picture(path, 24, 24) == read_picture(plain, 24, 24)).all()
    assert picture_sizes(tmp_path) == {(24, 24): 2}


def test_a_tag_of_another_type_is_no_orientation(tmp_path):
    made = picture(4, 24, 24)
    Image.fromarray(made).save(tmp_path / "x.png", exif=b"MM\0*\0\0\0\x08\0\1\1\x12\0\2\0\0\0\2\x36\0\0\0\0\0\0\0")
    assert (read_picture(tmp_path / "x.png", 24, 24) == made).all()


def test_a_large_photograph_is_decoded_small_and_is_still_the_same(tmp_path):
    made = picture(3, 400, 600)
    Image.fromarray(made).save(tmp_path / "x.jpg", quality=95)
    Image.fromarray(made).save(tmp_path / "x.png")
    small, whole = (read_picture(tmp_path / f"x.{suffix}", 20, 20).astype(int) for suffix in ("jpg", "png"))
    assert np.abs(small - whole).max() <= 6


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a/0.png", b"", "expected a PNG or JPEG"),
        ("a/0.png", b"GIF89a not one of ours", "expected a PNG or JPEG"),
        ("a/0.png", None, "cannot be read"),
        ("a/1.jpg", None, "cannot be read"),
    ],
)
def test_a_bad_picture_is_named(tmp_path, name, content, said):
    path = write_pictures(tmp_path, {"a": 20, "b": 20}) / name
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    with pytest.raises(DataError, match=rf"^{path}: {said}") as error:
        data.load("folder", tmp_path, (8, 8, 3))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("limit", [250, 450])  # an error to Pillow above twice the limit, otherwise only a warning
def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch, limit):
    path = tmp_path / "x.png"
    Image.fromarray(picture(0, 20, 30)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=rf"^{path}: has more than {limit} pixels"):
        read_picture(path, 8, 8)


def test_a_folder_that_is_no_dataset_says_what_is_wrong(tmp_path):
    def refusal(root: Path) -> str:
        with pytest.raises(DataError) as error:
            data.load("folder", root, (8, 8, 3))
        assert "\n" not in str(error.value)
        return str(error.value)

    assert f"{tmp_path}/nowhere: no such folder" in refusal(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    for place in (f"{empty}/train", f"{empty}/test", f"{empty}/<class>/"):
        assert place in refusal(empty)
    assert "found only the class a; expected at least two" in refusal(write_pictures(tmp_path / "one", {"a": 3}))
    assert f"{tmp_path}/half: found no pictures (.png, .jpg, .jpeg) of b" in refusal(
        write_pictures(tmp_path / "half", {"a": 3, "b": 0})
    )
    write_pictures(tmp_path / "both" / "train", {"a": 3, "b": 3})
    assert f"{tmp_path}/both/test is missing" in refusal(tmp_path / "both")
    write_pictures(tmp_path / "both" / "test", {"a": 1, "z": 1, "c": 1})
    assert f"found classes that {tmp_path}/both/train has not: c, z" in refusal(tmp_path / "both")
    same = write_pictures(tmp_path / "same", {"a": 1, "b": 1})
    assert f"{same}: the split by content left nothing to" in refusal(same)
    with pytest.raises(DataError, match=r"need a network that takes images \(H, W, C\), not \(16000, 1\)"):
        data.load("folder", same, (16000, 1))
    with pytest.raises(DataError, match="not None"):
        data.load(str(same))


def test_a_path_is_a_dataset_only_if_it_is_a_folder_and_stands_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "digits", {"a": 9, "b": 9})
    assert data.load("digits").train.inputs.shape == (1437, 8, 8, 1)  # a registered name is what it says
    assert data.load("./digits", None, (8, 8, 3)).classes == ("a", "b")
    for unknown in ("~nobody-knows-this-user", "x" * 300):
        with pytest.raises(UserError, match="unknown dataset"):
            data.load(unknown)
    with pytest.raises(UserError, match=r"'\./flowers' is neither a folder that exists nor one of: .*digits"):
        data.load("./flowers")
    with pytest.raises(UserError, match=r"'\./digits' is a folder already, so there is nothing to look for in x"):
        data.load("./digits", "x", (8, 8, 3))


def test_a_run_on_ones_own_folder_is_named_after_it_and_evaluated_from_elsewhere(run_main, tmp_path, monkeypatch):
    write_pictures(tmp_path / "my" / "flowers", {"rose": 20, "tulip": 20})
    code, out, err = run_main("torchnets.train", "--dataset", "my/flowers", "--epochs", 1, "--batch-size", 8)
    assert (code, err) == (0, "")
    assert "images of 32x32x3 are turned grey" in out
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.endswith("-lenet5-flowers-torchnets")
    assert json.loads((run / "config.json").read_text())["dataset"] == str(tmp_path / "my" / "flowers")
    assert json.loads((run / "summary.json").read_text())["dataset"] == "flowers"
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    assert run_main("jaxnets.evaluate", run)[0] == 0
    (tmp_path / "my").rename(tmp_path / "your")
    code, _, err = run_main("jaxnets.evaluate", run)
    assert (code, err.count("\n")) == (1, 1)
    assert f"'{tmp_path}/my/flowers' is neither a folder that exists" in err
    assert run_main("jaxnets.evaluate", run, "--data-dir", tmp_path / "your" / "flowers")[0] == 0


def dataset_of(inputs: np.ndarray) -> data.Dataset:
    split = Split(inputs, np.zeros(len(inputs), np.int32))
    return make_dataset(split, split, ("one",), validation=Split(inputs[:2], split.labels[:2]), rate=8000)


RNG = np.random.default_rng(0)


def test_grey_becomes_colour_by_repeating():
    images = RNG.integers(0, 256, (5, 28, 28, 1), np.uint8)
    dataset = dataset_of(images)
    fitted, note = fit_to(dataset, (32, 32, 3))
    assert note == "images of 28x28x1 are padded to 32x32x1 and repeated to 32x32x3"
    assert fitted.validation
    for channel in range(3):
        assert (fitted.train.inputs[:, 2:30, 2:30, channel] == images[..., 0]).all()
        assert (fitted.validation.inputs[..., channel] == fitted.train.inputs[:2, ..., 0]).all()
    assert fitted.mean.tolist() == dataset.mean.tolist() * 3
    assert fitted.std.tolist() == dataset.std.tolist() * 3


def test_colour_becomes_grey_by_luma_as_pillow_weighs_it():
    images = RNG.integers(0, 256, (1003, 8, 9, 3), np.uint8)
    fitted, note = fit_to(dataset_of(images), (8, 9, 1))
    assert note == "images of 8x9x3 are turned grey"
    pillows = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    assert fitted.train.inputs.shape == (1003, 8, 9, 1)
    assert np.abs(fitted.train.inputs[..., 0].astype(int) - pillows).max() <= 1
    np.testing.assert_allclose(fitted.mean, (fitted.train.inputs / 255).mean(), rtol=1e-5)
    np.testing.assert_allclose(fitted.std, (fitted.train.inputs / 255).std(), rtol=1e-5)


@given(height=st.integers(4, 40), width=st.integers(4, 40), to=st.tuples(st.integers(4, 40), st.integers(4, 40)))
def test_features_are_resized_as_torch_resizes_them(height, width, to):
    features = np.random.default_rng(0).normal(-50, 20, (3, height, width, 1)).astype(np.float32)
    fitted, note = fit_to(dataset_of(features), (*to, 1))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(features).movedim(-1, 1), to, mode="bilinear", antialias=True
    )
    assert fitted.train.inputs.dtype == np.float32
    np.testing.assert_allclose(fitted.train.inputs[..., 0], expected[:, 0], atol=1e-3)
    assert (note is None) == ((height, width) == to)


def test_waveforms_of_any_length_fit_a_network_for_audio():
    dataset = dataset_of(RNG.integers(-99, 99, (4, 321, 1), np.int16))
    assert fit_to(dataset, (16000, 1)) == (dataset, None)


@pytest.mark.parametrize(
    ("inputs", "to", "said"),
    [
        (np.zeros((2, 9, 9, 2), np.uint8), (9, 9, 3), "inputs of 9x9x3, the dataset has images of 9x9x2"),
        (np.zeros((2, 9, 9, 4), np.uint8), (9, 9, 1), "inputs of 9x9x1, the dataset has images of 9x9x4"),
        (np.zeros((2, 9, 9, 3), np.float32), (9, 9, 1), "inputs of 9x9x1, the dataset has features of 9x9x3"),
        (np.zeros((2, 9, 9, 1), np.uint8), (9, 1), "inputs of 9x1, the dataset has images of 9x9x1"),
        (np.zeros((2, 9, 1), np.int16), (9, 9, 1), "inputs of 9x9x1, the dataset has waveforms of 9x1"),
        (np.zeros((2, 9, 1), np.int16), (9, 2), "inputs of 9x2, the dataset has waveforms of 9x1"),
    ],
)
def test_what_nothing_mends_is_refused(inputs, to, said):
    with pytest.raises(DataError, match=f"the network takes {said}"):
        fit_to(dataset_of(inputs), to)


def test_every_dataset_that_must_be_fetched_says_how_when_it_is_not_there(tmp_path):
    for name, source in data.DATASETS.items():
        if source.download is None or source.sized:
            continue
        with pytest.raises(DataError) as error:
            data.load(name, tmp_path)
        assert str(tmp_path) in str(error.value)
        assert "Fetch it with: " in str(error.value)
        assert "\n" not in str(error.value)
