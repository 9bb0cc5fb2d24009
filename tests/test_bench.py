"""The benchmark: its choices, and the command on one network that is right and one that is not."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from parity.bench import plan, report
from parity.bench.plan import FRAMEWORKS, TASKS, Choices
from parity.bench.process import WorkerError, environment
from parity.bench.search import search_torch

ROOT = Path(__file__).parents[1]

# Two small networks of both registries, the second without a ReLU on its Flax side; every process finds them, since
# all import `sitecustomize`.
SITE = """
import jaxnets.models, torchnets.models
jaxnets.models.__path__.append({flax!r})
torchnets.models.__path__.append({torch!r})
"""
FLAX = """
from functools import partial
from flax import linen as nn
from experiment.registry import Entry
from jaxnets.layers import flatten, linear

class Small(nn.Module):
    num_classes: int = 10
    relu: bool = True

    def setup(self):
        self.fc1, self.fc2 = linear(64, 8), linear(8, self.num_classes)

    def __call__(self, x, *, train=False):
        x = self.fc1(flatten(x))
        return self.fc2(nn.relu(x) if self.relu else x)

right = Entry(Small, (8, 8, 1), 610, "nobody", "fc2")
MODELS = {"right": right, "planted": right._replace(build=partial(Small, relu=False))}
"""
TORCH = """
import torch
from torch import nn
from experiment.registry import Entry

class Small(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 8), nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(torch.flatten(x, 1))))

