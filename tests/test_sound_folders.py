"""Own folders of sounds: what is found in them, the form of the clips, and runs on them in both frameworks."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import data
from data import DataError, Reading, UserError
from data.base import CURRENT
from data.holdout import digests, group_equal
from data.sound import window_starts
from experiment.config import Config, parse
from experiment.loop.task import prepare
from jaxnets import MODELS
from tests.image_files import write_pictures

SUFFIXES = ("wav", "flac", "ogg", "mp3", "aiff")
WAVEFORMS = (2000, 1)


def clip(pitch: float, length: int, rate: int, seed: int = 0, channels: int = 1) -> np.ndarray:
    """A noisy tone."""
    rng = np.random.default_rng(seed)
    wave = 0.4 * np.sin(2 * np.pi * pitch * np.arange(length) / rate + rng.uniform(0, 6))
    return np.repeat((wave + rng.normal(0, 0.02, length))[:, None], channels, axis=1)


def write_sounds(
    root: Path, counts: Mapping[str, int], *, length: int = 2400, rate: int = 8000, seed: int = 0, channels: int = 1
) -> Path:
    """Tones of a pitch for each class, in one format after the other."""
    for at, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            path = root / name / f"{number}.{SUFFIXES[number % len(SUFFIXES)]}"
            soundfile.write(path, clip(400 * 2**at, length, rate, seed + 100 * at + number, channels), rate)
    return root


def refusal(folder: Path, shape: tuple[int, ...] = WAVEFORMS, reading: Reading = CURRENT) -> str:
    with pytest.raises(DataError) as error:
        data.load("folder", folder, shape, reading)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_of_sounds_is_laid_out_like_one_of_pictures(tmp_path):
    write_sounds(tmp_path / "train", {"high": 6, "low/inside": 7})
    write_sounds(tmp_path / "Valid", {"high": 2, "low": 3}, seed=500)
    write_sounds(tmp_path / "test", {"high": 4, "low": 1}, seed=900)
    (tmp_path / "train/high/notes.txt").write_text("")
    (tmp_path / "train/high/song.m4a").write_text("")
    (tmp_path / "train/high/._0.wav").write_text("")
    (tmp_path / "train/loose.flac").write_text("")
    found = data.load(str(tmp_path), None, (2400, 1))
    assert (found.classes, found.rate) == (("high", "low"), 8000)
    assert found.validation
    assert [len(split.labels) for split in (found.train, found.validation, found.test)] == [13, 5, 5]
    assert found.train.inputs.shape[1:] == (2400, 1)
    assert found.train.inputs.dtype == np.int16
    read = soundfile.read(tmp_path / "test/high/0.wav", dtype="int16")[0]
    assert (found.test.inputs[0, :, 0] == read).all()
    assert found.notes[0] == "not used: 1 hidden, 1 of kind .m4a, 1 of kind .txt, 1 outside the class folders"


def test_without_parts_equal_files_are_on_the_same_side(tmp_path):
    write_sounds(tmp_path, {"a": 30, "b": 30})
    for path in sorted(tmp_path.rglob("*.*")):
        (path.parent / f"copy of {path.name}").write_bytes(path.read_bytes())
    task = prepare(Config(model="m5", dataset=str(tmp_path), clip_seconds=0.3), MODELS)
    contents = [set(digests(split.inputs)) for split in task.splits.values()]
    assert len(set.union(*contents)) == sum(map(len, contents)) == 60
    assert sum(len(split.labels) for split in task.splits.values()) == 120
    assert not task.warnings


def test_pictures_and_sounds_in_one_folder_are_told_apart_by_the_network(tmp_path):
    write_pictures(tmp_path, {"a": 8, "b": 8})
    write_sounds(tmp_path, {"a": 9, "b": 9})
    pictures = data.load("folder", tmp_path, (8, 8, 3))
    assert pictures.train.inputs.ndim == 4
    assert pictures.notes[0] == "not used: 18 sounds, since the network takes pictures"
    sounds = data.load("folder", tmp_path, WAVEFORMS)
    assert sounds.rate == 8000
    assert sounds.notes[0] == "not used: 16 pictures, since the network takes sounds"
    assert data.load("folder", tmp_path, (8, 8, 3), Reading(sounds=True)).rate == 8000  # as under --frontend logmel


def test_a_folder_of_another_kind_than_the_network_takes_is_one_line(tmp_path):
    write_sounds(tmp_path / "sounds", {"a": 9, "b": 9})
    with pytest.raises(
        UserError, match=r"sounds has audio, lenet5 takes images: add --frontend logmel, or choose .*m5"
    ):
        prepare(Config(dataset=str(tmp_path / "sounds")), MODELS)
    write_pictures(tmp_path / "pictures", {"a": 9, "b": 9})
    assert "holds pictures, which need a network that takes images" in refusal(tmp_path / "pictures")
    with pytest.raises(UserError, match=r"--frontend logmel is for audio; pictures has images"):
        prepare(Config(dataset=str(tmp_path / "pictures"), frontend="logmel"), MODELS)
    write_sounds(tmp_path / "half", {"a": 9, "b": 0})
    assert "half: found no sounds (.wav, .flac, .mp3) of b" in refusal(tmp_path / "half")
    (tmp_path / "none" / "a").mkdir(parents=True)
    assert "found no sounds" in refusal(tmp_path / "none")
    assert "found no pictures" in refusal(tmp_path / "none", (8, 8, 3))
    assert "found no pictures" in refusal(tmp_path / "sounds", (8, 8, 3), Reading(first_rules=True))


def test_a_bad_file_is_named_or_left_out(tmp_path):
    write_sounds(tmp_path, {"a": 9, "b": 9})
    before = data.load("folder", tmp_path, WAVEFORMS)
    (tmp_path / "a/bad.wav").write_bytes((tmp_path / "a/0.wav").read_bytes()[:700])
    said = r"a/bad\.wav: its header promises 2400 frames, found only 328; fetch"
    assert re.search(said, refusal(tmp_path))
    found = data.load("folder", tmp_path, WAVEFORMS, Reading(on_bad_file="skip"))
    assert (found.train.inputs == before.train.inputs).all()
    assert re.search(rf"1 of 19 files .* left out: .*{said}", found.warnings[0])
    for path in tmp_path.rglob("*.*"):
        path.write_bytes(b"nothing")
    assert "expected a sound, found something else" in refusal(tmp_path)


def test_sounds_of_a_cache_are_those_of_the_files(tmp_path):
    write_sounds(tmp_path / "d", {"a": 12, "b": 12}, length=9000)
    write_sounds(tmp_path / "d", {"b": 5}, length=3000, seed=90)
    decoded = data.load("folder", tmp_path / "d", WAVEFORMS)
    reading = Reading(cache_dir=tmp_path / "cache")
    for found in (data.load("folder", tmp_path / "d", WAVEFORMS, reading) for _ in range(2)):
        for one, other in ((found.train, decoded.train), (found.test, decoded.test)):
            assert np.array_equal(one.inputs, other.inputs)
            assert (one.labels == other.labels).all()
        for part in ("train", "test"):
            assert np.array_equal(found.windows[part].inputs, decoded.windows[part].inputs)
            assert (found.windows[part].owners == decoded.windows[part].owners).all()
        assert np.allclose([found.mean, found.std], [decoded.mean, decoded.std])
    other = data.load("folder", tmp_path / "d", WAVEFORMS, reading._replace(rate=16000))
    assert (other.rate, len(other.windows["train"].owners) > 2 * len(decoded.windows["train"].owners)) == (16000, True)
    config = Config(model="m5", dataset=str(tmp_path / "d"), clip_seconds=0.25, cache_dir=tmp_path / "cache")
    task, same = (prepare(each, MODELS) for each in (config, dataclasses.replace(config, cache_dir=None)))
    for name, split in task.splits.items():
        assert np.array_equal(split.inputs, same.splits[name].inputs)
        assert np.array_equal(task.windows[name].inputs, same.windows[name].inputs)


def test_the_form_of_the_clips_is_that_of_the_files_or_the_options(tmp_path):
    write_sounds(tmp_path / "train", {"a": 3, "b": 3}, length=5000, rate=16000)
    write_sounds(tmp_path / "train", {"c": 2}, length=1000, channels=2)
    write_sounds(tmp_path / "test", {"a": 9, "b": 9}, length=3000, seed=500)

    def form(**options) -> tuple[int | None, int]:
        found = data.load("folder", tmp_path, WAVEFORMS, Reading(**options))
        return found.rate, found.train.inputs.shape[1]

    assert form() == (16000, 2000)  # of most training files; the length that is asked for
    # the longest file has 6,000 samples at that rate, and MP3s some more
    assert form(seconds=0.0)[0] == 16000
    assert 6000 <= form(seconds=0.0)[1] < 8000
    assert form(seconds=0.25) == (16000, 4000)
    assert form(seconds=0.25, rate=8000) == (8000, 2000)
    assert form(seconds=2.0, rate=8000) == (8000, 16000)
    notes = data.load("folder", tmp_path, WAVEFORMS, Reading(seconds=0.25)).notes
    assert notes[-1] == (
        "sounds: clips of 0.25 s, 4,000 samples at 16,000 Hz; of 26 files 20 resampled, 2 mixed to one channel, "
        "2 padded with silence"
    )
    write_sounds(tmp_path / "train", {"c": 4}, length=40000)
    assert form(seconds=0.0) == (16000, 16000)  # one second at most


def test_clips_that_nothing_can_be_done_with_are_one_line(tmp_path):
    write_sounds(tmp_path / "fast", {"a": 9, "b": 9})
    short = refusal(tmp_path / "fast", (8000, 1), Reading(seconds=0.1))
    assert (
        short == "--clip-seconds 0.1: these are 800 samples at 8000 Hz, expected at least 2,000 for a network that "
        "takes audio"
    )
    for name in "ab":
        (tmp_path / "slow" / name).mkdir(parents=True)
        for at in range(9):
            soundfile.write(tmp_path / "slow" / name / f"{at}.wav", clip(0.1, 90, 1, at), 1)
    assert "slow: its sounds have a rate of 1 Hz, expected at least 100 Hz" in refusal(tmp_path / "slow")


def test_the_options_of_sounds_are_checked_and_for_sounds_alone(tmp_path):
    write_pictures(tmp_path / "pictures", {"a": 9, "b": 9})
    options: list[dict[str, Any]] = [{"clip_seconds": 0.5}, {"sample_rate": 8000}]
    for values in options:
        (name,) = values
        option = f"--{name.replace('_', '-')}"
        for dataset in ("digits", str(tmp_path / "pictures")):
            with pytest.raises(
                UserError, match=rf"^{option} is for an own folder of sounds, not for \w+; leave it out"
            ):
                prepare(Config(dataset=dataset, **values), MODELS)
    for argv in (
        ["--sample-rate", "50"],
        ["--sample-rate", "-1"],
        ["--clip-seconds", "-1"],
        ["--clip-seconds", "inf"],
    ):
        with pytest.raises(UserError, match=rf"^{argv[0]} is .*, expected"):
            parse(argv, "train")


def test_the_whole_of_a_long_recording_is_its_content(tmp_path):
    silence, rng = np.zeros(8000), np.random.default_rng(0)
    for name in "ab":
        (tmp_path / name).mkdir()
        for at in range(20):
            samples = np.concatenate([silence, rng.normal(0, 0.1, 8000)])
            soundfile.write(tmp_path / name / f"{at}.wav", samples, 8000)
    task = prepare(Config(model="m5", dataset=str(tmp_path)), MODELS)
    assert not task.warnings  # although all begin alike
    assert sum(len(split.labels) for split in task.splits.values()) == 40
    for name, split in task.splits.items():
        windows = task.windows[name]
        assert (
            len(windows.owners) == 2 * len(split.labels) == (len(window_starts(16000, 8000)) - 1) * len(split.labels)
        )
        assert len(set(group_equal(split.inputs, windows).tolist())) == len(split.labels)
    assert task.note
    assert "40 clips exceed 8,000 samples: training takes a window at random" in task.note


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_an_own_folder_of_sounds_is_trained_evaluated_and_predicted(framework, run_main, tmp_path):
    write_sounds(tmp_path / "d", {"high": 30, "low": 30})
    argv = ("--model", "lenet5", "--frontend", "logmel", "--dataset", "d", "--epochs", 3, "--batch-size", 8)
    code, out, err = run_main(f"{framework}.train", *argv, "--out", "run", "--clip-seconds", 0.25)
    assert (code, err) == (0, "")
    assert "sounds: clips of 0.25 s, 2,000 samples at 8,000 Hz" in out
    trained = next(line for line in out.splitlines() if line.startswith("│ test "))
    assert "100.00%" in trained
    # Recordings of another rate, louder, in stereo and of other lengths, are added: evaluation is as in training.
    write_sounds(tmp_path / "other", {"high": 4, "low": 4}, rate=22050, length=9000, seed=7000, channels=2)
    code, out, err = run_main(f"{framework}.evaluate", "run")
    assert (code, err) == (0, "")
    assert trained in out
    files = sorted((tmp_path / "other").rglob("*.*"))
    code, out, err = run_main(f"{framework}.predict", "run", *files, tmp_path / "gone.wav")
    assert (code, err) == (1, f"error: {tmp_path}/gone.wav: cannot be read (No such file or directory)\n")
    assert [line.split()[1] for line in out.splitlines()] == ["high"] * 4 + ["low"] * 4
