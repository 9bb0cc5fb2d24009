"""Records of trainings: the same verdict, stage, step and lines as with both frameworks, from a file."""

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parity
from data import UserError
from parity.records.check_training import open_training
from parity.sides.target import load_function
from parity.training.draws import drawing_tapes
from parity.training.jax_steps import JaxTraining
from parity.training.lifted import filled, lifted
from parity.training.program import Given, equations
from parity.training.tape import Tape
from tests.test_records import altered_header, put, run_blocked
from tests.trainings import FOLDER, PAIRS, batches, sgd_jax, sgd_torch
from tests.trainings.bugs import BUGS

STEPS = 3
NO_JAX = "jax,jaxlib,flax,optax,chex,einops,scipy,ml_dtypes,matplotlib,sklearn,rich,tyro,PIL,soundfile,soxr,msgpack"
NO_TORCH = "torch,torchvision,functorch,einops,tyro,PIL,soundfile,soxr"
ROUND = ("sgd-gradient-stopped", "adamw-clip-epsilon", "adamw-statistics-momentum", "l2-half", "bce-epsilon-inside",
         "ema-decay-swapped", "accumulate-last-piece", "dropout-rate", "dropout-missing")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pair with dropout, and a record of each side."""
    folder = tmp_path_factory.mktemp("trainings")
    for side in ("torch", "jax"):
        make = load_function(f"{FOLDER / f'dropout_{side}.py'}:training")
        written = parity.record_training(make, batches.vectors, folder / f"{side}.parity", STEPS, name=side)
        assert (written.steps, written.notes) == (STEPS, [])
    return folder


def found(report):
    return [(f.stage, f.step, f.tensor, f.diagnosis, str(f.torch_line), str(f.jax_line)) for f in report.failures]


def records(ours, theirs, made, folder, steps=STEPS):
    """Return what a check finds against a record of PyTorch's side and against one of JAX's."""
    reports = []
    for own, other in ((ours, theirs), (theirs, ours)):
        file = folder / f"{len(reports)}.parity"
        parity.record_training(own, made, file, steps)
        reports.append(parity.check_training_record(file, other))
    return reports


@pytest.mark.parametrize("side", ["torch", "jax"])
def test_masks_are_in_the_record_and_the_other_side_is_given_them(folder, side):
    other = "jax" if side == "torch" else "torch"
    make = load_function(f"{FOLDER / f'dropout_{other}.py'}:training")
    report = parity.check_training_record(folder / f"{side}.parity", make)

    assert report.ok, report.failures[0].text
    assert (report.steps, report.name) == (STEPS, side)
    assert "2 masks at each step, the same on both sides" in report.notes
    assert {row.stage for row in report.stages if row.tensors} == {"forward", "loss", "gradients", "update"}
    assert max(row.error for row in report.stages) < 1e-12


def test_a_bug_is_found_as_with_both_frameworks(tmp_path):
    bug = next(bug for bug in BUGS if bug.name == "sgd-decay-missing")
    ours, theirs = (load_function(f"{file}:training") for file in bug.write(tmp_path))
    direct = parity.check_training(ours, theirs, batches.vectors, STEPS)
    assert [found(report) for report in records(ours, theirs, batches.vectors, tmp_path)] == [found(direct)] * 2
    assert "`optimizer.step()`" in str(direct.failures[0].torch_line)


def only_float64():
    """A training that raises as its user runs it, in float32, so that nothing is known of its types."""
    state, step = sgd_jax.training()

    def checked(state, x, y):
        if x.dtype != jnp.float64:
            raise TypeError(f"the step takes float64, not {x.dtype}")
        return step(state, x, y)

    return state, checked


@pytest.mark.slow
def test_a_training_that_raises_in_its_own_precision_is_said(tmp_path):
    parity.record_training(only_float64, batches.vectors, tmp_path / "jax.parity", 1)
    report = parity.check_training_record(tmp_path / "jax.parity", sgd_torch.training)
    assert report.ok, report.failures
    (note,) = (note for note in report.notes if "mixed precision" in note)
    assert (
        "the JAX training as it is, on batches of float32, fails: the JAX step cannot be traced: TypeError at" in note
    )
    assert "test_training_records.py" in note


@pytest.mark.slow
@pytest.mark.parametrize("name", ROUND)
def test_bugs_are_found_as_with_both_frameworks(name, tmp_path):
    bug = next(bug for bug in BUGS if bug.name == name)
    ours, theirs = (load_function(f"{file}:training") for file in bug.write(tmp_path))
    made = getattr(batches, PAIRS[bug.pair])
    direct = parity.check_training(ours, theirs, made, 4)
    for report in records(ours, theirs, made, tmp_path, 4):
        assert [f[:2] for f in found(report)] == [f[:2] for f in found(direct)]
        assert [f[3:] for f in found(report)] == [f[3:] for f in found(direct)]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PAIRS if name != "dropout"])
def test_right_pairs_are_proved(name, tmp_path):
    ours, theirs = (load_function(f"{FOLDER / f'{name}_{side}.py'}:training") for side in ("torch", "jax"))
    for report in records(ours, theirs, getattr(batches, PAIRS[name]), tmp_path):
        assert report.ok, report.failures[0].text


@pytest.mark.slow
def test_either_framework_may_be_missing(tmp_path):
    for side in ("torch", "jax"):
        (tmp_path / f"my_{side}.py").write_text((FOLDER / f"dropout_{side}.py").read_text())
    (tmp_path / "my_data.py").write_text((FOLDER / "batches.py").read_text())
    given = ("--batches", "my_data.py:vectors", "--steps", "2", "--out")
    run = run_blocked(tmp_path, NO_JAX, "record", "my_torch.py:training", *given, "torch.parity")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("torch.parity: 2 steps, ")
    run = run_blocked(tmp_path, NO_TORCH, "check-training", "torch.parity", "my_jax.py:training", "--json", "-")
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout)[0]["verdict"] == "same"
    run = run_blocked(tmp_path, NO_TORCH, "record", "my_jax.py:training", *given, "jax.parity")
    assert run.returncode == 0, run.stderr
    (tmp_path / "my_torch.py").write_text((FOLDER / "dropout_torch.py").read_text().replace("lr=0.1", "lr=0.2"))
    run = run_blocked(tmp_path, NO_JAX, "check-training", "jax.parity", "my_torch.py:training", "--brief")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "stage: update, step: 1" in run.stdout
    assert "diagnosis: the rate is 0.1 where PyTorch's is 0.2" in run.stdout


def test_commands_say_in_one_line_what_does_not_fit(folder, run_parity, monkeypatch):
    monkeypatch.chdir(folder)
    ours, theirs = (f"{FOLDER / f'dropout_{side}.py'}:training" for side in ("torch", "jax"))
    made = f"{FOLDER / 'batches.py'}:vectors"
    for args, words in (
        (("record", ours, "--batches", made, "--out", "torch.parity"), "exists already"),
        (("record", ours, "--batches", made, "--input", "3", "--out", "new.parity"), "--input is for modules"),
        (("record", ours, "--input", "3", "--steps", "3", "--out", "new.parity"), "--steps is for a training"),
        (("record", ours, "--batches", f"{made}s", "--out", "new.parity"), "has no 'vectorss'"),
        (("check-training", "torch.parity", theirs, "--batches", made), "the batches are those of the record"),
        (("check-training", "torch.parity", "jax.parity"), "checked against one training"),
        (("check-training", "no.parity", theirs), "no such file"),
        (("check-training", "torch.parity", ours), "state holds no array"),
        (("check-training", "jax.parity", theirs), "must return (module, step)"),
        (("check-training", ours, theirs), "--batches my_data.py:batches is missing"),
        (("check", "torch.parity", theirs), "parity check-training compares it"),
    ):
        code, _, error = run_parity(*args)
        assert code == 2, args
        assert error.startswith("error: "), args
        assert error.strip().count("\n") == 0
        assert words in error, error
    assert not Path("new.parity").exists()


def test_a_training_that_prints_or_raises(folder, run_parity, tmp_path):
    text = (FOLDER / "dropout_jax.py").read_text()
    (tmp_path / "prints.py").write_text(text.replace("    model = MLP()\n", "    print('hello')\n    model = MLP()\n"))
    (tmp_path / "raises.py").write_text(text.replace("    model = MLP()\n", "    raise ValueError('no data')\n"))
    code, out, err = run_parity("check-training", folder / "torch.parity", "prints.py:training", "--json", "-")
    assert (code, json.loads(out)[0]["verdict"]) == (0, "same")
    assert "hello" in err
    code, out, err = run_parity("check-training", folder / "torch.parity", "raises.py:training", "--json", "-")
    assert (code, json.loads(out)[0]["verdict"]) == (2, "unchecked")
    assert err.startswith("error: the JAX training cannot be made: ValueError")
    assert "raises.py" in err
    assert err.count("\n") == 0

    def training():
        module, step = sgd_torch.training()
        return module, lambda x, y: step(x, y) if len(x) == 8 else 1 / 0

    def made():
        yield from itertools.islice(batches.vectors(), 1)
        yield from ((x[:4], y[:4]) for x, y in batches.vectors())

    with pytest.raises(UserError, match="the PyTorch step cannot be called: ZeroDivisionError"):
        parity.check_training(training, sgd_jax.training, made, 2)


TORCH_HEADERS = {
    "newer": (put("version", 99), "version 99"),
    "step": (lambda h: h["steps"].pop(), "not as many"),
    "missing": (lambda h: h["steps"][0].pop("raw"), "KeyError"),
    "group": (put("steps", 0, "groups", 1, "fc1.weight", 10**6), "IndexError"),
    "settings": (put("steps", 0, "groups", 0, 0, 1, [1]), "settings"),
    "array": (put("steps", 0, "raw", "fc1.weight", ["../x", [1]]), "KeyError"),
    "kind": (put("draws", 0, 0, 0, "exec"), "random numbers"),
    "shape": (put("draws", 0, 0, 1, [1]), "another shape"),
    "output": (put("first", "outputs", [10**9]), "no value"),
    "batch": (put("batches", 0, {"plain": 1}), "no tuple"),
    "share": (put("shares", {"norm": "x"}), "a number is str"),
}
JAX_HEADERS = {
    "program": (put("steps", 0, "program", 7), "no program 7"),
    "negative": (put("steps", 0, "program", -1), "no program -1"),
    "given": (lambda h: h["steps"][0]["given"].pop(), "another number of arrays"),
    "leaves": (lambda h: h["leaves"].pop("step"), "other leaves"),
    "loss": (put("programs", 0, "loss", 10**6), "other leaves or results"),
    "backward": (put("programs", 0, "backward", [10**9]), "IndexError"),
    "variable": (put("programs", 0, "closed", "jaxpr", "outvars", 0, -1), "variable"),
}


@pytest.mark.parametrize(
    ("side", "name"), [*(("torch", name) for name in TORCH_HEADERS), *(("jax", name) for name in JAX_HEADERS)]
)
def test_a_hostile_header_gets_one_line(folder, tmp_path, side, name):
    change, words = (TORCH_HEADERS if side == "torch" else JAX_HEADERS)[name]
    raw = (folder / f"{side}.parity").read_bytes()
    (tmp_path / "x.parity").write_bytes(altered_header(raw, change))
    with pytest.raises(UserError, match=r"x\.parity") as raised:
        open_training(tmp_path / "x.parity")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_truncated_record_and_another_loss_are_refused(folder, tmp_path):
    raw = (folder / "jax.parity").read_bytes()
    (tmp_path / "x.parity").write_bytes(raw[:-9])
    with pytest.raises(UserError, match="damaged"):
        open_training(tmp_path / "x.parity")
    changed = altered_header(raw, lambda h: h.update(loss=h["leaves"]["step"]))
    (tmp_path / "x.parity").write_bytes(changed)
    make = load_function(f"{FOLDER / 'dropout_torch.py'}:training")
    with pytest.raises(UserError, match="loss is not what its equations give"):
        parity.check_training_record(tmp_path / "x.parity", make)


def test_steps_that_do_not_fit_are_left_out_and_it_is_said(tmp_path):
    written = parity.record_training(sgd_torch.training, batches.vectors, tmp_path / "x.parity", 5, most=60_000)
    assert 1 <= written.steps < 5
    assert f"{written.steps} of 5 steps: more are larger than 6e-05 GB" in str(written)
    report = parity.check_training_record(tmp_path / "x.parity", sgd_jax.training)
    assert report.ok
    assert report.steps == written.steps
    assert any("of 5 steps" in note for note in report.notes)


def test_a_step_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"one step takes .* GB, more than --max-size"):
        parity.record_training(sgd_torch.training, batches.vectors, tmp_path / "x.parity", 5, most=1000)
    assert not list(tmp_path.iterdir())
    parity.record_training(sgd_torch.training, batches.vectors, tmp_path / "x.parity", 1)
    with pytest.raises(UserError, match="steps is 0"):
        parity.check_training_record(tmp_path / "x.parity", sgd_jax.training, 0)


def test_draws_in_loops_branches_and_checkpoints_are_inputs(monkeypatch):
    whole_loops = lambda function, *args: jax.make_jaxpr(function, return_shape=True)(*args)  # noqa: E731
    monkeypatch.setattr("parity.training.jax_steps.traced", whole_loops)  # as where a step needs its own jit

    def training():
        def loss_of(w, key, x):
            def body(carry, row):
                key, drawn = jax.random.split(carry)
                kept = jax.random.bernoulli(drawn, 0.5, row.shape)
                return key, (row * w * kept).sum()

            rows = jax.lax.scan(body, key, x, reverse=True)[1]
            noise = jax.lax.cond(x[0, 0] > 0, lambda k: jax.random.normal(k), lambda k: jax.random.uniform(k), key)
            again = jax.checkpoint(lambda w: (w * jax.random.bernoulli(key, 0.3, w.shape)).sum())
            return rows.sum() + noise * again(w) ** 2

        def step(state, x):
            w, key = state
            key, drawn = jax.random.split(key)
            loss, gradient = jax.value_and_grad(loss_of)(w, drawn, x)
            return (w - 0.1 * gradient, key), loss

        return (jnp.arange(1.0, 4), jax.random.key(0)), step

    rng = np.random.default_rng(0)
    theirs = JaxTraining(training)
    for batch in itertools.islice(iter(lambda: (rng.normal(size=(4, 3)),), None), 3):
        (tape,) = drawing_tapes(theirs, [batch])
        assert tape is not None
        calls = {}
        for call in tape.calls:
            calls.setdefault(call.equation, []).append(call.array)
        program, slots = lifted(theirs.program(batch))
        whole = Tape(theirs.program(batch)).run(theirs.leaves, batch)
        again = Tape(program).run(theirs.leaves, Given(batch, filled(slots, calls)))
        names = {equation.primitive.name for equation in program.closed.jaxpr.eqns}
        assert not any(e.primitive.name == "random_bits" for e in equations(program.closed.jaxpr))
        assert "scan" in names
        np.testing.assert_array_equal(again.loss.array, whole.loss.array)
        for name, node in whole.outputs.items():
            if node.array.dtype.kind == "f":
                np.testing.assert_array_equal(again.outputs[name].array, node.array)
