"""Random numbers of training steps: keys that are not made anew, that are shared, and other ways to draw the same."""

from pathlib import Path
from typing import NamedTuple

import pytest

from parity import check_training
from parity.sides.target import load_function
from parity.training.outcome import TrainingReport
from tests.trainings import FOLDER, batches

DROPOUT = "nn.Dropout(0.25, deterministic=False)(x)"
FUNCTION = '(lambda key, x: {})(self.make_rng("dropout"), x)'
RATE = "0.25, self.training"


class Change(NamedTuple):
    """What is changed in the JAX side, and PyTorch's rate."""

    old: str
    new: str
    rate: str = "0.25"


def check(change: Change, folder: Path, steps: int = 3) -> TrainingReport:
    sides = []
    for side, old, new in (("torch", RATE, RATE.replace("0.25", change.rate)), ("jax", change.old, change.new)):
        text = (FOLDER / f"dropout_{side}.py").read_text()
        assert old in text
        (folder / f"dropout_{side}.py").write_text(text.replace(old, new))
        sides.append(load_function(f"{folder / f'dropout_{side}.py'}:training"))
    return check_training(sides[0], sides[1], batches.vectors, steps)


@pytest.mark.parametrize(
    "change",
    [
        Change(DROPOUT, FUNCTION.format("jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 0, x * 2)"), "0.5"),
        Change(DROPOUT, FUNCTION.format("(jax.random.uniform(key, x.shape) < 0.75) * x / 0.75")),
    ],
)
def test_one_law_may_be_drawn_in_different_ways(change, tmp_path):
    report = check(change, tmp_path)
    assert report.ok, report.failures
    assert report.notes == ("2 masks at each step, the same on both sides",)


@pytest.mark.parametrize(
    ("change", "step", "words"),
    [
        (
            Change("jax.random.fold_in(jax.random.key(3), state.step)", "jax.random.key(3)"),
            2,
            "JAX draws the same numbers at step 2 as at step 1 (trap 20): its key is not split, nor folded with the"
            " step",
        ),
        (
            Change(DROPOUT, "nn.Dropout(0.25, broadcast_dims=(0,), deterministic=False)(x)"),
            1,
            "JAX draws fewer and repeats them (trap 20)",
        ),
    ],
)
def test_other_random_numbers_are_a_fault(change, step, words, tmp_path):
    (failure,) = check(change, tmp_path).failures
    assert (failure.stage, failure.step) == ("forward", step)
    assert failure.diagnosis.endswith(words)
    assert failure.jax_line is not None


def test_two_masks_of_one_key_are_not_independent(tmp_path):
    key = 'key = self.make_rng("dropout")\n        x = nn.Dropout(0.25, deterministic=False)(x, rng=key)'
    text = (FOLDER / "dropout_jax.py").read_text().replace(f"x = {DROPOUT}", key)
    text = text.replace("nn.Dropout(0.1, deterministic=False)(x)", "nn.Dropout(0.1, deterministic=False)(x, rng=key)")
    (tmp_path / "dropout_jax.py").write_text(text)
    ours, theirs = (load_function(f"{folder}/dropout_{side}.py:training")
                    for folder, side in ((FOLDER, "torch"), (tmp_path, "jax")))  # fmt: skip
    (failure,) = check_training(ours, theirs, batches.vectors, 3).failures
    assert (failure.stage, failure.step) == ("forward", 1)
    assert failure.diagnosis.endswith("with the same key: not independent (trap 20)")
