"""Looking at a training from outside: TensorBoard's files and profiles."""

import errno
import gzip
import importlib
import io
import json
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import pytest
from hypothesis import given
from rich.console import Console
from tensorboardX.record_writer import RecordWriter

from experiment.loop.profiling import Profile
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
    assert traced_steps(framework, tmp_path / "run") == 10


def traced_steps(framework: str, run: Path) -> int:
    """Return how many steps a run's profile has recorded."""
    if framework == "jaxnets":
        (trace,) = (run / "profile").rglob("*.trace.json.gz")
        content = gzip.decompress(trace.read_bytes())
    else:
        content = (run / "profile/trace.json").read_bytes()
    names = [event.get("name", "") for event in json.loads(content)["traceEvents"]]
    if framework == "jaxnets":  # each call is there twice
        return names.count("PjitFunction(train_step)") // 2
    return names.count("Optimizer.step#Adam.step")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_of_a_short_training_there_is_a_profile_of_all_steps_but_the_first(framework, run_main, tmp_path):
    options = ("--model", "mlp", "--epochs", 1, "--batch-size", 431, "--profile", "--out", "run")
    code, out, err = run_main(f"{framework}.train", *options)
    assert (code, err) == (0, "")
    assert "--profile has" not in out
    assert traced_steps(framework, tmp_path / "run") == 2
    (tmp_path / "run/summary.json").unlink()
    code, out, err = run_main(f"{framework}.train", "--resume", "run", "--profile")
    assert (code, err) == (0, "")
    assert "--profile has recorded nothing: no step was left to do\n" in out


@given(st.integers(0, 40), st.integers(1, 40), st.sampled_from([1, 1, 8, 32]), st.integers(0, 40))
def test_a_profile_records_ten_steps_or_all_but_the_first_or_says_why_not(done, steps, at_once, ends):
    """Of a training of any length, resumed anywhere, with several steps in a call, ended by a signal."""
    log, left, stop = io.StringIO(), range(done + 1, done + steps + 1), min(done + ends, done + steps)
    events: list[tuple[str, int]] = []
    at = done

    @contextmanager
    def trace(_folder: Path) -> Iterator[None]:
        events.append(("begin", at))
        yield
        events.append(("end", at))

    def wait() -> None:
        events.append(("wait", at))

    with TemporaryDirectory() as folder, Profile(trace, Path(folder) / "p", left, Console(file=log)) as profile:
        while at < stop:
            at = at + at_once if at + at_once <= stop else at + 1
            profile.after(at, wait)
    begins, ends_at = ([step for what, step in events if what == word] for word in ("begin", "end"))
    assert len(begins) == len(ends_at) <= 1
    said = log.getvalue()
    recorded = ends_at[0] - begins[0] if begins else 0
    assert (recorded == 0) == said.startswith("--profile has recorded nothing: "), said
    assert said.count("\n") <= 1
    if at_once == 1 and stop == done + steps:
        assert recorded == max(1, min(10, steps - 1))
    if begins and begins[0] > done:
        assert ("wait", begins[0]) in events  # what came before is over
    if recorded and ends_at[0] < stop:
        assert ("wait", ends_at[0]) in events  # and what is recorded is whole


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


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
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
