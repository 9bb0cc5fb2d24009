"""The benchmark: its arithmetic, its choices, and the command on one network that is right and one that is not."""

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

from parity.bench import agreement, plan, report, roofline
from parity.bench.agreement import First
from parity.bench.figures import Series, geometric_mean, means, ratio
from parity.bench.plan import FRAMEWORKS, TASKS, Choices
from parity.bench.process import WorkerError, environment
from parity.bench.roofline import Peak, Size, Work
from parity.bench.search import search_torch

ROOT = Path(__file__).parents[1]
SPEEDS = st.floats(1e-3, 1e9)

# A network of both registries whose Flax side lacks a ReLU; every process finds it, since all import `sitecustomize`.
SITE = """
import jaxnets.models, torchnets.models
jaxnets.models.__path__.append({flax!r})
torchnets.models.__path__.append({torch!r})
"""
FLAX = """
from flax import linen as nn
from experiment.registry import Entry
from jaxnets.layers import flatten, linear

class Planted(nn.Module):
    num_classes: int = 10

    def setup(self):
        self.fc1, self.fc2 = linear(64, 8), linear(8, self.num_classes)

    def __call__(self, x, *, train=False):
        return self.fc2(self.fc1(flatten(x)))

MODELS = {"planted": Entry(Planted, (8, 8, 1), 610, "nobody", "fc2")}
"""
TORCH = """
import torch
from torch import nn
from experiment.registry import Entry

class Planted(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 8), nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(torch.flatten(x, 1))))

MODELS = {"planted": Entry(Planted, (8, 8, 1), 610, "nobody", "fc2")}
"""


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)], ids=["1 core", "2 cores"])
def done(request, tmp_path_factory):
    """One run of the command on so many cores: -> (what has ended, its folder, how many cores there were)."""
    cores = sorted(os.sched_getaffinity(0))[: request.param]
    folder = tmp_path_factory.mktemp("bench")
    for side, text in (("flax", FLAX), ("torch", TORCH)):
        (folder / side).mkdir()
        (folder / side / "planted.py").write_text(text)
    paths = {side: str(folder / side) for side in ("flax", "torch")}
    (folder / "sitecustomize.py").write_text(SITE.format(**paths))
    options = "--device cpu --modes eager --threads 1 --batch-size 16 --rounds 5 --seconds 0.05"
    command = [sys.executable, "-m", "parity", "bench", "ann", "planted", *options.split()]
    environ = os.environ | {"PYTHONPATH": f"{folder}:{ROOT}"}
    files = ["--flax-modes", "dispatch,scan", "--json", "found.json", "--plot", "found.png"]
    whole = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # is inherited
    try:
        process = subprocess.run([*command, *files], cwd=folder, env=environ, capture_output=True, text=True)
    finally:
        os.sched_setaffinity(0, whole)
    return process, folder, len(cores)


@pytest.mark.long
def test_a_network_that_is_not_the_same_on_both_sides_has_no_figure(done):
    process, folder, _ = done
    assert process.returncode == 1, process.stderr
    row = json.loads((folder / "found.json").read_text())["networks"][1]
    assert (row["name"], row["ok"], row["parity"]["ok"]) == ("planted", False, False)
    assert row.keys() == {"name", "parity", "ok", "why"}
    assert "planted: no figure: parity check fails: forward, eval at" in process.stdout
    assert "1 of 2 networks measured" in process.stdout


@pytest.mark.long
def test_a_network_that_is_the_same_has_all_figures(done):
    process, folder, cores = done
    found = json.loads((folder / "found.json").read_text())
    assert found["command"].startswith("python -m parity bench ann planted --device cpu")
    assert {"python", "numpy", "jax", "jaxlib", "flax", "optax", "torch"} <= found["versions"].keys()
    assert found["hardware"]["cores"] == cores
    assert found["imported"] == {"jaxnets": ["jax"], "torchnets": ["torch"]}  # one process for each framework
    row = found["networks"][0]
    assert (row["name"], row["ok"], row["parity"]["ok"], row["batch_size"]) == ("ann", True, True, 16), process.stdout
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
    assert row["memory"]["jaxnets"]["compiled_bytes"] > 4 * 109_770
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


