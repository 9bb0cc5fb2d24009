"""Own folders of pictures: which files are of which part and class, and how validation examples are split off."""

import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from PIL import Image, ImageOps

import data
from data import DataError, Reading, Split, UserError, hold_out
from data.datasets.folder import read_picture
from data.holdout import Plan, digests, held_out
from experiment.config import Config, check
from experiment.loop.task import prepare
from jaxnets import MODELS
from tests.image_files import picture, write_pictures

SHAPE = (8, 8, 3)


def sizes(dataset: data.Dataset) -> tuple[int, ...]:
    """Count the examples for training, validation and testing."""
    validation = len(dataset.validation.labels) if dataset.validation else 0
    return len(dataset.train.labels), validation, len(dataset.test.labels)


@pytest.mark.parametrize("validation", ["val", "Valid", "validation", "DEV"])
@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "Testing"), ("TRAIN", "TEST")])
def test_parts_of_any_usual_name_are_what_they_say(train, validation, test, tmp_path):
    for at, (name, count) in enumerate(((train, 3), (validation, 2), (test, 1))):
        write_pictures(tmp_path / name, {"a": count, "b": count}, seed=10 * at)
    dataset = data.load("folder", tmp_path, SHAPE)
    assert sizes(dataset) == (6, 4, 2)
    (expected,) = (read_picture(path, 8, 8) for path in (tmp_path / test / "b").iterdir())
    assert (dataset.test.inputs[1] == expected).all()
    assert dataset.notes == ()


def test_without_a_test_part_a_fifth_of_the_training_pictures_is_for_testing(tmp_path):
    write_pictures(tmp_path / "train", {"a": 20, "b": 20})
    write_pictures(tmp_path / "val", {"a": 4, "b": 4}, seed=500)
    dataset = data.load("folder", tmp_path, SHAPE)
    train, validation, test = sizes(dataset)
    assert (train + test, validation) == (40, 8)
    assert 2 <= test <= 16
    assert "no test set" in dataset.notes[0]


def test_a_class_may_be_called_train(tmp_path):
    write_pictures(tmp_path, {"bus": 9, "train": 9, "test": 9})
    assert data.load("folder", tmp_path, SHAPE).classes == ("bus", "test", "train")


SUFFIXES = ("webp", "bmp", "tif", "TIFF", "gif", "ppm", "pgm", "jfif", "jpe")


def test_every_format_and_every_depth_of_folders_is_used_and_the_rest_is_counted(tmp_path):
    write_pictures(tmp_path, {"a": 4, "b": 6})
    for at, suffix in enumerate(SUFFIXES):
        path = tmp_path / "a" / "more" / "deeper" / f"{at}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        kinds = {"tif": "TIFF", "TIFF": "TIFF", "pgm": "PPM", "jfif": "JPEG", "jpe": "JPEG"}
        Image.fromarray(picture(900 + at)).convert("L" if suffix == "pgm" else "RGB").save(path, kinds.get(suffix))
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "gone.png").symlink_to("/nowhere/x.png")
    for name in ("a/notes.txt", "a/x.heic", "b/y.HEIC", ".DS_Store", "b/._0.jpg", "Thumbs.db", "loose.png"):
        (tmp_path / name).write_text("")
    (tmp_path / "__MACOSX" / "a").mkdir(parents=True)
    (tmp_path / "@eaDir").mkdir()
    dataset = data.load("folder", tmp_path, SHAPE)
    counts = np.bincount(dataset.train.labels) + np.bincount(dataset.test.labels, minlength=2)
    assert dataset.classes == ("a", "b")
    assert counts.tolist() == [4 + len(SUFFIXES), 6]
    assert dataset.notes == (
        "not used: 5 hidden, 2 of kind .heic, 1 of kind .txt, 1 outside the class folders, 1 with a broken link",
    )


