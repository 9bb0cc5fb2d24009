"""Several processes train one network: the numbers are one process's, and none outlives another."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from experiment.distributed import launch as launching
from experiment.distributed.launch import free_port
from experiment.runs import checkpoint
from jaxnets import loop as jax_fit
from tests.quick import QUICK_COMPILATION
from tests.test_commands import ROOT, start
from tests.test_resume import wait_for

# BatchNorm, all that is random or kept from step to step, and a last batch of 13, in no equal parts.
# The masks of PyTorch's dropout are each process's own; Flax's are one for the whole batch.
OPTIONS = "--model ann --batch-size 256 --precision float64 --optimizer momentum --lr 0.05 --weight-decay 0.01"
OPTIONS += (
    " --mixup 0.2 --augment cutout --ema 0.9 --clip-norm 1 --l1 1e-5 --label-smoothing 0.1 --checkpoint-every 4steps"
)
DROPOUT = {"jaxnets": ("--dropout", 0.2), "torchnets": ("--dropout", 0)}
BOUND = 1e-10


def options(framework: str, *more: object) -> list[object]:
    return ["-m", f"{framework}.train", *OPTIONS.split(), *DROPOUT[framework], *more]


def numbers(run: Path, step: int) -> dict[str, np.ndarray]:
    """All that a training goes on from after a step, but the state of PyTorch's generator."""
    found = checkpoint.load(run / f"checkpoints/step-{step:09}")
    rows = [row["loss"] for row in found.manifest["rows"]]
    arrays = {**found.state, "losses": np.array(rows), **found.best}
    return {name: array for name, array in arrays.items() if not name.startswith("generator/")}


def assert_close(run: Path, whole: Path) -> None:
    """At each checkpoint of `whole`, and in each row of metrics, `run` has the same numbers."""
    steps = [int(path.name.removeprefix("step-")) for path in checkpoint.folders(whole)]
    assert steps
    for step in steps:
        found, expected = numbers(run, step), numbers(whole, step)
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            assert found[name].shape == array.shape
            error = np.abs(found[name] - array).max(initial=0)
            assert error <= BOUND * max(1, np.abs(array).max(initial=0)), (step, name)
    for one, two in zip(rows(run), rows(whole), strict=True):
        assert one | {"loss": 0} == two | {"loss": 0}  # accuracies are counts, and so exact
        assert abs(one["loss"] - two["loss"]) <= BOUND


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def children(process: subprocess.Popen) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_end(processes: Iterable[int]) -> bool:
    """Whether all have ended within seconds; whoever closes its pipes is not quite gone yet."""
    deadline = time.monotonic() + 20
    while left := [process for process in processes if is_running(process)]:
        if time.monotonic() > deadline:
            return False
        processes = left
        time.sleep(0.02)
    return True


def finish(process: subprocess.Popen, code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=200)
    assert process.returncode == code, (out, err)
    return out, err


def by_hand(folders: list[Path], *argv: object) -> list[subprocess.Popen]:
    """Start a process in each folder, as one does at several machines' keyboards."""
    port, found = free_port(), []
    for rank, folder in enumerate(folders):
        folder.mkdir()
        place = {"RANK": rank, "WORLD_SIZE": len(folders), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        words = [f"{name}={value}" for name, value in place.items()]
        words += ["http_proxy=http://127.0.0.1:9", "https_proxy=http://127.0.0.1:9"]  # is not to be asked the way
        command = ["env", *words, "PYTHONWARNINGS=error", f"PYTHONPATH={ROOT}", sys.executable, *map(str, argv)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        found.append(subprocess.Popen(command, cwd=folder, **pipes))
    return found


def stop_one_of_two(framework: str, here: Path, there: Path) -> None:
    """Start two processes by hand, of which one alone is asked to stop: both do, after the same step."""
    argv = options(framework, "--epochs", 12, "--keep", 100, "--patience", 12)
    first, second = by_hand([here, there], *argv, "--out", "run")
    wait_for(here / "run/metrics.jsonl", 3, first)
    second.send_signal(signal.SIGTERM)
    out, err = finish(first, 128 + signal.SIGTERM)
    assert "2 devices share each batch\n" in out
    assert err.startswith("interrupted after ")
    assert err.count("\n") == 1
    assert finish(second, 128 + signal.SIGTERM) == ("", "")
    assert not list(there.iterdir())  # what it had written would be here


def kill_one_of(count: int, killed: int, here: Path, *argv: object) -> None:
    """Start some processes, of which one is killed: none survives it."""
    file = here / "run/metrics.jsonl"
    before = len(rows(here / "run")) if file.exists() else 0
    process = start(*argv, "--processes", count, cwd=here)
    wait_for(file, before + 3, process)
    ranks = children(process)
    os.kill(ranks[killed], signal.SIGKILL)
    _, err = process.communicate(timeout=launching.GRACE + 5)
    assert process.returncode == 128 + signal.SIGKILL
    rest = "was killed by signal 9, so all end; what was saved is whole: see --resume"
    assert err.endswith(f"error: process {killed} of {count} {rest}\n")
    assert killed == 0 or err.count("\n") == 1  # without process 0 JAX's runtime has a word to say, too
    assert all_end(ranks)


def assert_same_end(run: Path, whole: Path, devices: int) -> None:
    """A training by so many devices has come to what one device comes to, and has left the same files."""
    assert_close(run, whole)
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}
    summaries = [json.loads((run / "summary.json").read_text()) for run in (run, whole)]
    assert [found["devices"] for found in summaries] == [devices, 1]
    assert summaries[0]["test"]["per_class"] == summaries[1]["test"]["per_class"]


@pytest.fixture
def quickly(monkeypatch) -> None:
    """Let the commands that a test starts compile with little effort."""
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} {QUICK_COMPILATION}")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("quickly")
def test_one_process_goes_on_with_what_two_have_begun(run_main, tmp_path):
    stop_one_of_two("jaxnets", tmp_path / "a", tmp_path / "b")
    argv = options("jaxnets", "--epochs", 12, "--keep", 100, "--patience", 12)
    assert run_main("jaxnets.train", *argv[2:], "--out", "whole")[0] == 0
    assert run_main("jaxnets.train", "--resume", "a/run")[0] == 0
    assert_same_end(tmp_path / "a/run", tmp_path / "whole", 1)


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_go_on_after_one_of_them_was_killed(run_main, tmp_path):
    argv = options("torchnets", "--epochs", 12, "--keep", 100, "--patience", 12)
    assert run_main("torchnets.train", *argv[2:], "--out", "whole")[0] == 0
    kill_one_of(2, 1, tmp_path, *argv, "--out", "run")
    assert finish(start("-m", "torchnets.train", "--resume", "run", "--processes", 2, cwd=tmp_path))[1] == ""
    assert_same_end(tmp_path / "run", tmp_path / "whole", 2)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(("framework", "killed"), [("jaxnets", 0), ("torchnets", 3)])
