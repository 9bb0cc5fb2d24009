"""Two trainings, stage by stage: right pairs are proved, planted bugs are caught and told (tests/trainings)."""

import ast
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import linen as nn
from jax.extend.core import jaxpr_as_fun
from torch import nn as torch_nn

import parity
from data import UserError
from parity.sides.target import load_function
from parity.training.wide_casts import traced_wide
from tests.trainings import FOLDER, PAIRS, batches, l2_torch, sgd_jax, sgd_torch
from tests.trainings.bugs import BUGS
from tests.trainings.run_bugs import check_bug, check_right

QUICK = ("bce-epsilon-inside", "dropout-rate")
# Kinds that are tested with one seed or not at all here: `tests.trainings.run_bugs --spread` runs them.
ONCE = frozenset(list(PAIRS)[list(PAIRS).index("nanogpt") :])


def named(text: str) -> str:
    return f"{FOLDER / text}"


def test_command_proves_a_right_pair(run_parity, tmp_path):
    names = (named("sgd_torch.py:training"), named("sgd_jax.py:training"))
    file = tmp_path / "report.json"
    given = ("--batches", named("batches.py:vectors"), "--steps", "6", "--json", file)
    code, out, _ = run_parity("check-training", *names, *given)

    assert code == 0
    assert "every stage of 6 steps agrees" in out
    (report,) = json.loads(file.read_text())
    assert report["schema"] == "parity-report/1"
    assert (report["verdict"], report["status"], report["ok"]) == ("same", 0, True)
    assert (report["stage"], report["first"], report["failures"]) == (None, None, [])
    errors = {stage["stage"]: stage["error"] for stage in report["stages"] if stage["tensors"]}
    assert set(errors) == {"forward", "loss", "gradients", "update"}
    assert max(errors.values()) < 1e-12


def test_command_names_the_stage_the_step_and_both_lines(run_parity, tmp_path):
    bug = next(bug for bug in BUGS if bug.name == "sgd-decay-missing")
    files = [f"{file}:training" for file in bug.write(tmp_path)]
    given = ("--batches", named("batches.py:vectors"), "--steps", "4", "--brief", "--json", tmp_path / "report.json")
    code, out, _ = run_parity("check-training", *files, *given)

    cause = "there is no weight decay, PyTorch's is 0.01"
    assert code == 1
    lines = out.splitlines()
    assert len(lines) <= 10
    assert lines[0].startswith("different: ")
    assert lines[0].endswith("3 stages agree in 4 steps, 1 differ")
    assert lines[1].startswith("stage: update, step: 1, tensor: params/")
    assert "`optimizer.step()`" in lines[2]
    assert "`return state.apply_gradients(grads=grads), loss`" in lines[3]
    assert f"diagnosis: {cause}" in lines
    (report,) = json.loads((tmp_path / "report.json").read_text())
    first = report["first"]
    assert (report["verdict"], report["status"], report["stage"], report["step"]) == ("different", 1, "update", 1)
    assert (first["check"], first["stage"], first["step"], first["cause"]) == ("update", "update", 1, cause)
    assert first["torch_line"]["text"] == "optimizer.step()"
    assert first["values"]["torch"] != first["values"]["jax"]
    assert first["try"].startswith("mend ")


@pytest.mark.parametrize("bug", [pytest.param(b, id=b.name) for b in BUGS if b.name in QUICK])
def test_bug_is_caught(bug):
    report = check_bug(bug, 6)

    assert (report.stage, report.step) == (bug.stage, bug.step)
    assert bug.word.lower() in report.diagnosis.lower()
    assert len(report.failures) == 1  # one difference makes no other


# What is done around PyTorch's SGD with momentum and a decay of 0.01, and what it is.
DECAYS = {
    "the decay is decoupled, where PyTorch's is part of the gradient": lambda _: optax.chain(
        optax.trace(0.9), optax.add_decayed_weights(1e-2), optax.scale(-0.1)
    ),
    "part of the gradient (trap 13); the decay is not multiplied by the rate": lambda rule: optax.chain(
        rule, optax.add_decayed_weights(-1e-2)
    ),
    "decoupled, applied after the rule, to the new parameters": lambda rule: shrunk(rule, 0.1 * 1e-2),
    "the decay is 0.002 where PyTorch's is 0.01": lambda rule: optax.chain(optax.add_decayed_weights(2e-3), rule),
}


def shrunk(rule: optax.GradientTransformation, share: float) -> optax.GradientTransformation:
    """Return a rule behind which the new parameters lose a share."""

    def update(updates, state, params=None):
        updates, state = rule.update(updates, state, params)
        return jax.tree.map(lambda u, p: u - share * (p + u), updates, params), state

    return optax.GradientTransformation(rule.init, update)


