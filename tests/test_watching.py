"""Looking at a training from outside: TensorBoard's files and profiles."""

import errno
import gzip
import importlib
import json
import os
import struct
import sys
from pathlib import Path

import pytest
from tensorboardX.record_writer import RecordWriter

from tests.test_commands import FRAMEWORKS
from tests.test_resume import forget_after

Event = importlib.import_module("tensorboardX.proto.event_pb2").Event  # made at run time from its definition


def read_events(content: bytes) -> list[tuple[str, int, float]]:
    """The scalars of an event file, read by the format's definition: length, checksum, message, checksum."""
    found, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        event = Event.FromString(content[at + 12 : at + 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        at += 12 + length + 4
    return found


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_tensorboard_gets_the_rows_and_the_profiler_some_steps(framework, run_main, tmp_path):
    options = ("--model", "mlp", "--epochs", 2, "--tensorboard", "--profile", "--out", "run")
    code, _, err = run_main(f"{framework}.train", *options)
    assert (code, err) == (0, "")
    (events,) = (tmp_path / "run").glob("events.out.tfevents.*")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    expected = {
        (f"{name}/{row['split']}", row["epoch"] * 21): row[name] for row in rows for name in ("loss", "accuracy")
    }
    found = {(tag, step): value for tag, step, value in read_events(events.read_bytes())}
    assert found == pytest.approx(expected, rel=1e-6)
    if framework == "jaxnets":
        (trace,) = (tmp_path / "run/profile").rglob("*.trace.json.gz")
        content = gzip.decompress(trace.read_bytes())
    else:
        content = (tmp_path / "run/profile/trace.json").read_bytes()
    names = [event.get("name", "") for event in json.loads(content)["traceEvents"]]
    step = "train_step" if framework == "jaxnets" else "Optimizer.step#Adam.step"
    assert sum(step in name for name in names) >= 10


def test_without_tensorboardx_the_option_says_which_extra_to_install(run_main, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    code, _, err = run_main("jaxnets.train", "--tensorboard", "--out", "run")
    assert code == 1
    assert "which is an extra: pip install 'jaxnets[tensorboard]'" in err
    assert not (tmp_path / "run").exists()


def scalars(run: Path) -> list[set[tuple[str, int]]]:
    """The tags and steps in each event file of a run, the oldest first."""
    files = sorted(run.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns)
    return [{(tag, step) for tag, step, _ in read_events(path.read_bytes())} for path in files]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_resumed_run_goes_on_with_what_it_wrote(framework, run_main, tmp_path):
    command = f"{framework}.train"
    argv = (command, "--model", "mlp", "--epochs", 2, "--keep", 5, "--tensorboard", "--tf32", "--out", "run")
    argv = (*argv, "--resume", "auto")
    assert run_main(*argv)[0] == 0
    run = tmp_path / "run"
    tags = [f"{name}/{split}" for name in ("loss", "accuracy") for split in ("train", "validation", "test")]
    first, second = ({(tag, step) for tag in tags} for step in (21, 42))
    assert scalars(run) == [first | second]
    forget_after(run, 21)
    assert run_main(command, "--resume", "run")[0] == 0
    assert scalars(run) == [first | second, second]
    forget_after(run, 21)
    assert run_main(*argv)[0] == 0  # the same command again, as a queue starts it
    assert scalars(run) == [first | second, second, second]
    for options in (("--no-tensorboard", "--keep", 7), ()):  # what was given the last time holds the next time, too
        forget_after(run, 21)
        assert run_main(command, "--resume", "run", *options)[0] == 0
        assert len(scalars(run)) == 3
        assert json.loads((run / "config.json").read_text())["keep"] == 7
    for path in run.glob("events.*"):
        path.unlink()
    forget_after(run, 21)
    assert run_main(command, "--resume", "run", "--tensorboard")[0] == 0
    assert scalars(run) == [first | second]  # from the beginning, though the first epoch was done without


def test_a_resumed_run_is_profiled_once(run_main, tmp_path):
    options = ("--model", "mlp", "--epochs", 2, "--keep", 5, "--profile", "--out", "run")
    assert run_main("torchnets.train", *options)[0] == 0
    trace = tmp_path / "run/profile/trace.json"
    before = trace.stat().st_mtime_ns
    forget_after(tmp_path / "run", 21)
    assert run_main("torchnets.train", "--resume", "run")[0] == 0
    assert trace.stat().st_mtime_ns == before
    forget_after(tmp_path / "run", 21)
    trace.unlink()  # as if it had been killed before the profile was written
    assert run_main("torchnets.train", "--resume", "run")[0] == 0
    assert trace.exists()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_event_files_that_cannot_be_written_end_the_training_in_one_line(framework, run_main, monkeypatch):
    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RecordWriter, "flush", full)
    options = ("--model", "mlp", "--epochs", 1, "--batch-size", 500, "--tensorboard", "--out", "run")
    code, _, err = run_main(f"{framework}.train", *options)
    assert code == 1
    assert err.startswith("error: run/events.out.tfevents.")
    assert err.endswith(": cannot be written (No space left on device); what was saved before is untouched\n")
    assert err.count("\n") == 1