# --- figures --------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(SPEEDS, SPEEDS), min_size=1, max_size=9))
def test_a_ratio_turned_round_is_its_inverse(pairs):
    ours, theirs = (Series.of(values) for values in zip(*pairs, strict=True))
    one, other = ratio(ours, theirs), ratio(theirs, ours)
    assert one.low <= one.median <= one.high
    assert one.median * other.median == pytest.approx(1)
    assert one.low * other.high == pytest.approx(1)


def test_figures_by_hand():
    ours, theirs = Series.of([2.0, 8.0, 4.0]), Series.of([1.0, 2.0, 4.0])
    assert (ours.median, ours.low, ours.high) == (4, 2, 8)
    assert ratio(ours, theirs) == (2.0, 1.0, 4.0)
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4)
    assert geometric_mean([]) is None


@given(st.lists(SPEEDS, min_size=1), SPEEDS)
def test_the_geometric_mean_lies_within_and_scales(values, factor):
    mean = geometric_mean(values)
    assert mean is not None
    assert min(values) * (1 - 1e-9) <= mean <= max(values) * (1 + 1e-9)
    assert geometric_mean([factor * value for value in values]) == pytest.approx(factor * mean)


@pytest.mark.parametrize("values", [[], [0.0], [1.0, float("nan")], [float("inf")]])
def test_what_is_no_speed_is_no_figure(values):
    with pytest.raises(ValueError, match="finite"):
        Series.of(values)


def test_networks_without_figures_do_not_count():
    measured = {"tables": {"training": {"ratio": {"median": 3.0}}}}
    assert means([measured, {"ok": False}]) == {"training": pytest.approx(3.0)}


# --- roofline -------------------------------------------------------------------------------------------------------

# Linear 3 to 2 with bias, then one frozen layer of 5 products and 7 weights before it that puts out 3 values.
SIZE = Size(flops=2 * 6 + 10, trained_flops=12, weights=8 + 7, trained_weights=8, activations=2 + 3, inputs=4)


def test_the_work_of_a_small_network_by_hand():
    assert roofline.inference(SIZE, 10, "float32") == Work(220, 4 * 15 + 10 * 4 * (2 * 5 + 4))
    # Products: the frozen layer once, the other three times. Bytes: frozen weights read; weights, gradients and one
    # slot read and written.
    expected = Work(10 * (10 + 3 * 12), 4 * 7 + 2 * 4 * 8 * 3 + 10 * 2 * (2 * 5 + 4))
    assert roofline.training(SIZE, 10, "bfloat16", "momentum") == expected


def test_the_limit_is_the_slower_of_the_two():
    work = Work(100, 30)
    assert (roofline.limit_seconds(work, Peak(10, 10)), roofline.limited_by(work, Peak(10, 10))) == (10, "compute")
    assert (roofline.limit_seconds(work, Peak(100, 10)), roofline.limited_by(work, Peak(100, 10))) == (3, "bandwidth")
    assert roofline.better([Peak(1, 4), Peak(3, 2)]) == Peak(3, 4)


@given(st.integers(1, 1000), st.sampled_from(sorted(roofline.SLOTS)), st.floats(1, 1e15), st.floats(1, 1e12))
def test_more_work_takes_no_less_time(batch, optimizer, flops, bandwidth):
    peak = Peak(flops, bandwidth)
    train = roofline.training(SIZE, batch, "float32", optimizer)
    passes = [roofline.inference(SIZE, size, "float32") for size in (batch, batch + 1)]
    times = [roofline.limit_seconds(work, peak) for work in (passes[0], train)]
    assert times[0] <= times[1]
    assert times[0] <= roofline.limit_seconds(passes[1], peak)


