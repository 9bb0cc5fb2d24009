"""What loading costs: that the report is of what it says, and that what was made quick yields the same pixels."""

import importlib
import json
import statistics
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from data import DataError, Loader, Split, make_dataset, normalise
from data.augment import draw, leading_moves
from data.benchmark import __main__ as command
from data.benchmark import contenders, measure
from data.benchmark.report import TARGETS
from tests.idx_files import write_tree

ROOT = Path(__file__).resolve().parents[1]
FEW = ("--examples", 150, "--rounds", 3, "--batch-sizes", "32,64", "--dataset", "mnist")


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command in this process: -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["benchmark", *map(str, argv)])
        with pytest.raises(SystemExit) as stop:
            command.main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return run


def check(report: dict) -> None:
    """What must hold of any report."""
    rows = {(row["dataset"], row["task"], row["batch_size"], row["contender"]): row for row in report["measured"]}
    assert len(rows) == len(report["measured"])
    for (_, _, size, _), row in rows.items():
        assert len(row["seconds"]) == report["rounds"]
        assert 0 < row["least"] <= row["milliseconds"] <= row["most"]
        assert row["images_per_second"] * row["milliseconds"] == pytest.approx(1000 * size)
        assert row["images_per_second"] == pytest.approx(row["examples"] / statistics.median(row["seconds"]))
    for target in report["targets"]:
        place = (target["dataset"], target["task"], target["batch_size"])
        ratio = rows[*place, target["against"]]["milliseconds"] / rows[*place, "data.Loader"]["milliseconds"]
        assert target["found"] == pytest.approx(ratio)
        assert target["met"] == (ratio >= target["wanted"])
        assert target["wanted"] == TARGETS[target["task"], target["against"]]


@pytest.mark.slow
def test_the_command_measures_all_that_are_installed_and_reports(tmp_path):
    argv = [*FEW, "--batch-sizes", 64, "--tasks", "raw;flip,crop", "--json", "r.json", "--plot", "r.png"]
    done = subprocess.run(
        [sys.executable, "-m", "data.benchmark", *map(str, argv)],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((tmp_path / "r.json").read_text())
    check(report)
    there = {(row["task"], row["contender"]) for row in report["measured"]}
    assert set(TARGETS) | {("raw", "data.Loader"), ("flip,crop", "data.Loader")} <= there
    assert len(report["targets"]) == len(TARGETS)
    assert report["datasets"]["mnist"]["source"].startswith("made up")
    assert all(target["against"] in done.stdout for target in report["targets"])
    # Grain is no requirement: it is measured, or it is said that it is not.
    assert ("raw", "grain") in there or [one["remedy"] for one in report["missing"]] == ["pip install grain"]


def test_what_is_not_installed_is_named_with_how_to_get_it(run, monkeypatch, tmp_path):
    for package in ("torch", "grain"):  # as if they were not there
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, f"data.benchmark.{package}_side", raising=False)
    code, out, err = run(*FEW, "--tasks", "raw", "--json", "r.json")
    assert (code, err) == (0, "")
    for side, package in zip(contenders.SIDES, ("torch", "grain"), strict=True):
        assert f"not measured: {side.name} (import of {package} halted; None in sys.modules); to have it: " in out
        assert side.remedy in out
    report = json.loads((tmp_path / "r.json").read_text())
    check(report)
    assert [one["name"] for one in report["missing"]] == [side.name for side in contenders.SIDES]
    assert {target["against"] for target in report["targets"]} == {"memcpy, fresh buffer"}