def test_by_the_first_rules_a_folder_is_what_it_was(tmp_path):
    write_pictures(tmp_path / "train", {"a": 3, "b": 3})
    write_pictures(tmp_path / "test", {"a": 1, "b": 1}, seed=50)
    before = data.load("folder", tmp_path, SHAPE)
    write_pictures(tmp_path / "val", {"a": 2, "b": 2}, seed=90)
    write_pictures(tmp_path / "train" / "a", {"nested": 2}, seed=95)
    Image.fromarray(picture(99)).save(tmp_path / "train" / "a" / "x.webp")
    assert sizes(data.load("folder", tmp_path, SHAPE)) == (9, 4, 2)
    found = data.load("folder", tmp_path, SHAPE, Reading(first_rules=True))
    assert sizes(found) == (6, 0, 2)
    assert (found.train.inputs == before.train.inputs).all()


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("train/a", "train/b", "Training/a", "test/a"), "found Training/ and train/, expected one of them"),
        (("train/a", "train/b", "valid/z", "test/a"), "found classes that .*/train has not: z"),
        (("train/a", "train/b"), "test is missing; or --dataset .*/train splits that"),
        (("test/a", "test/b", "val/a"), "found one of train/ and test/, .*train is missing"),
        (("images/a", "images/b"), "only the class images; .*; for the classes a, b name .*/images"),
        (("a/train", "a/test", "b/train", "b/test"), "a: found test and train inside a class; expected .*/test/a/"),
        (("train", "test"), "found no pictures .* outside"),
    ],
)
def test_a_layout_that_would_be_misread_is_refused(folders, said, tmp_path):
    for at, name in enumerate(folders):
        root = tmp_path / name
        write_pictures(root.parent, {root.name: 3}, seed=10 * at)
    with pytest.raises(DataError, match=said) as error:
        data.load("folder", tmp_path, SHAPE)
    assert "\n" not in str(error.value)


def test_every_class_of_three_pictures_is_in_every_part(tmp_path):
    write_pictures(tmp_path, {"a": 60, "b": 8, "c": 3, "d": 3})
    dataset = data.load("folder", tmp_path, SHAPE)
    train, validation = hold_out(dataset.train)
    for split in (train, validation, dataset.test):
        assert np.bincount(split.labels, minlength=4).min() >= 1


def unique(count: int, classes: int = 3) -> Split:
    inputs = np.random.default_rng(count).integers(0, 256, (count, 2, 2, 1), np.uint8)
    inputs[:, 0, 0, 0], inputs[:, 0, 1, 0] = np.arange(count) // 256, np.arange(count) % 256
    return Split(inputs, (np.arange(count) % classes).astype(np.int32))


@given(
    numbers=st.lists(st.integers(0, 30), min_size=20, max_size=120),
    share=st.floats(0.05, 0.5),
    seed=st.integers(0, 99),
)
def test_equal_examples_are_in_the_same_part(numbers, share, seed):
    chosen = unique(31)
    split = Split(chosen.inputs[numbers], chosen.labels[numbers])
    if len(set(numbers)) < 4:
        return
    rest, held = hold_out(split, share, seed)
    assert len(rest.labels) + len(held.labels) == len(numbers)
    assert set(digests(rest.inputs)).isdisjoint(digests(held.inputs))
    again = hold_out(split, share, seed)
    assert (again[1].inputs == held.inputs).all()
    for label in range(3):
        if len({number for number in numbers if number % 3 == label}) >= 2:
            assert (rest.labels == label).any()
            assert (held.labels == label).any()


