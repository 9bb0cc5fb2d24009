"""The benchmark of the time to 94%: its runs are the recipe's, and it reads what the record's program says."""

import dataclasses
import io
import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

import jaxnets.compose
from benchmarks import jpeg, speedrun
from data import Dataset, Split
from experiment.config import load_recipe
from jaxnets import MODELS

# What it prints is the record's table; it reads its examples where that reads them, and goes on for long.
STAND_IN = """
import torch
data = {name: torch.load(f"cifar10/{name}.pt", weights_only=True) for name in ("train", "test")}
assert [len(data[name]["images"]) for name in ("train", "test")] == [60, 20]
assert data["train"]["images"].dtype == torch.uint8 and data["train"]["labels"].dtype == torch.int64
print("|  run     |  epoch  |  train_acc  |  val_acc  |  tta_val_acc  |  time_seconds  |")
for run in range(1000):
    print(f"|  {run:6}  |      0  |     0.5000  |   0.4000  |               |        1.0000  |")
    row = f"|          |   eval  |     0.9000  |   0.9300  |       0.94{run:02}  |      {2.5 + run:8.4f}  |"
    print(row, flush=True)
"""


def small_dataset() -> Dataset:
    rng = np.random.default_rng(0)
    splits = []
    for count in (60, 20):
        labels = np.arange(count, dtype=np.int32) % 2
        dark = rng.integers(0, 120, (count, 32, 32, 3)) + 100 * labels[:, None, None, None]  # two classes, easily told
        splits.append(Split(dark.astype(np.uint8), labels))
    mean, std = splits[0].inputs.mean((0, 1, 2)) / 255, splits[0].inputs.std((0, 1, 2)) / 255
    train, test = splits
    return Dataset(train, test, ("dark", "light"), mean, std)


@pytest.mark.slow
def test_a_run_learns_its_seed_alone_decides_what_and_nothing_is_compiled_in_one_that_counts(monkeypatch):
    entry = MODELS["airbench"]
    monkeypatch.setitem(speedrun.MODELS, "airbench", entry._replace(build=partial(entry.build, width=8)))
    traced, train_step = [], jaxnets.compose.train_step

    def counting(*args, **options):
        traced.append(1)
        return train_step(*args, **options)

    monkeypatch.setattr(jaxnets.compose, "train_step", counting)
    recipe = dataclasses.replace(load_recipe("cifar10-speedrun"), precision="float32", batch_size=20)
    train = speedrun.prepare(recipe, small_dataset())
    runs = [train(1)]
    compiled = len(traced)
    runs += [train(seed) for seed in (2, 1)]
    assert len(traced) == compiled >= 1
    assert all(run.accuracy >= 0.9 and run.seconds > 0 for run in runs)
    assert runs[0].accuracy == runs[2].accuracy


def test_the_record_s_program_is_run_as_it_is_and_stopped(tmp_path, capfd):
    program = tmp_path / "record.py"
    program.write_text(STAND_IN)
    found = speedrun.run_original(program, small_dataset(), 3)
    assert [run.seconds for run in found] == [3.5, 4.5, 5.5]  # the first one only compiles
    assert [run.accuracy for run in found] == [0.9401, 0.9402, 0.9403]
    lines = speedrun.in_words([speedrun.Run(2.0, 0.95), speedrun.Run(3.0, 0.93)], found)
    assert "2.500 s" in lines[0]
    assert "1 of them 94% or more" in lines[0]
    assert lines[2].startswith("ratio     0.556 ")
    program.write_text("raise SystemExit('no GPU')")
    with pytest.raises(SystemExit, match=r"error: .*record.py made 0 runs of 4; its own messages are above"):
        speedrun.run_original(program, small_dataset(), 3)
    assert "no GPU" in capfd.readouterr().err


# The table of the older programs has the loss, too. The accuracy is the number of training images over a hundred, or
# 1 if the images are not those of `small_dataset`.
OLDER = """
import torch
images = torch.load("cifar10/train.pt", weights_only=True)["images"]
accuracy = 1.0 if int(images[0].sum()) != SUM else len(images) / 100
for run in range(1000):
    row = f"|          |   eval  |     1.2000  |     0.9000  |   0.9300  |       {accuracy:.4f}  |      {2.5:8.4f}  |"
    print(row, flush=True)
"""


def test_what_jpeg_costs_is_measured_on_all_on_fewer_and_on_images_compressed_once_more(tmp_path, monkeypatch, capsys):
    dataset = small_dataset()
    program = tmp_path / "older.py"
    program.write_text(OLDER.replace("SUM", str(int(dataset.train.inputs[0].sum()))))
    monkeypatch.setattr(jpeg, "load", lambda *_: dataset)
    monkeypatch.setattr("sys.argv", ["jpeg", str(program), "--runs", "2", "--json", str(tmp_path / "found.json")])
    jpeg.main()
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["accuracies"] for row in found["rows"]] == [[0.6, 0.6], [0.54, 0.54], [1.0, 1.0]]
    assert capsys.readouterr().out.splitlines()[1].endswith("54.00% (mean of 2)")


def test_images_are_compressed_on_a_grid_that_is_moved():
    coarse = np.random.default_rng(0).integers(60, 200, (1, 8, 8, 3)).repeat(4, 1).repeat(4, 2)
    image = ((coarse + np.roll(coarse, 2, 1) + np.roll(coarse, 2, 2)) // 3).astype(np.uint8)

    def lost(compress):
        return np.abs(compress(once).astype(float) - once).mean()

    def in_place(images):
        file = io.BytesIO()
        Image.fromarray(images[0]).save(file, "JPEG", quality=75, subsampling=2)
        return np.asarray(Image.open(file))[None]

    once = in_place(image)
    assert 2 * lost(in_place) < lost(jpeg.compressed) < 15