def test_without_torch_nothing_of_it_is_imported():
    code = "import sys, data.benchmark.__main__; sys.exit(bool({'torch', 'jax', 'grain'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_real_data_is_read_from_its_folder(run, monkeypatch, tmp_path):
    monkeypatch.setattr(contenders, "SIDES", ())
    write_tree(tmp_path / "d")
    code, _, err = run(
        "--dataset",
        "mnist",
        "--data-dir",
        "d",
        "--batch-sizes",
        16,
        "--rounds",
        1,
        "--tasks",
        "raw;affine",
        "--json",
        "r",
    )
    assert (code, err) == (0, "")
    report = json.loads((tmp_path / "r").read_text())
    assert report["datasets"]["mnist"] == {
        "source": "read from d",
        "examples": 60,
        "shape": [28, 28, 1],
        "dtype": "uint8",
    }
    check(report)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--batch-sizes", "64,x"], "--batch-sizes: expected whole numbers from 2 on, found 'x'"),
        (["--batch-sizes", "1"], "--batch-sizes: expected whole numbers from 2 on, found '1'"),
        (["--rounds", "0"], "--rounds: expected whole numbers from 1 on, found '0'"),
        (["--tasks", "blur"], "--tasks: unknown task 'blur'; known: raw; flip,crop; affine"),
        (["--dataset", "digits"], "--dataset digits: without --data-dir there are only the likes of cifar10, mnist"),
        (["--data-dir", "nowhere", "--dataset", "mnist"], "nowhere"),
        (["--json", "no/r.json"], "--json no/r.json: there is no folder"),
        (["--plot", "r.pdf"], "--plot r.pdf: only PNG can be written; give a name that ends in .png"),
        (["--examples", "100", "--batch-sizes", "128"], "found 128, but there are only 100 examples of cifar10"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, argv, said):
    code, out, err = run(*argv)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def tampered(found: contenders.Contender, change) -> contenders.Contender:
    def epoch(number: int):
        for inputs, labels in found.epoch(number):
            yield change(np.array(inputs), np.array(labels))

    return found._replace(epoch=epoch)


def brighter(inputs: np.ndarray, labels: np.ndarray):
    inputs[0] += inputs.dtype.type(3)
    return inputs, labels


FAULTS = {
    "another pixel": brighter,
    "another label": lambda x, y: (x, np.roll(y, 1)),
    "one is missing": lambda x, y: (x[1:], y[1:]),
    "one comes twice": lambda x, y: (x[[0, *range(len(x) - 1)]], y[[0, *range(len(y) - 1)]]),
    "another dtype": lambda x, y: (x.astype(np.float64), y),
    "another shape": lambda x, y: (x[:, :-1], y),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_contender_that_yields_anything_else_is_refused(fault):
    known = measure.numbered((8, 8, 1))
    for task, held in (
        ("raw", lambda one: measure.check_raw(one, known.train)),
        ("flip,crop", lambda one: measure.check_ready(one, known)),
    ):
        found = contenders.contenders(task, known, 32, [])[0]
        held(found)
        with pytest.raises(DataError, match=r"^data\.Loader"):
            held(tampered(found, FAULTS[fault]))


def test_turns_are_taken_back_and_forth():
    turns: list[str] = []

    def contender(name: str) -> contenders.Contender:
        def epoch(number: int):
            turns.append(f"{name}{number}")
            yield np.zeros(1), np.zeros(1)

        return contenders.Contender(name, epoch)

    found = measure.measure([contender(name) for name in "abc"], 3)
    assert turns == ["a1", "b1", "c1", "c2", "b2", "a2", "a3", "b3", "c3"]
    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 3, "b": 3, "c": 3}


# The rest: what makes the loader quick changes no bit. Each reference goes example by example, pixel by pixel.


def slow_flip(image: np.ndarray, draws: np.ndarray) -> np.ndarray:
    return image[:, ::-1] if draws[0] < 0.5 else image


