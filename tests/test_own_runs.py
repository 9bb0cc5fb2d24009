"""Runs on own data: evaluated as they were trained, whatever has become of the folder; and clips of any length."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data
from data import Loader, Split, Windows
from data.sound import window_starts
from experiment.config import Config, load_config
from experiment.loop.task import all_windows, mean_over_windows, prepare, training_loader
from jaxnets import MODELS
from tests.audio_files import sound, write_fsdd, write_wav
from tests.image_files import write_pictures

FRAMEWORKS = ("jaxnets", "torchnets")


def row(out: str, split: str) -> str:
    """Return the row of a split in the printed table."""
    return next(line for line in out.splitlines() if line.startswith(f"│ {split} "))


def darken(folder: Path, count: int) -> None:
    for at in range(count):
        Image.new("RGB", (20, 20), (at, 0, 0)).save(folder / f"dark{at}.png")


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_a_run_is_evaluated_as_it_was_trained_whatever_its_folder_holds_now(framework, run_main, tmp_path):
    write_pictures(tmp_path / "d/train", {"ant": 20, "bee": 20})
    write_pictures(tmp_path / "d/val", {"ant": 5, "bee": 6}, seed=700)
    write_pictures(tmp_path / "d/test", {"ant": 10, "bee": 10}, seed=500)
    (tmp_path / "d/train/ant/notes.md").write_text("")
    argv = ("--model", "mlp", "--dataset", "d", "--epochs", 1, "--batch-size", 8)
    code, out, err = run_main(f"{framework}.train", *argv, "--out", "run")
    assert (code, err) == (0, "")
    assert "d: 40 train, 11 validation, 20 test examples" in out
    assert "not used: 1 of kind .md" in out
    trained = {split: row(out, split) for split in ("train", "validation", "test")}
    code, out, err = run_main(f"{framework}.evaluate", "run")
    assert (code, err) == (0, "")
    assert {split: row(out, split) for split in trained} == trained
    darken(tmp_path / "d/train/ant", 60)
    code, out, err = run_main(f"{framework}.evaluate", "run")
    assert (code, err) == (0, "")
    assert "warning: the training examples have changed since the run was trained (40 then, 100 now)" in out
    for split in ("validation", "test"):
        assert row(out, split) == trained[split]
    for path in sorted((tmp_path / "d").glob("*/bee")):
        path.rename(path.with_name("zebra"))
    code, _, err = run_main(f"{framework}.evaluate", "run")
    assert code == 1
    assert err == (
        "error: d: not the classes that the run was trained on (ant, bee): the dataset lacks bee and has also zebra; "
        "restore the classes, or train again\n"
    )
    for path in sorted((tmp_path / "d").glob("*/zebra")):
        path.rename(path.with_name("bee"))
    shutil.copytree(tmp_path / "d/train/bee", tmp_path / "d/train/cow")
    code, _, err = run_main(f"{framework}.evaluate", "run")
    assert (code, err.count("\n")) == (1, 1)
    assert "the dataset has also cow" in err
    shutil.rmtree(tmp_path / "d/train/cow")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    del summary["inputs"]  # as a version that did not save them
    (tmp_path / "run/summary.json").write_text(json.dumps(summary))
    code, out, err = run_main(f"{framework}.evaluate", "run")
    assert (code, err) == (0, "")
    assert "warning: the run does not say how its inputs were normalised" in out
    assert row(out, "test") != trained["test"]


def test_a_run_that_was_interrupted_is_evaluated_by_its_checkpoint(run_main, tmp_path):
    write_pictures(tmp_path / "d/train", {"ant": 20, "bee": 20})
    write_pictures(tmp_path / "d/test", {"ant": 10, "bee": 10}, seed=500)
    argv = ("--model", "mlp", "--dataset", "d", "--epochs", 1, "--batch-size", 8)
    assert run_main("torchnets.train", *argv, "--out", "run")[0] == 0
    before = row(run_main("torchnets.evaluate", "run")[1], "test")
    (tmp_path / "run/summary.json").unlink()
    darken(tmp_path / "d/train/ant", 60)
    code, out, _ = run_main("torchnets.evaluate", "run")
    assert (code, row(out, "test")) == (0, before)
    assert run_main("torchnets.predict", "run", "d/test/ant/0.png")[0] == 0


def test_a_run_of_the_first_version_keeps_its_rules(run_main, tmp_path):
    write_pictures(tmp_path / "d/train", {"ant": 30, "bee": 30})
    write_pictures(tmp_path / "d/test", {"ant": 5, "bee": 5}, seed=500)
    argv = ("--model", "mlp", "--dataset", "d", "--epochs", 1, "--batch-size", 8, "--data-rules", "0.1")
    assert run_main("torchnets.train", *argv, "--out", "run")[0] == 0
    config = json.loads((tmp_path / "run/config.json").read_text())
    for name in ("data_rules", "validation_share", "split_seed", "fold"):
        del config[name]
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    assert load_config(tmp_path / "run/config.json").data_rules == "0.1"
    (tmp_path / "run/summary.json").unlink()  # as if it was interrupted after its last epoch
    write_pictures(tmp_path / "d/val", {"ant": 5, "bee": 5}, seed=900)
    code, out, err = run_main("torchnets.train", "--resume", "run")
    assert (code, err) == (0, "")
    assert "d: 54 train, 6 validation, 10 test examples" in out


def clips(count: int, seconds: dict[int, float]) -> tuple[Split, Windows]:
    """Clips of 10 samples that say which one and which window they are."""
    first = np.arange(count)[:, None, None] * np.ones((1, 10, 1))
    owners = np.concatenate([np.full(int(more), at) for at, more in seconds.items()])
    more = np.concatenate([at + 100 * np.arange(1, int(more) + 1) for at, more in seconds.items()])
    inputs = more[:, None, None] * np.ones((1, 10, 1))
    split = Split(first.astype(np.int16), (np.arange(count) % 2).astype(np.int32))
    return split, Windows(inputs.astype(np.int16), owners)


def test_training_takes_a_window_at_random_as_a_function_of_seed_and_epoch():
    split, windows = clips(7, {2: 3, 5: 1})
    every = all_windows(split, windows)
    unit = np.full(1, 1 / 32768, np.float32)

    def epoch(seed: int, number: int, batch_size: int = 3, **options: Any) -> list[int]:
        loader = Loader(every, np.zeros(1), unit, batch_size, seed, owners=windows.owners, **options)
        batches = list(loader.epoch(number))
        for batch in batches:
            assert (batch.labels == batch.inputs[:, 0, 0].round() % 100 % 2).all()
        return [round(float(clip[0, 0])) for batch in batches for clip in batch.inputs]

    seen = [epoch(0, number) for number in range(60)]
    for clips_of_epoch in seen:
        assert sorted(clip % 100 for clip in clips_of_epoch) == list(range(7))
    assert {clip for each in seen for clip in each} == {0, 1, 2, 102, 202, 302, 3, 4, 5, 105, 6}
    assert seen[3] == epoch(0, 3) == epoch(0, 3, batch_size=7)
    assert seen[3] != seen[4]
    assert [epoch(1, number) for number in range(60)] != seen
    halves = [epoch(0, 3, batch_size=7, shard=shard, shards=2) for shard in range(2)]
    assert halves[0] + halves[1] == seen[3]
    in_order = list(Loader(every, np.zeros(1), unit, 4).epoch())
    assert sum(len(batch.labels) for batch in in_order) == 11  # evaluation reads every window


def test_evaluation_takes_the_mean_over_the_windows():
    _, windows = clips(3, {0: 2, 2: 1})
    logits = np.array([[1.0, 0], [5, 5], [2, 2], [3, 0], [8, 6], [4, 0]], np.float32)
    assert mean_over_windows(logits, windows).tolist() == [[4, 2], [5, 5], [3, 1]]
    assert mean_over_windows(logits, None) is logits


@pytest.mark.parametrize(("total", "length"), [(3, 10), (10, 10), (11, 10), (95, 10), (1000, 7)])
def test_windows_are_over_all_of_a_clip(total, length):
    starts = window_starts(total, length)
    covered = np.zeros(max(total, length), bool)
    for start in starts:
        assert 0 <= start <= max(0, total - length)
        covered[start : start + length] = True
    assert covered.all()
    assert (len(starts) == 1) == (total <= length)


def test_a_long_recording_is_read_as_windows_and_stays_in_its_part(tmp_path):
    folder = write_fsdd(tmp_path, indices=range(40), lengths=(3000, 20000))
    config = Config(model="m5", dataset="fsdd", data_dir=tmp_path)
    task = prepare(config, MODELS)
    assert task.note
    assert task.note.startswith("40 clips exceed 8,000 samples: training takes a window at random")
    starts = window_starts(20000, 8000)
    for name, split in task.splits.items():
        assert len(task.windows[name].owners) == (len(starts) - 1) * (split.labels == 7).sum()
        assert (split.labels[task.windows[name].owners] == 7).all()
    held = {clip.tobytes() for clip in data.load("fsdd", tmp_path).test.inputs}
    assert held.isdisjoint(clip.tobytes() for clip in task.splits["train"].inputs)
    whole = sound(707, 20000)
    at = [clip.tobytes() for clip in task.splits["train"].inputs[..., 0]].index(whole[:8000].tobytes())
    found = task.windows["train"]
    for start, window in zip(starts[1:], found.inputs[found.owners == at], strict=True):
        assert (window[:, 0] == whole[start : start + 8000]).all()
    loader = training_loader(config, task)
    assert sum(len(batch.labels) for batch in loader.epoch()) == len(task.splits["train"].labels)
    first = prepare(Config(model="m5", dataset="fsdd", data_dir=tmp_path, data_rules="0.1"), MODELS)
    assert not first.windows
    assert folder.is_dir()


def shares(out: str) -> list[dict[str, float]]:
    """Return the shares that are printed for each file."""
    return [{name: float(share) for name, share in re.findall(r"(\S+) ([\d.]+)%", line)} for line in out.splitlines()]


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_a_long_recording_is_judged_by_all_of_it(framework, run_main, tmp_path):
    write_fsdd(tmp_path, indices=range(12), lengths=(3000, 20000))
    argv = ("--model", "m5", "--dataset", "fsdd", "--data-dir", tmp_path, "--epochs", 1, "--batch-size", 4)
    code, out, err = run_main(f"{framework}.train", *argv, "--out", "run")
    assert (code, err) == (0, "")
    assert "12 clips exceed 8,000 samples" in out
    trained = row(out, "test")
    assert row(run_main(f"{framework}.evaluate", "run")[1], "test") == trained
    ends = [sound(1, 12000) * 0, sound(2, 12000) * 10]  # silence, and noise: equal in their first second
    for name, end in zip(("silent", "loud"), ends, strict=True):
        write_wav(tmp_path / f"{name}.wav", np.concatenate([sound(3, 8000), end]).astype(np.int16))
    write_wav(tmp_path / "start.wav", sound(3, 8000))
    write_wav(tmp_path / "twice.wav", np.tile(sound(3, 4000), 4))  # every window holds the same
    write_wav(tmp_path / "once.wav", np.tile(sound(3, 4000), 2))
    found = shares(run_main(f"{framework}.predict", "run", *(f"{n}.wav" for n in ["silent", "loud", "start"]))[1])
    assert found[0] != found[1]
    assert found[0] != found[2]
    twice, once = shares(run_main(f"{framework}.predict", "run", "twice.wav", "once.wav")[1])
    assert twice.keys() == once.keys()
    assert all(abs(twice[name] - once[name]) < 0.02 for name in twice)
