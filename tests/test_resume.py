"""Going on with a training: exactly where it was, whatever has ended it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiment.cli import train
from experiment.loop.monitor import Monitor
from experiment.runs import checkpoint
from experiment.runs import lock as run_lock
from tests.conftest import without_pictures
from tests.quick import slow_unless
from tests.test_commands import FRAMEWORKS, start

# Every random thing is on, and all that is kept from step to step.
OPTIONS = "--model ann --epochs 2 --batch-size 256 --optimizer adamw --augment affine,cutout --mixup 0.2 --dropout 0.2"
OPTIONS += " --ema 0.9 --clip-norm 1 --label-smoothing 0.1 --weight-decay 0.01 --patience 5 --out run"


def result(run: Path) -> dict[str, object]:
    """All that a finished run has come to, byte by byte, but what the clock says."""
    found, skipped = checkpoint.newest(run)
    assert found
    assert not skipped
    arrays = {name: array.tobytes() for name, array in {**found.state, **found.best}.items()}
    summary = json.loads((run / "summary.json").read_text())
    scores = {split: summary[split] for split in ("train", "validation", "test")}
    return {
        "weights": (run / "weights.safetensors").read_bytes(),
        "rows": (run / "metrics.jsonl").read_text(),
        "scores": scores,
        **arrays,
    }


def forget_after(run: Path, step: int) -> None:
    """Make a finished run one that was killed right after the checkpoint of a step."""
    for folder in checkpoint.folders(run):
        if int(folder.name.removeprefix("step-")) > step:
            shutil.rmtree(folder)
    for name in ("summary.json", "weights.safetensors", "curves.png", "confusion.png"):
        (run / name).unlink()


@pytest.mark.parametrize(
    ("framework", "steps"),
    [
        *((framework, (4, 6)) for framework in FRAMEWORKS),  # in the middle of an epoch, and at its end
        *(pytest.param(framework, range(1, 13), marks=pytest.mark.slow) for framework in FRAMEWORKS),
    ],
)
def test_from_any_step_on_it_is_the_same_training_bit_by_bit(framework, steps, run_main, tmp_path):
    every = ("--checkpoint-every", "1step", "--keep", 100)
    code, _, err = run_main(f"{framework}.train", *OPTIONS.split(), *every)
    assert (code, err) == (0, "")
    run, whole = tmp_path / "run", result(tmp_path / "run")
    saved = sorted(int(path.name.removeprefix("step-")) for path in checkpoint.folders(run))
    assert saved == list(range(1, 13))
    for step in steps:
        again = tmp_path / f"from-{step}"
        shutil.copytree(run, again, symlinks=True)
        forget_after(again, step)
        code, out, err = run_main(f"{framework}.train", "--resume", again)
        assert (code, err) == (0, "")
        assert f"goes on from {again}/checkpoints/step-{step:09}, after step {step}\n" in out
        assert result(again) == whole, step


@pytest.mark.long
@pytest.mark.parametrize(
    ("framework", "at_random"),
    [
        ("torchnets", 0),  # one kill in the midst of a save, which is the same code for both; this one starts faster
        pytest.param("jaxnets", 0, marks=pytest.mark.slow),
        *(pytest.param(framework, 20, marks=pytest.mark.slow) for framework in FRAMEWORKS),  # at each call of a save
    ],
)
def test_kills_lose_at_most_what_came_after_the_last_checkpoint(framework, at_random, tmp_path):
    code = [sys.executable, "-W", "ignore", "-m", "tests.killing", framework, str(tmp_path), str(at_random)]
    cached = os.environ | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}  # each fork would compile all anew
    root = Path(__file__).parents[1]
    found = subprocess.run(code, cwd=root, env=cached, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    done = {name: value for line in found.stdout.splitlines() for name, value in json.loads(line).items()}
    saving, disk = done["saving"], done["disk"]
    if at_random:
        assert done["random"]["kills"] == at_random
        assert done["random"]["steps lost"] <= 4
        # open, write and fsync of two files, the folder's own and its parent's fsync, a rename
        assert saving["kills"] >= 11
    else:
        assert saving["kills"] == 1
    assert saving["steps lost"] == 4  # the one that was being saved
    # A limit of the system on the size of files is as good as a full disk.
    assert (disk["code"], disk["step"], disk["resumed"]) == (1, 4, 0)
    expected = "error: run/checkpoints/step-000000008: cannot be written (File too large); what was saved before is"
    assert disk["said"] == f"{expected} untouched"


def wait_for(path: Path, lines: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not (path.exists() and path.read_text().count("\n") >= lines):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("framework", "number"),
    slow_unless(
        lambda framework, number: framework == "torchnets" and number == signal.SIGTERM,
        [(framework, n) for framework in FRAMEWORKS for n in (signal.SIGINT, signal.SIGTERM)],
    ),
)
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(framework, number, run_main, tmp_path):
    options = ("--model", "mlp", "--epochs", 1000, "--augment", "affine", "--out", "run")
    process = start("-m", f"{framework}.train", *options, "--checkpoint-every", "1000epochs", cwd=tmp_path)
    wait_for(tmp_path / "run/metrics.jsonl", 3, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 128 + number
    assert err.startswith("interrupted after ")
    assert err.endswith("; go on with --resume run, where all until then is\n")
    assert err.count("\n") == 1
    folder, *others = checkpoint.folders(tmp_path / "run")  # nothing else was due but the best epoch
    best = (tmp_path / "run/checkpoints/best").resolve()
    assert (others or [folder]) == [tmp_path / "run/checkpoints" / best.name]
    assert not (tmp_path / "run/summary.json").exists()
    assert not (tmp_path / "run/.lock").exists()
    code, _, _ = run_main(f"{framework}.evaluate", tmp_path / "run")
    assert code == 0
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, number, 22)
        assert run_main(f"{framework}.train", *options[:-1], "here")[0] == 128 + number
    rows = [(tmp_path / name / "metrics.jsonl").read_text().splitlines()[:3] for name in ("run", "here")]
    assert rows[0] == rows[1]  # another process computes the same, to the last bit


def interrupt(patch: pytest.MonkeyPatch, number: signal.Signals, after: int) -> None:
    """Let this process receive a signal while a training takes its step `after`."""
    step, received = Monitor.step, []

    def interrupted(self: Monitor, examples: int, metrics: Mapping[str, Any], steps: int = 1) -> bool:
        if self.done < after <= self.done + steps and not received:  # a second one would end the process
            received.append(number)
            signal.raise_signal(number)
        return step(self, examples, metrics, steps)

    patch.setattr(Monitor, "step", interrupted)


@pytest.mark.parametrize(("framework", "number"), [("jaxnets", signal.SIGINT), ("torchnets", signal.SIGTERM)])
def test_after_a_signal_it_is_the_same_training_bit_by_bit(framework, number, run_main, tmp_path):
    options = ("--model", "mlp", "--epochs", 3, "--augment", "affine", "--checkpoint-every", "1000epochs", "--out")
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, number, 30)
        code, _, err = run_main(f"{framework}.train", *options, "run")
    assert code == 128 + number
    assert err.startswith("interrupted after ")
    found = [folder.name for folder in checkpoint.folders(tmp_path / "run")]
    assert found == ["step-000000030", "step-000000021"]  # nothing else was due but the best epoch
    code, out, err = run_main(f"{framework}.train", "--resume", "run")
    assert (code, err) == (0, "")
    assert "after step 30\n" in out
    assert run_main(f"{framework}.train", *options, "whole")[0] == 0
    assert result(tmp_path / "run") == result(tmp_path / "whole")


def test_a_signal_during_an_evaluation_counts_from_the_next_step_on():
    """Else the loop ends where some of its callers have not seen why, and a part passes for the whole."""
    metrics = {"loss": 1.0, "grad_norm": 1.0, "correct": 1}
    with Monitor(4, 1, Console(quiet=True)) as monitor:
        monitor.begin(0)
        assert not monitor.step(1, metrics)
        signal.raise_signal(signal.SIGTERM)
        assert (monitor.stopped, monitor.received) == (0, signal.SIGTERM)
        assert monitor.step(1, metrics)
        assert monitor.stopped == signal.SIGTERM


HANGS = """
import sys, time
from experiment.runs import checkpoint
from experiment.cli import train
def save(*args):
    print("saving", flush=True)
    time.sleep(1000)