def test_the_share_is_of_each_class_and_another_seed_holds_out_others():
    split = unique(300)
    for share in (0.1, 0.3):
        _, held = held_out(split, Plan(share))
        assert np.bincount(split.labels[held]).tolist() == [100 * share] * 3
    assert set(held_out(split, Plan(0.3))[1]) != set(held_out(split, Plan(0.3, seed=1))[1])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_folds_together_are_all_examples_once(count):
    chosen = unique(40)
    split = Split(np.repeat(chosen.inputs, 2, axis=0), np.repeat(chosen.labels, 2))
    folds = [held_out(split, Plan(fold=(number, count))) for number in range(1, count + 1)]
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(80))
    for rest, held in folds:
        assert sorted([*rest, *held]) == list(range(80))
        assert set(digests(split.inputs[rest])).isdisjoint(digests(split.inputs[held]))
        assert abs(len(held) - 80 / count) <= 6
        assert np.bincount(split.labels[held], minlength=3).min() >= 2


def test_the_registered_datasets_keep_their_split():
    for share in (0.1, 0.25):
        train = data.load("digits").train
        order = np.random.default_rng(0).permutation(len(train.labels))
        expected = np.sort(order[: round(share * len(order))])
        assert (hold_out(train, share)[1].inputs == train.inputs[expected]).all()
    config = Config(model="lenet5")
    task = prepare(config, MODELS)
    order = np.random.default_rng(0).permutation(1437)
    assert (task.splits["validation"].labels == load_labels()[np.sort(order[:144])]).all()
    for other in (Config(validation_share=0.2), Config(split_seed=1), Config(fold="2/4")):
        assert (
            prepare(other, MODELS).splits["validation"].inputs.tobytes() != task.splits["validation"].inputs.tobytes()
        )
    assert len(prepare(Config(fold="2/4"), MODELS).splits["validation"].labels) in range(355, 365)


def load_labels() -> np.ndarray:
    return data.load("digits").train.labels


def test_options_of_the_split_that_say_nothing_are_one_line(tmp_path):
    cases: list[tuple[dict[str, Any], str]] = [
        ({"validation_share": 0.0}, "--validation-share is 0.0, expected a share between 0 and 1"),
        ({"validation_share": 1.0}, "--validation-share is 1.0"),
        ({"split_seed": -1}, "--split-seed is -1"),
        ({"fold": "0/5"}, "--fold is 0/5, expected i/k"),
        ({"fold": "6/5"}, "--fold is 6/5"),
        ({"fold": "1"}, "--fold is 1,"),
        ({"fold": "1/1"}, "--fold is 1/1"),
        ({"fold": "1/3", "validation_share": 0.2}, "--fold and --validation-share both"),
    ]
    for options, said in cases:
        with pytest.raises(UserError, match=f"^{said}"):
            check(Config(**options))
    for at, name in enumerate(("train", "val", "test")):
        write_pictures(tmp_path / name, {"a": 3, "b": 3}, seed=10 * at)
    cases = [
        ({"fold": "1/3"}, "has a validation set of its own; leave out --fold"),
        ({"validation_share": 0.2}, "leave out --validation-share"),
        ({"split_seed": 1}, "leave out --split-seed"),
    ]
    for options, said in cases:
        with pytest.raises(UserError, match=said):
            prepare(Config(dataset=str(tmp_path), **options), MODELS)


def test_parts_that_share_pictures_or_lack_a_class_are_named(tmp_path):
    write_pictures(tmp_path / "train", {"a": 12, "b": 12, "c": 12})
    write_pictures(tmp_path / "test", {"a": 3, "b": 3}, seed=300)
    assert prepare(Config(dataset=str(tmp_path)), MODELS).warnings == ("no test examples of c",)
    for at in range(2):
        shutil.copy(tmp_path / f"train/a/{at}{('.png', '.jpg')[at]}", tmp_path / f"test/a/twin{at}.png")
        shutil.copy(tmp_path / f"train/a/{at}{('.png', '.jpg')[at]}", tmp_path / f"train/b/twin{at}.png")
    task = prepare(Config(dataset=str(tmp_path)), MODELS)
    assert "2 examples are in more than one class" in task.warnings
    assert any(line.startswith("2 of 8 test examples are equal to") for line in task.warnings)
    assert not any("validation examples are equal to train" in line for line in task.warnings)