def slow_crop(image: np.ndarray, draws: np.ndarray) -> np.ndarray:
    down, right = (size // 8 for size in image.shape[:2])
    wide = np.pad(image, ((down, down), (right, right), (0, 0)), "reflect")
    top, left = int(draws[0] * (2 * down + 1)), int(draws[1] * (2 * right + 1))
    return wide[top : top + image.shape[0], left : left + image.shape[1]]


def slow_batch(split: Split, index: np.ndarray, rows: np.ndarray, names: tuple[str, ...], mean, std) -> np.ndarray:
    done = []
    for image, draws in zip(split.inputs[index], rows[index], strict=True):
        for name in names:
            image, draws = (
                (slow_flip(image, draws), draws[1:]) if name == "flip" else (slow_crop(image, draws), draws[2:])
            )
        unit = np.float32(255 if not names else 1)
        image = image.astype(np.float32) if not names else image.astype(np.float32) / np.float32(255)
        scale, offset = (1 / (float(unit) * std)).astype(np.float32), (mean / std).astype(np.float32)
        done.append(image * scale - offset)
    return np.stack(done)


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4)),
    names=st.sampled_from([(), ("flip",), ("crop",), ("flip", "crop"), ("crop", "flip")]),
    batch_size=st.integers(2, 30),
    piece=st.sampled_from([1, 500, 2**18]),
    seed=st.integers(0, 9),
)
def test_batches_are_bit_for_bit_those_of_one_example_after_the_other(shape, names, batch_size, piece, seed):
    rng = np.random.default_rng(seed)
    split = Split(rng.integers(0, 256, (40, *shape), np.uint8), np.arange(40, dtype=np.int32))
    mean, std = rng.random(shape[2], np.float32), rng.random(shape[2], np.float32) + np.float32(0.1)
    before = split.inputs.copy()
    rows = draw(names, 40, seed, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("data.loader"), "PIECE", piece)
        for batch in Loader(split, mean, std, batch_size, seed, augment=names).epoch(1):
            expected = slow_batch(split, batch.labels, rows, names, mean, std)
            assert batch.inputs.tobytes() == expected.tobytes()
    np.testing.assert_array_equal(split.inputs, before)


@given(
    shape=st.sampled_from([(0, 3, 2, 3), (2, 1, 1, 1), (5, 4, 3, 3), (4, 50, 2), (3, 50, 1)]),
    dtype=st.sampled_from(["uint8", "int16", "float32"]),
)
def test_normalising_is_one_multiplication_and_one_subtraction(shape, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 200, shape).astype(dtype)
    before, channels = x.copy(), shape[-1]
    mean, std = rng.random(channels, np.float32), rng.random(channels, np.float32) + np.float32(0.1)
    found = normalise(x, mean, std, 200.0)
    scale, offset = (1 / (200.0 * std)).astype(np.float32), (mean / std).astype(np.float32)
    assert found.dtype == np.float32
    assert found.tobytes() == (x.astype(np.float32) * scale - offset).tobytes()
    np.testing.assert_array_equal(x, before)


def test_a_batch_that_was_yielded_is_never_written_to_again():
    dataset = measure.numbered((8, 8, 3))
    for names in ((), ("flip", "crop"), ("affine",)):
        loader = Loader(dataset.train, dataset.mean, dataset.std, 32, 0, augment=names)
        for batches in (loader.raw, loader.epoch):
            kept = list(batches(0))
            once = [part.tobytes() for batch in kept for part in batch]
            list(batches(1))
            assert [part.tobytes() for batch in kept for part in batch] == once
            parts = [batch[0] for batch in kept]
            assert not any(np.shares_memory(one, other) for one, other in pairwise(parts))


def test_a_dataset_that_is_not_contiguous_is_read_the_same():
    dataset = measure.numbered((8, 6, 3))
    images = dataset.train.inputs + np.arange(3, dtype=np.uint8)
    found = []
    for one in (images, np.asfortranarray(images)):
        loader = Loader(Split(one, dataset.train.labels), dataset.mean, dataset.std, 32, 0)
        found.append([batch.inputs.tobytes() for batch in loader.epoch(0)])
    assert found[0] == found[1]


def test_only_leading_moves_are_done_to_bytes():
    assert leading_moves(()) == 0
    assert leading_moves(("flip", "crop", "affine", "flip")) == 2
    assert leading_moves(("color", "flip")) == 0


def test_pictures_of_one_byte_each_can_be_made_a_dataset():
    split = Split(np.zeros((2, 1, 1, 1), np.uint8), np.zeros(2, np.int32))
    dataset = make_dataset(split, split, ("one",))
    batch = next(Loader(split, dataset.mean, dataset.std, 2, 0, augment=("flip", "crop")).epoch(0))
    assert batch.inputs.shape == (2, 1, 1, 1)
