"""The arithmetic of the benchmark: speeds and their ratios, the work of a network, whether first steps agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.bench import agreement, roofline
from parity.bench.agreement import First
from parity.bench.figures import Series, geometric_mean, means, ratio
from parity.bench.roofline import Peak, Size, Work

SPEEDS = st.floats(1e-3, 1e9)


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