def png(path: Path, values: np.ndarray, depth: int, kind: int, clear: bytes = b"") -> Path:
    """Write a PNG by hand, since Pillow does not write all kinds: rows of packed pixels, and a transparent colour."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = values.shape[:2]
    if depth < 8:
        bits = (values[..., None] >> np.arange(depth)[::-1]) & 1
        packed = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    else:
        packed = values.astype(">u2" if depth == 16 else np.uint8).reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + (chunk(b"tRNS", clear) if clear else b"") + chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_the_transparent_colour_of_a_png_of_any_depth_becomes_white(depth, kind, tmp_path):
    if kind == "colour" and depth < 8:
        return
    most = 2**depth - 1
    ramp = np.round(np.linspace(0, most, 16)).astype(np.int64)[None].repeat(16, 0)
    values = np.dstack([ramp, ramp.T, ramp]) if kind == "colour" else ramp
    colour = values[0, 0] if kind == "colour" else values[0, 3]
    clear = np.atleast_1d(colour).astype(">u2").tobytes()
    path = png(tmp_path / "x.png", values, depth, 2 if kind == "colour" else 0, clear)
    expected = np.floor(values * (255 / most) if depth <= 8 else values / 256).astype(int)
    same = (values == colour).all(axis=-1) if kind == "colour" else values == colour
    expected = np.where(same[..., None], 255, expected if kind == "colour" else expected[..., None])
    assert np.abs(read_picture(path, 16, 16).astype(int) - expected).max() <= 1


def test_twelve_bits_in_sixteen_use_the_whole_range_and_a_folder_is_read_alike(tmp_path):
    ramp = np.linspace(0, 4095, 16).astype(np.uint16)[None].repeat(16, 0)
    for at in range(12):
        for part in ("train", "test"):
            for name in ("a", "b"):
                path = tmp_path / part / name / f"{at}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                darker = 12 * (name == "b") + 24 * (part == "test") + at
                Image.fromarray((ramp * (1 - darker / 99)).astype(np.uint16)).save(path)
    with Image.open(tmp_path / "train/a/0.png") as image:
        assert image.mode.startswith("I")
    expected = ramp >> 4
    dataset = data.load("folder", tmp_path, (16, 16, 3))
    assert (dataset.train.inputs[0, ..., 0] == expected).all()
    assert dataset.depth == 12
    assert "12 significant bits" in dataset.notes[0]
    Image.fromarray(ramp * 16).save(tmp_path / "test/b/bright.png")  # so the others are dark, too
    dataset = data.load("folder", tmp_path, (16, 16, 3))
    assert dataset.depth == 16
    assert (dataset.train.inputs[0, ..., 0] == ramp >> 8).all()
    assert (read_picture(tmp_path / "train/a/0.png", 16, 16, 16)[..., 1] == ramp >> 8).all()


def test_float_pictures_are_of_a_known_range_or_refused(tmp_path):
    ramp = np.linspace(0, 1, 16, dtype=np.float32)[None].repeat(16, 0)
    for scale in (1, 255):
        Image.fromarray(ramp * scale).save(tmp_path / "x.tif")
        assert (read_picture(tmp_path / "x.tif", 16, 16)[..., 2] == np.round(ramp * 255)).all()
    for wrong in (ramp * 1000, ramp - 1, ramp * np.float32(np.nan)):
        Image.fromarray(wrong).save(tmp_path / "x.tif")
        with pytest.raises(DataError, match=r"x\.tif: cannot be read \(its pixels are from"):
            read_picture(tmp_path / "x.tif", 16, 16)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", ["tif", "webp"])
def test_other_photographs_are_turned_upright_once(orientation, suffix, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{suffix}"
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(picture(4, 24, 24)).save(path, exif=exif, **options)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert (read_picture(path, 24, 24) == expected).all()
