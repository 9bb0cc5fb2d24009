"""Disks that refuse to be written to: nothing is lost."""

import errno
import json
import os

import pytest

from experiment.runs import atomic, checkpoint
from tests.quick import slow_unless
from tests.test_commands import FRAMEWORKS

FAULTS = {"fsync": errno.EIO, "write": errno.ENOSPC, "open": errno.EROFS, "replace": errno.EDQUOT}


@pytest.mark.parametrize(
    ("framework", "call"),
    slow_unless(
        lambda framework, call: framework == "torchnets" or call == "write",
        [(framework, call) for framework in FRAMEWORKS for call in FAULTS],
    ),
)
def test_a_disk_that_refuses_loses_nothing(framework, call, run_main, tmp_path, monkeypatch):
    save, plain = checkpoint.save, getattr(os, call)

    def saving(run, found, *args):
        if found["step"] == 42:
            error = OSError(FAULTS[call], os.strerror(FAULTS[call]))
            monkeypatch.setattr(atomic.os, call, lambda *_, **__: (_ for _ in ()).throw(error))
        try:
            return save(run, found, *args)
        finally:
            monkeypatch.setattr(atomic.os, call, plain)

    monkeypatch.setattr(checkpoint, "save", saving)
    code, _, err = run_main(f"{framework}.train", "--model", "mlp", "--epochs", 3, "--out", "run")
    assert code == 1
    said = os.strerror(FAULTS[call])
    assert err == (
        f"error: run/checkpoints/step-000000042: cannot be written ({said}); what was saved before is untouched\n"
    )
    there = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}
    # Where nothing can be opened, nothing can be removed, either: that is done by the next start.
    # The best epoch is the one that could not be saved: no link names another one.
    assert there - {"step-000000042.part"} == {"step-000000021", "last"}
    monkeypatch.setattr(checkpoint, "save", save)
    code, out, err = run_main(f"{framework}.train", "--resume", "run")
    assert (code, err) == (0, "")
    assert "after step 21\n" in out
    assert not list((tmp_path / "run/checkpoints").glob("*.part"))


@pytest.mark.parametrize(
    ("framework", "together"),
    [pytest.param("jaxnets", "no", marks=pytest.mark.slow), ("jaxnets", "yes"), ("torchnets", "no")],
)
def test_a_disk_that_refuses_stops_a_sweep_which_is_resumed(framework, together, run_main, tmp_path, monkeypatch):
    save = checkpoint.save

    def saving(run, *args):
        if run.name == "seed-1":
            raise atomic.cannot_write(run, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        return save(run, *args)

    monkeypatch.setattr(checkpoint, "save", saving)
    options = ("--model", "mlp", "--epochs", 1, "--batch-size", 500, "--seeds", 3, "--together", together)
    code, _, err = run_main(f"{framework}.train", *options, "--out", "sweep")
    assert code == 1
    assert err.endswith(
        "sweep/seed-1: cannot be written (No space left on device); what was saved before is untouched\n"
    )
    assert err.count("\n") == 1
    assert not list((tmp_path / "sweep").rglob("failed.json"))  # it is no fault of the training
    monkeypatch.setattr(checkpoint, "save", save)
    assert run_main(f"{framework}.train", "--resume", "sweep")[0] == 0
    assert json.loads((tmp_path / "sweep/summary.json").read_text())["seeds"] == [0, 1, 2]