def test_any_number_of_processes_makes_the_steps_of_one(framework, killed, run_main, tmp_path):
    argv = options(framework, "--epochs", 12, "--keep", 100, "--patience", 12)
    assert run_main(f"{framework}.train", *argv[2:], "--out", "whole")[0] == 0
    whole, here = tmp_path / "whole", tmp_path / "a"
    stop_one_of_two(framework, here, tmp_path / "b")
    kill_one_of(4, killed, here, "-m", f"{framework}.train", "--resume", "run")
    # One, and in a copy two, go on from there to the end.
    shutil.copytree(here / "run", tmp_path / "run", symlinks=True)
    assert run_main(f"{framework}.train", "--resume", "run")[0] == 0
    process = start("-m", f"{framework}.train", "--resume", "run", "--processes", 2, cwd=here)
    assert finish(process)[1] == ""
    assert_same_end(tmp_path / "run", whole, 1)
    assert_same_end(here / "run", whole, 2)


@pytest.mark.slow
def test_one_process_uses_all_its_devices(monkeypatch, run_main, tmp_path):
    argv = options("jaxnets", "--epochs", 1, "--keep", 100, "--augment-on", "device")
    assert run_main("jaxnets.train", *argv[2:], "--out", "whole")[0] == 0
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2")
    out, _ = finish(start(*argv, "--out", "run", cwd=tmp_path))
    assert "2 devices share each batch\n" in out
    assert_close(tmp_path / "run", tmp_path / "whole")


SHARED_CONVOLUTIONS = """
from functools import partial
import jax
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import numpy as np
from data import Batch
from jaxnets.convolution import convolve
from jaxnets.sharding import divide, make_mesh, replicate, sharing
rng, mesh = np.random.default_rng(0), make_mesh()
for count, side, channels, outputs in ((6, 40, 9, 32), (4, 9, 2, 3), (4, 9, 1, 3), (4, 2, 20, 3), (5, 9, 9, 3)):
    x, kernel = rng.normal(size=(count, side, side, channels)), rng.normal(size=(3, 3, channels, outputs))
    convolution = partial(
        convolve, strides=(1, 1), padding=((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    gradients = jax.grad(lambda kernel, x: (convolution(x, kernel) ** 2).sum(), (0, 1))
    whole = jax.jit(gradients)(kernel, x)
    shared = Batch(x, np.zeros(count)) if count % 2 else divide(Batch(x, np.zeros(count)), count, mesh)
    step = jax.jit(sharing(gradients, mesh)).lower(replicate(kernel, mesh), shared.inputs).compile()
    for ours, expected in zip(step(replicate(kernel, mesh), shared.inputs), whole):
        assert np.linalg.norm(ours - expected) <= 1e-13 * np.linalg.norm(expected), (count, side)
    print(count, "all-gather" in step.as_text())
"""


def test_devices_share_a_convolution_without_gathering_the_batch():
    environ = os.environ | {"NPROC": "8"}  # else the devices may wait for each other in all of XLA's threads
    found = subprocess.run(
        [sys.executable, "-c", SHARED_CONVOLUTIONS], env=environ, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "6 False\n4 False\n4 False\n4 False\n5 False\n"), found.stderr


def test_processes_with_other_options_do_not_train_together(tmp_path):
    first, second = by_hand([tmp_path / "a", tmp_path / "b"], "-c", OTHER_OPTIONS)
    _, err = second.communicate(timeout=100)
    assert second.returncode == 1
    assert err == "error: process 1 has other options than process 0; all need the same (process 1 of 2)\n"
    assert first.communicate(timeout=100)[1] == ""
    assert first.returncode == 1
    assert not list((tmp_path / "a").iterdir())


OTHER_OPTIONS = """
import os, sys
from experiment.cli import train
sys.argv = ["train", "--out", "run", "--lr", "0.1" + os.environ["RANK"]]
train.main("torchnets")
"""


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--batch-size", 50), "--batch-size is 50, which 4 devices cannot share evenly; take 48 or 52"),
        (("--batch-size", 3), "--batch-size is 3, which 4 devices cannot share evenly; take 4"),
        (("--accumulate", 2), "--accumulate takes a batch in pieces, but 4 devices share it already; leave it out"),
    ],
)
def test_batches_that_cannot_be_shared_are_refused(argv, said, run_main, monkeypatch, tmp_path):
    monkeypatch.setattr(jax_fit, "replicas", lambda: 4)
    code, _, err = run_main("jaxnets.train", *argv, "--out", "run")
    assert (code, err) == (1, f"error: {said}\n")
    assert not (tmp_path / "run").exists()