# --- agreement ------------------------------------------------------------------------------------------------------


def first(**changes):
    rng = np.random.default_rng(0)
    return First(
        rng.normal(size=(8, 10)), 2.3, 1.5, {"params/fc/kernel": rng.normal(size=(4, 5))}, np.ones(2)
    )._replace(**changes)


def test_the_same_first_steps_agree():
    found = agreement.compare_first(first(), first(), "float32", "momentum")
    assert found == (0, 0, 0, 0, 0, True, None, None)


def moved(by, seed=1):
    """First steps whose gradients were off by so much of themselves."""
    added = first().added["params/fc/kernel"]
    noise = np.random.default_rng(seed).normal(size=added.shape)
    noise *= by * np.linalg.norm(added) / np.linalg.norm(noise)
    return first(added={"params/fc/kernel": added + noise})


@pytest.mark.parametrize(
    ("theirs", "ours", "ok"),
    [
        (0.1, 0.2, True),  # as far from the exact steps as PyTorch's own, within a factor of 3
        (0.1, 0.4, False),
        (1e-6, 0.2, False),
        (0.5, 0.95, False),  # so far that it proves nothing
    ],
)
def test_first_steps_that_are_apart_are_judged_by_exact_ones(theirs, ours, ok):
    pair = moved(theirs), moved(ours, seed=2)
    found = agreement.compare_first(*pair, "float32", "momentum")
    assert not found.ok
    judged = agreement.judge(found, *pair, first(), "float32")
    assert judged.ok is ok
    assert (judged.own_from_exact, judged.from_exact) == (pytest.approx(theirs), pytest.approx(ours))
    assert not agreement.judge(found._replace(loss=1e-4), *pair, first(), "float32").ok


@pytest.mark.parametrize(
    "changes",
    [
        {"logits": first().logits * (1 + 2e-5)},
        {"loss": 2.3001},
        {"loss": float("nan")},
        {"norm": 1.51},
        {"later": np.array([1, 1.01])},
        {"later": np.ones(1)},
        {"added": {"params/fc/kernel": first().added["params/fc/kernel"] * 1.1}},
        {"added": {"params/fc/kernel": np.zeros((4, 5))}},
        {"added": {"params/fc/kernel": np.full((4, 5), np.nan)}},
    ],
)
def test_other_first_steps_do_not(changes):
    assert not agreement.compare_first(first(), first(**changes), "float32", "momentum").ok
    assert not agreement.compare_first(first(**changes), first(), "float32", "momentum").ok


def test_what_the_steps_have_done_to_the_weights_is_counted():
    names = ("conv/kernel", "conv/bias", "bn/scale", "frozen/kernel")
    before = {f"params/{name}": np.ones(3, np.float32) for name in names} | {"batch_stats/bn/mean": np.zeros(3)}
    after = before | {path: np.full(3, 2.0) for path in ("params/conv/kernel", "params/bn/scale")}
    good = agreement.change(before, after, {"conv", "bn"})
    assert good == (3, 2, 1, 0, True)  # a convolution's bias before BatchNorm has no gradient
    assert good.ok
    assert not agreement.change(before, before, {"conv", "bn"}).ok
    assert not agreement.change(before, after, {"conv", "bn", "frozen"}).ok
    assert not agreement.change(before, after, {"conv"}).ok
    assert not agreement.change(before, after | {"params/bn/scale": np.full(3, np.inf)}, {"conv", "bn"}).ok


def test_stored_weights_of_pytorch_are_found_by_flaxs_path():
    found = agreement.by_path({"fc.weight": np.ones((2, 3)), "fc.bias": np.zeros(2)})
    assert {path: array.shape for path, array in found.items()} == {"params/fc/kernel": (3, 2), "params/fc/bias": (2,)}