checkpoint.save = save
sys.argv = ["train", "--model", "mlp", "--out", "run"]
train.main({framework!r})
"""


@pytest.mark.parametrize("framework", ["jaxnets", pytest.param("torchnets", marks=pytest.mark.slow)])
def test_a_second_signal_ends_it_at_once(framework, tmp_path):
    process = start("-c", HANGS.format(framework=framework), cwd=tmp_path)
    assert process.stdout
    while "saving" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)  # saving would take longer
    assert process.returncode == -signal.SIGTERM


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A run of jaxnets that was killed after its first epoch."""
    folder = tmp_path_factory.mktemp("killed")
    argv = ["jaxnets.train", "--model", "mlp", "--epochs", "2", "--keep", "5", "--out", "run"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", argv)
        without_pictures(patch)
        with pytest.raises(SystemExit) as stop:
            train.main("jaxnets")
    assert not stop.value.code
    forget_after(folder / "run", 21)
    return folder / "run"


@pytest.mark.parametrize(
    ("framework", "options", "said"),
    [
        ("jaxnets", ("--model", "ann"), "model was mlp, is ann"),
        ("jaxnets", ("--batch-size", 32), "batch_size was 64, is 32"),
        ("jaxnets", ("--precision", "float64"), "precision was float32, is float64"),
        ("jaxnets", ("--lr", 1, "--epochs", 3), "epochs was 2, is 3; lr was 0.003, is 1"),
        ("jaxnets", ("--dataset", "tones", "--frontend", "logmel"), "dataset was digits, is tones; frontend was none"),
        ("jaxnets", ("--seeds", 3), "leave out --seeds"),
        ("jaxnets", ("--out", "elsewhere"), "leave out --out elsewhere"),
        ("torchnets", (), "framework was jaxnets, is torchnets"),
    ],
)
def test_another_training_is_not_gone_on_with(framework, options, said, killed, run_main):
    before = {path: path.lstat().st_mtime_ns for path in killed.rglob("*")}
    code, _, err = run_main(f"{framework}.train", "--resume", killed, *options)
    assert code == 1
    assert err.startswith("error: --resume")
    assert said in err
    assert err.count("\n") == 1
    assert {path: path.lstat().st_mtime_ns for path in killed.rglob("*")} == before


def test_other_data_are_not_gone_on_with(killed, run_main, monkeypatch):
    from data import DATASETS
    from data.datasets import digits

    def load(folder: Path):
        found = digits.load(folder)
        found.train.inputs[0, 0, 0] ^= 1  # one bit of one pixel
        return found

    monkeypatch.setitem(DATASETS, "digits", DATASETS["digits"]._replace(load=load))
    code, _, err = run_main("jaxnets.train", "--resume", killed)
    assert code == 1
    assert "not the same training: data sha256 was " in err
    classes = DATASETS["digits"]._replace(
        load=lambda folder: digits.load(folder)._replace(classes=tuple("abcdefghij"))
    )
    monkeypatch.setitem(DATASETS, "digits", classes)
    code, _, err = run_main("jaxnets.train", "--resume", killed)
    assert code == 1
    assert "data classes was " in err


def test_what_changes_no_number_may_change(killed, run_main, tmp_path):
    shutil.copytree(killed, tmp_path / "run", symlinks=True)
    code, out, _ = run_main("jaxnets.train", "--resume", "run", "--workers", 1, "--keep", 1, "--on-nan", "skip")
    assert code == 0
    assert "after step 21" in out
    code, out, _ = run_main("jaxnets.train", "--resume", "run")
    assert (code, out) == (0, "run has finished: nothing to go on with\n")


def test_auto_takes_the_newest_unfinished_run_that_is_whole(killed, run_main, tmp_path):
    code, _, err = run_main("jaxnets.train", "--resume", "auto")
    assert code == 1
    assert "found no unfinished run of jaxnets" in err
    names = [f"2026112{at}-000000-mlp-digits-jaxnets" for at in range(3)]
    for name in names:
        shutil.copytree(killed, tmp_path / "runs" / name, symlinks=True)
    (tmp_path / "runs" / names[2] / "summary.json").write_text("{}")  # finished
    state = tmp_path / "runs" / names[1] / "checkpoints/step-000000021/state.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    code, out, err = run_main("jaxnets.train", "--resume", "auto")
    assert code == 0
    assert f"goes on from runs/{names[0]}/" in out
    assert err == f"warning: runs/{names[1]}/checkpoints/step-000000021/state.safetensors: {err.split(': ', 2)[2]}"
    assert err.endswith("; skipped\n")


def test_auto_with_a_folder_begins_it_and_then_goes_on(run_main, tmp_path):
    argv = ("jaxnets.train", "--model", "mlp", "--epochs", 1, "--out", "run", "--resume", "auto")
    code, out, _ = run_main(*argv)
    assert code == 0
    assert "goes on" not in out
    forget_after(tmp_path / "run", 21)
    code, out, _ = run_main(*argv)
    assert code == 0
    assert "goes on from run/checkpoints/step-000000021" in out
    forget_after(tmp_path / "run", 0)
    code, out, err = run_main(*argv)
    assert code == 0
    assert err == "run: no checkpoint was saved yet; starts at the beginning\n"


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_a_checkpoint_gives_its_weights_to_either_framework(framework, run_main, tmp_path):
    options = ("--model", "mlp", "--epochs", 1, "--ema", 0.9, "--out", "run")
    assert run_main(f"{framework}.train", *options)[0] == 0
    for other in FRAMEWORKS:
        weights = ("--weights", "run/checkpoints/best", "--lr", 1e-30)
        code, out, _ = run_main(f"{other}.train", "--model", "mlp", "--epochs", 1, *weights, "--out", f"to-{other}")
        assert code == 0
        assert "weights: 10 tensors from run/checkpoints/best" in out
        scores = [json.loads((tmp_path / run / "summary.json").read_text())["test"] for run in ("run", f"to-{other}")]
        assert scores[0]["accuracy"] == scores[1]["accuracy"]


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_two_processes_cannot_train_in_one_folder(framework, run_main, tmp_path):
    options = ("--model", "mlp", "--epochs", 1000, "--out", "run")
    process = start("-m", f"{framework}.train", *options, cwd=tmp_path)
    wait_for(tmp_path / "run/metrics.jsonl", 3, process)
    code, _, err = run_main(f"{framework}.train", "--resume", "run")
    assert code == 1
    assert err == f"error: run is in use by process {process.pid} on {os.uname().nodename}; two would spoil it\n"
    process.kill()
    process.communicate()
    lock = tmp_path / "run/.lock"
    assert lock.exists()  # a dead one's
    with run_lock.locked(tmp_path / "run"):
        assert lock.read_text() == f"process {os.getpid()} on {os.uname().nodename}"
    assert not lock.exists()