def test_a_decay_is_told_by_its_value_and_its_place():
    for words, around in DECAYS.items():

        def training(around=around):
            state, step = sgd_jax.training()
            tx = around(optax.sgd(0.1, momentum=0.9))
            return state.replace(tx=tx, opt_state=tx.init(state.params)), step

        report = parity.check_training(sgd_torch.training, training, batches.vectors, 4)
        assert (report.stage, report.step) == ("update", 1)
        assert words in report.diagnosis
        assert "rate is" not in report.diagnosis


@pytest.mark.slow
def test_a_difference_does_not_hide_the_next(tmp_path):
    text = (FOLDER / "l2_jax.py").read_text()
    for bug in (bug for bug in BUGS if bug.name in ("l2-half", "l2-epsilon-inside")):
        text = text.replace(bug.old, bug.new)
    (tmp_path / "both_jax.py").write_text(text)
    theirs = load_function(f"{tmp_path / 'both_jax.py'}:training")
    report = parity.check_training(l2_torch.training, theirs, batches.vectors, 6)

    assert [failure.stage for failure in report.failures] == ["loss", "update"]
    assert "without the half" in report.failures[0].diagnosis
    assert "inside the square root" in report.failures[1].diagnosis


@pytest.mark.slow
def test_masks_of_dropout_are_shared():
    report = check_right("dropout", steps=3)

    assert report.ok, report.failures[0].text
    assert report.notes == ("2 masks at each step, the same on both sides",)


def test_assert_training_gives_the_report_as_its_message():
    def halved():
        for x, y in batches.vectors():
            yield (x, y), (x / 2, y)

    with pytest.raises(AssertionError, match=r"forward differs at step 1.*PyTorch's times 0\.5"):
        parity.assert_training(sgd_torch.training, sgd_jax.training, halved, 3)


def test_what_cannot_be_checked_is_said_in_one_line(run_parity):
    names = (named("sgd_torch.py:training"), named("sgd_jax.py:nothing"))
    code, out, error = run_parity("check-training", *names, "--batches", named("batches.py:vectors"))
    assert (code, out) == (2, "")
    assert error.startswith("error: ")
    assert error.count("\n") == 0
    code, out, _ = run_parity("check-training", *names, "--batches", named("batches.py:vectors"), "--json", "-")
    (report,) = json.loads(out)
    assert (code, report["verdict"], report["status"]) == (2, "unchecked", 2)
    assert report["message"] in error
    with pytest.raises(UserError, match="no batches"):
        parity.check_training(sgd_torch.training, sgd_jax.training, list)
    with pytest.raises(UserError, match=r"must return \(module, step\)"):
        parity.check_training(lambda: None, sgd_jax.training, batches.vectors)
    with pytest.raises(UserError, match=r"must return \(state, step\)"):
        parity.check_training(sgd_torch.training, lambda: np.zeros(3), batches.vectors)


def test_every_bug_is_planted(tmp_path):
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 50
    assert {bug.pair for bug in BUGS} == set(PAIRS)
    for bug in BUGS:
        for file in bug.write(tmp_path):
            ast.parse(file.read_text())


# Of the kinds in `ONCE` these bugs alone are tested; `tests.trainings.run_bugs` runs all of them.
CHOSEN = ("dqn-target-early", "td3-tau", "triplet-accumulator", "plain-sum", "sam-rho", "byol-loss-half")


@pytest.mark.slow
@pytest.mark.parametrize(
    "bug",
    [pytest.param(b, id=b.name) for b in BUGS if b.name in CHOSEN or (b.name not in QUICK and b.pair not in ONCE)],
)
def test_every_bug_is_caught(bug):
    report = check_bug(bug)

    assert (report.stage, report.step) == (bug.stage, bug.step)
    assert bug.word.lower() in report.diagnosis.lower()


def test_command_takes_two_trainings_or_a_recipe(run_parity):
    code, _, error = run_parity("check-training", "a.py:training", "--recipe", "mlp-mnist-original")
    assert code == 2
    assert error.startswith("error: --recipe has trainings and batches of its own")
    code, _, error = run_parity("check-training", "a.py:training")
    assert code == 2
    assert "expected two trainings" in error


@pytest.mark.slow
def test_command_proves_a_recipe(run_parity):
    code, out, _ = run_parity("check-training", "--recipe", "mlp-mnist-original", "--steps", "2")
    assert code == 0
    assert "every stage of 2 steps agrees" in out


def test_rows_of_a_batch_one_by_one_are_the_batch():
    report = check_right("plain", steps=3)
    assert report.ok, report.failures[0].text
    assert max(stage.error for stage in report.stages) < 1e-12