right = Entry(Small, (8, 8, 1), 610, "nobody", "fc2")
MODELS = {"right": right, "planted": right}
"""


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[(1, "right"), (2, "ann")], ids=["1 core", "2 cores"])
def done(request, tmp_path_factory):
    """One run of the command on so many cores: -> (what has ended, its folder, how many cores there were)."""
    count, name = request.param
    cores = sorted(os.sched_getaffinity(0))[:count]
    folder = tmp_path_factory.mktemp("bench")
    for side, text in (("flax", FLAX), ("torch", TORCH)):
        (folder / side).mkdir()
        (folder / side / "planted.py").write_text(text)
    paths = {side: str(folder / side) for side in ("flax", "torch")}
    (folder / "sitecustomize.py").write_text(SITE.format(**paths))
    options = "--device cpu --modes eager --threads 1 --batch-size 16 --rounds 5 --seconds 0.05"
    command = [sys.executable, "-m", "parity", "bench", name, "planted", *options.split()]
    environ = os.environ | {"PYTHONPATH": f"{folder}:{ROOT}"}
    files = ["--flax-modes", "dispatch,scan", "--json", "found.json", "--plot", "found.png"]
    whole = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # is inherited
    try:
        process = subprocess.run([*command, *files], cwd=folder, env=environ, capture_output=True, text=True)
    finally:
        os.sched_setaffinity(0, whole)
    return process, folder, len(cores)


@pytest.mark.slow
@pytest.mark.long
def test_a_network_that_is_not_the_same_on_both_sides_has_no_figure(done):
    process, folder, _ = done
    assert process.returncode == 1, process.stderr
    row = json.loads((folder / "found.json").read_text())["networks"][1]
    assert (row["name"], row["ok"], row["parity"]["ok"]) == ("planted", False, False)
    assert row.keys() == {"name", "parity", "ok", "why"}
    assert "planted: no figure: parity check fails: forward, eval at" in process.stdout
    assert "1 of 2 networks measured" in process.stdout


@pytest.mark.slow
@pytest.mark.long
def test_a_network_that_is_the_same_has_all_figures(done):
    process, folder, cores = done
    found = json.loads((folder / "found.json").read_text())
    row = found["networks"][0]
    assert found["command"].startswith(f"python -m parity bench {row['name']} planted --device cpu")
    assert {"python", "numpy", "jax", "jaxlib", "flax", "optax", "torch"} <= found["versions"].keys()
    assert found["hardware"]["cores"] == cores
    assert found["imported"] == {"jaxnets": ["jax"], "torchnets": ["torch"]}  # one process for each framework
    name, parameters = ("right", 610) if cores == 1 else ("ann", 109_770)
    assert (row["name"], row["ok"], row["parity"]["ok"], row["batch_size"]) == (name, True, True, 16), process.stdout
    ours = [("dispatch", count) for count in plan.device_counts(cores)]
    assert [(trial["mode"], trial["threads"]) for trial in row["trials"][:-1]] == [*ours, ("scan", 1)]
    assert row["trials"][-1]["mode"] == "eager"
    assert not any("error" in trial for trial in row["trials"])
    assert set(row["tables"]) == {*TASKS, "loader", "DataLoader"}
    for name, table in row["tables"].items():
        check_table(table, ("jaxnets", "torchnets", "DataLoader") if "oader" in name else FRAMEWORKS)
    assert found["geometric_means"]["training"] == pytest.approx(row["tables"]["training"]["ratio"]["median"])
    assert row["agreement"]["ok"]
    for change in row["changes"].values():
        assert change["frozen_changed"] == 0
        assert 0 < change["trained"] - change["needless"] == change["changed"]
    assert row["memory"]["jaxnets"]["compiled_bytes"] > 4 * parameters
    assert row["memory"]["ratio"] is None  # a CPU does not say, and nothing is made up
    for task in TASKS:
        assert f"{row['tables'][task]['jaxnets']['median']:,.0f}" in process.stdout
    with Image.open(folder / "found.png") as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20  # something is drawn


def check_table(table, turns):
    """Check what must hold of any row of figures."""
    assert table["order"] == plan.turns(5, turns)
    for side in FRAMEWORKS:
        one = table[side]
        assert len(one["rounds"]) == 5
        assert one["low"] == min(one["rounds"]) <= one["median"] <= one["high"] == max(one["rounds"])
        assert one["median"] == np.median(one["rounds"])
        assert 0 <= one["compile_seconds"] <= one["first_seconds"]
    medians = [table[side]["median"] for side in FRAMEWORKS]
    assert table["ratio"]["median"] == pytest.approx(medians[0] / medians[1])
    assert table["ratio"]["low"] <= table["ratio"]["median"] <= table["ratio"]["high"]


BAD = [
    (["lenet"], ["unknown model 'lenet'", "Did you mean 'lenet5'"]),
    (["ann", "--rounds", "0"], ["--rounds is 0", "at least 5"]),
    (["ann", "--seconds", "nan"], ["--seconds is nan", "above 0"]),
    (["ann", "--batch-size", "1"], ["--batch-size is 1", "at least 2"]),
    (["ann", "--modes", "eagr"], ["unknown mode 'eagr'", "Did you mean 'eager'"]),
    (["ann", "--layouts", "nhwc"], ["unknown layout 'nhwc'", "channels_last"]),
    (["ann", "--threads", "1,0"], ["--threads has '0'", "at least 1"]),
    (["ann", "--data-dir", "."], ["no dataset is named", "--dataset"]),
    (["ann", "--json", "nowhere/a.json"], ["nowhere/a.json: no such folder"]),
    (["ann", "--plot", "a.pdf"], ["--plot is a.pdf", ".png"]),
]


@pytest.mark.parametrize(("argv", "words"), BAD)
def test_bad_input_is_one_line(argv, words, run_parity):
    code, out, err = run_parity("bench", *argv)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert "\n" not in err.strip()
    for word in words:
        assert word in err


def test_a_device_that_is_not_there_is_one_line(run_parity, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, out, err = run_parity("bench", "ann", "--device", "gpu")
    assert (code, out) == (1, "")
    assert err.startswith("error: --device is gpu")
    assert "\n" not in err.strip()


# --- the plan -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 20), st.lists(st.text(max_size=2), min_size=2, max_size=4, unique=True))
def test_everybody_has_each_turn_and_first_place_is_shared(rounds, sides):
    order = plan.turns(rounds, sides)
    chunks = [order[at : at + len(sides)] for at in range(0, len(order), len(sides))]
    assert len(chunks) == rounds
    assert all(set(chunk) == set(sides) for chunk in chunks)
    assert all(a == b[::-1] for a, b in pairwise(chunks))


def test_the_order_of_two_is_a_b_b_a():
    assert plan.turns(2, "AB") == list("ABBA")


@given(st.integers(1, 300))
def test_thread_counts_begin_with_one_and_end_with_all(cores):
    counts = plan.thread_counts(cores)
    assert (counts[0], counts[-1]) == (1, cores)
    assert list(counts) == sorted(set(counts))
    assert len(counts) <= 10


@given(st.integers(1, 300))
def test_flax_is_tried_with_one_device_and_with_as_many_as_have_a_core(cores):
    counts = plan.device_counts(cores)
    assert (counts[0], len(set(counts))) == (1, len(counts))
    assert cores // 2 < counts[-1] <= cores
    assert not counts[-1] & (counts[-1] - 1)  # a power of two divides the usual batches


class Fake:
    """A worker that has a speed for each variant, or cannot do it."""

    started: list["Fake"]

    def __init__(self, variant, speeds):
        self.variant, self.speed, self.closed = variant, speeds(variant), False

    def ask(self, do, **what):
        if self.speed is None:
            raise WorkerError("no compiler")
        return {"rate": self.speed[TASKS.index(what["task"])]} if do == "trial" else {"memory": {}}

    def close(self):
        self.closed = True


def test_the_best_of_each_task_is_kept_and_what_cannot_be_is_said():
    """Compiled modes are tried with what was the best before; a mode that fails is a trial with its reason."""
    speeds = {("eager", 1, "a"): (5, 1), ("eager", 2, "a"): (4, 9), ("fast", 1, "a"): (7, 2), ("fast", 2, "a"): (1, 1)}
    started = []

    def start(variant):
        started.append(Fake(variant, lambda v: speeds.get(v[1:])))
        return started[-1]

    choices = Choices(("eager", "broken", "fast"), (), (1, 2), ("a", "b"))
    found = search_torch(choices, start, {}, 1.0, images=False)
    assert len(found.trials) == 2
    found = search_torch(choices._replace(layouts=("a",)), start, {}, 1.0, images=True)
    assert [str(found.best[task].variant) for task in TASKS] == ["fast, 1 thread, a", "eager, 2 threads, a"]
    tried = [(trial["mode"], trial["threads"], trial.get("error")) for trial in found.trials]
    failed = [("broken", 1, "no compiler"), ("broken", 2, "no compiler")]
    assert tried == [("eager", 1, None), ("eager", 2, None), *failed, ("fast", 1, None), ("fast", 2, None)]
    kept = [one.worker for one in found.best.values()]
    assert all(one.closed != any(one is worker for worker in kept) for one in started)
    lines = report.not_possible([{"name": "ann", "trials": found.trials}])
    assert lines == ["torch.compile (broken): not possible here for ann: no compiler"]


def test_with_all_trials_every_combination_is_one():
    choices = Choices(("eager", "compile"), (), (1, 2), ("a", "b"), every=True)
    variants = plan.first_trials(choices, images=True)
    assert len(set(variants)) == len(variants) == 8
    assert plan.later_trials(choices, variants) == []
    assert len(plan.first_trials(choices, images=False)) == 4


def test_workers_inherit_no_cache_and_no_thread_count_but_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "somewhere")
    found = environment("cpu", 3, tmp_path)
    assert found["OMP_NUM_THREADS"] == "3"
    assert "JAX_COMPILATION_CACHE_DIR" not in found
    assert (found["JAX_PLATFORMS"], found["CUDA_VISIBLE_DEVICES"]) == ("cpu", "")
    assert "OMP_NUM_THREADS" not in environment("", 0, tmp_path)
