"""Looking at a training from outside: TensorBoard's files and profiles."""

import gzip
import importlib
import json
import struct
import sys

import pytest

from tests.test_commands import FRAMEWORKS

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