SEEDS = {name: 5 for name in PAIRS if name not in ONCE} | dict.fromkeys(
    ("dqn", "td3", "swa", "triplet", "spectral"), 1
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_right_pairs_are_proved(name):
    for seed in range(SEEDS[name]):
        report = check_right(name, seed)
        assert report.ok, report.failures[0].text
        assert max(stage.error for stage in report.stages) < 1e-12


class Rounded(nn.Module):
    """An MLP that computes in less than float64, with a GELU of each kind."""

    dtype: Any

    @nn.compact
    def __call__(self, x):
        x = nn.gelu(nn.Dense(16, dtype=self.dtype, name="0")(x), approximate=False)
        x = nn.gelu(nn.Dense(8, dtype=self.dtype, name="2")(x))
        return nn.Dense(5, dtype=self.dtype, name="4")(x)


def rounded_torch():
    gelus = torch_nn.GELU(), torch_nn.GELU(approximate="tanh")
    model = torch_nn.Sequential(torch_nn.Linear(12, 16), gelus[0], torch_nn.Linear(16, 8), gelus[1])
    model.append(torch_nn.Linear(8, 5))
    optimizer = torch.optim.SGD(model.parameters(), 1 / 3)

    def step(x, y):
        optimizer.zero_grad()
        loss = torch_nn.functional.cross_entropy(model(x), y, label_smoothing=1 / 3)
        loss.backward()
        optimizer.step()
        return loss

    return model, step


def rounded_jax(dtype):
    model, tx = Rounded(dtype), optax.sgd(1 / 3)
    params = model.init(jax.random.key(0), jnp.zeros((1, 12)))["params"]

    def loss_of(params, x, y):
        labels = optax.smooth_labels(jax.nn.one_hot(y, 5, dtype=jnp.float32), 1 / 3)
        logits = jnp.asarray(model.apply({"params": params}, x), jnp.float32)
        return optax.softmax_cross_entropy(logits, labels).mean()

    def step(state, x, y):
        loss, grads = jax.value_and_grad(loss_of)(state[0], x, y)
        updates, opt_state = tx.update(grads, state[1], state[0])
        return (optax.apply_updates(state[0], updates), opt_state), loss

    return (params, tx.init(params)), step


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_what_a_cast_makes_of_constants_is_no_difference(dtype):
    report = parity.check_training(rounded_torch, lambda: rounded_jax(jnp.dtype(dtype)), batches.vectors, 2)
    # PyTorch's side computes in float32: that is said, and nothing else.
    assert all(failure.diagnosis.startswith("mixed precision: ") for failure in report.failures)
    assert report.ok == (dtype == "float32")
    assert max(stage.error for stage in report.stages) < 1e-13


def test_constants_of_a_cast_are_traced_as_they_are_meant():
    x = np.linspace(-2, 2, 9)
    with jax.enable_x64(True):
        closed, _ = traced_wide(lambda x: nn.gelu(x.astype(jnp.bfloat16), approximate=False) / 3, jnp.asarray(x))
        (found,) = jaxpr_as_fun(closed)(x)
    np.testing.assert_allclose(found, torch_nn.functional.gelu(torch.from_numpy(x)) / 3, rtol=1e-14)
    with jax.enable_x64(True):  # and a cast is one again
        assert jnp.asarray(x).astype(jnp.bfloat16).dtype == jnp.bfloat16


class Centred(torch_nn.Module):
    """A layer without a bias between two norms: the second one's mean is zero."""

    def __init__(self):
        super().__init__()
        self.norm1, self.fc, self.norm2 = (
            torch_nn.BatchNorm1d(12),
            torch_nn.Linear(12, 5, False),
            torch_nn.BatchNorm1d(5),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm2(self.fc(self.norm1(x)))


@pytest.mark.slow
def test_a_running_mean_that_is_zero_is_no_difference():
    def ours():
        model = Centred()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)

        def step(x, y):
            optimizer.zero_grad()
            loss = torch_nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return model, step

    def theirs():
        rng = np.random.default_rng(0)
        sizes = {"norm1": 12, "norm2": 5}
        params = {n: {"scale": jnp.ones(s), "bias": jnp.zeros(s)} for n, s in sizes.items()}
        params["fc"] = {"kernel": jnp.asarray(rng.normal(size=(12, 5)))}
        stats = {n: {"mean": jnp.zeros(s), "var": jnp.ones(s)} for n, s in sizes.items()}

        def norm(x, params, stats):
            mean, var, n = x.mean(0), x.var(0), len(x)
            after = {"mean": 0.9 * stats["mean"] + 0.1 * mean, "var": 0.9 * stats["var"] + 0.1 * var * n / (n - 1)}
            return (x - mean) / jnp.sqrt(var + 1e-5) * params["scale"] + params["bias"], after

        def loss_of(params, stats, x, y):
            x, first = norm(x, params["norm1"], stats["norm1"])
            x, second = norm(x @ params["fc"]["kernel"], params["norm2"], stats["norm2"])
            loss = optax.softmax_cross_entropy_with_integer_labels(x, y).mean()
            return loss, {"norm1": first, "norm2": second}

        def step(state, x, y):
            params, stats = state
            (loss, stats), grads = jax.value_and_grad(loss_of, has_aux=True)(params, stats, x, y)
            return (jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), stats), loss

        return (params, stats), step

    report = parity.check_training(ours, theirs, batches.vectors, 1)
    assert report.ok, report.failures[0].text
    assert next(stage.tensors for stage in report.stages if stage.stage == "statistics") == 4
