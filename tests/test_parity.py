import json

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import linen as nn

import jaxnets
import jaxnets.compose
import parity
import torchnets
from data import UserError
from experiment.loop.schedules import factors
from parity import suite
from parity.checks import torchvision
from parity.checks.layers import FORWARD_EVAL
from parity.checks.small import BATCH_SIZE, LARGE
from parity.checks.structure import Counts, check_full_size, check_structure
from parity.commands.check import run_checks
from parity.report import Trajectory
from parity.report.compare import relative_error
from parity.sides.compilation import QUICK_COMPILATION
from parity.sides.flax_side import FlaxSide
from parity.sides.torch_side import TorchSide, randomised
from parity.suite import FEW_OPTIMIZERS
from parity.training.trajectory import OPTIMIZERS
from tests.pairs import SHAPE, Deterministic, FlaxNet, Reference, TorchNet
from tests.quick import FAMILIES


def inputs(seed: int = 0, count: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=3, size=(count, *SHAPE))


def torch_net(seed: int = 0) -> TorchNet:
    torch.manual_seed(seed)
    return TorchNet()


# --- what the registries hold ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", suite.names())
def test_every_network_has_its_published_size_and_the_same_output(name: str):
    """In full size names, shapes and counts, for which no weights are made; in a small one the forward pass."""
    entry = torchnets.MODELS[name]
    with torch.device("meta"):
        module = entry.build()
    side, counts = FlaxSide(jaxnets.MODELS[name].build(), np.float32), Counts(entry.num_params, entry.num_frozen)
    assert not check_structure(module, side, entry.input_shape, counts).failure
    assert not check_full_size(module, side, entry.input_shape).failure
    twins = suite.build_small(name, 0)
    x = suite.real_batches(twins.input_shape, 1, 0)[0].inputs[:2]
    ours, theirs = FlaxSide(twins.flax, np.float64), TorchSide(randomised(twins.torch, x, 0), np.float64)
    assert relative_error(theirs.forward(x).output, ours.forward(theirs.variables(), x).output) <= FORWARD_EVAL


QUICK = {"ann": "adam", "lenet5_bn": "momentum"}  # with dropout, with convolutions
# Of the tests' programs those that make many steps, or take photographs, take longer to run than to compile.
PHOTO = 224  # pixels
OPTIMISED = {"xla_backend_optimization_level": 1, "xla_llvm_disable_expensive_passes": False}


def optimised(monkeypatch: pytest.MonkeyPatch) -> None:
    for option, value in OPTIMISED.items():
        monkeypatch.setitem(QUICK_COMPILATION, option, value)


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        *QUICK.items(),
        *(
            pytest.param(name, FEW_OPTIMIZERS[at % 2], marks=[pytest.mark.slow, pytest.mark.long])
            for at, name in enumerate(suite.names())
        ),
    ],
)
def test_the_networks_are_the_same_and_train_the_same_way(name: str, optimizer: str, request, monkeypatch):
    if name not in FAMILIES and name not in QUICK:  # compiled as users do, one of each kind; the command does all
        request.getfixturevalue("without_compiled")
    if max(torchnets.MODELS[name].input_shape) == PHOTO:
        optimised(monkeypatch)
    report = suite.check_network(name)
    assert report.ok, report.failures
    checks = {result.check for result in report.results}
    assert checks >= {"structure, full size", "full size", "gradients", "float32 gradients"}
    if torchnets.MODELS[name].num_params >= LARGE:
        return  # for time's sake; the command trains all of them, each with both
    optimised(monkeypatch)
    assert_the_same_training(name, optimizer, suite.QUICK_STEPS, report.zeros)


def assert_the_same_training(name: str, optimizer: str, steps: int, zeros: frozenset[str] | None = None) -> None:
    result = suite.check_training(name, optimizer, steps=steps, zeros=zeros)
    assert not result.failure, result
    assert result.error <= result.bound <= 1e-10


SMALLEST = [name for name in suite.names() if torchnets.MODELS[name].num_params < 250_000]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_small_network_trains_the_same_way_with_every_optimizer(optimizer: str):
    assert_the_same_training("custom_mlp", optimizer, suite.QUICK_STEPS)


@pytest.mark.slow
@pytest.mark.parametrize(("at", "optimizer"), list(enumerate([*OPTIMIZERS, *OPTIMIZERS])))
def test_the_smallest_networks_train_the_same_way_for_100_steps(at: int, optimizer: str, monkeypatch):
    optimised(monkeypatch)
    name = SMALLEST[(at + at // len(OPTIMIZERS)) % len(SMALLEST)]  # each optimizer meets two networks
    assert_the_same_training(name, optimizer, suite.FULL_STEPS)


def test_a_network_without_a_twin_is_a_failure(monkeypatch):
    monkeypatch.setattr(torchnets, "MODELS", {k: v for k, v in torchnets.MODELS.items() if k != "ann"})
    report = suite.check_model("ann")
    assert [failure.check for failure in report.failures] == ["twins"]
    assert "missing in torchnets" in report.failures[0].diagnosis


def test_twins_that_say_different_things_of_themselves_are_a_failure(monkeypatch):
    entry = jaxnets.MODELS["ann"]._replace(num_params=109_771)
    monkeypatch.setattr(jaxnets, "MODELS", jaxnets.MODELS | {"ann": entry})
    assert "num_params is 109770 in torchnets, 109771 in jaxnets" in suite.check_model("ann").failures[0].diagnosis


def test_a_wrong_published_count_is_a_failure():
    report = parity.check(torch_net(), FlaxNet(), inputs(), num_params=400)
    assert report.failures[0].layer == "parameters"


# --- planted bugs ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_compiled")
def test_a_failure_shows_both_values_and_whether_the_input_agreed():
    inside = parity.check(torch_net(), FlaxNet(bug="SAME at stride 2 (4)"), inputs()).failures[0]
    assert "given PyTorch's input, its output is" in inside.diagnosis
    assert "PyTorch has" in inside.diagnosis
    assert "Flax" in inside.diagnosis
    between = parity.check(torch_net(), FlaxNet(bug="channels-last flatten (8)"), inputs()).failures[0]
    assert "what lies between bn1 and fc1 differs" in between.diagnosis


@pytest.mark.slow
def test_chaos_is_no_excuse(monkeypatch):
    """Under RMSprop the plain MLP is chaotic, and each step is judged on its own: a tiny bug is still found."""

    def optimizer(config, steps):
        table = factors(config.schedule, steps)
        rule = optax.rmsprop(
            lambda count: config.lr * jnp.asarray(table)[count], decay=0.99, eps=1.001e-8, eps_in_sqrt=False
        )
        return optax.chain(optax.add_decayed_weights(config.weight_decay), rule)

    monkeypatch.setattr(jaxnets.compose, "make_optimizer", optimizer)
    failure = suite.check_training("mlp", "rmsprop", steps=50).failure
    assert failure is not None
    assert "by one rounding" in failure.diagnosis


# --- other people's modules -----------------------------------------------------------------------------------------


class IsTraining(nn.Module):
    @nn.compact
    def __call__(self, x, is_training):
        x = nn.Dropout(0.5, name="drop", deterministic=not is_training)(nn.relu(nn.Dense(7, name="fc")(x)))
        return nn.Dense(3, name="head")(x)


@pytest.mark.usefixtures("without_compiled")
@pytest.mark.parametrize("module", [Deterministic(), IsTraining()])
def test_other_conventions_of_training_mode_are_read_off_the_signature(module):
    report = parity.check(Reference(), module, np.random.default_rng(0).normal(size=(5, 4)))
    assert report.ok, report.failures


@pytest.mark.usefixtures("without_compiled")
def test_the_users_modules_are_not_changed():
    net = torch_net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert parity.check(net, FlaxNet(), inputs()).ok
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert net.training
    assert jnp.ones(1).dtype == jnp.float32  # float64 was switched on for the check alone


@pytest.mark.usefixtures("without_compiled")
def test_a_module_that_crashes_is_a_failure():
    class Crash(Deterministic):
        def __call__(self, x, deterministic=True):
            if not deterministic:
                raise RuntimeError("no training today")
            return super().__call__(x)

    report = parity.check(Reference(), Crash(), np.ones((5, 4)))
    assert not report.ok
    assert any("no training today" in failure.diagnosis for failure in report.failures)


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_prints_every_check_and_writes_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(suite, "FEW_OPTIMIZERS", ("sgd",))
    assert run_checks(["ann"], tmp_path / "report.json") == 0
    out = capsys.readouterr().out
    assert "1 network: 14 checks hold, 0 fail" in out
    assert "trajectory sgd" in out
    assert "zero but for rounding, judged by the whole gradient" in " ".join(out.replace("│", "").split())
    (report,) = json.loads((tmp_path / "report.json").read_text())
    assert report["name"] == "ann"
    assert report["ok"] is True
    assert report["failures"] == []
    assert {"check", "error", "bound", "where"} <= report["checks"][0].keys()
    steps = report["checks"][-1]["steps"]
    assert {name: len(values) for name, values in steps.items()} == dict.fromkeys(
        Trajectory._fields, suite.QUICK_STEPS
    )
    assert steps["jax"] == pytest.approx(steps["torch"], rel=1e-12)
    assert 0 < max(steps["parameters"]) < 1e-12


def test_the_command_fails_with_a_missing_twin(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(jaxnets, "MODELS", {k: v for k, v in jaxnets.MODELS.items() if k != "mlp"})
    assert run_checks(["mlp"], tmp_path / "report.json") == 1
    assert "missing in jaxnets" in capsys.readouterr().out
    (report,) = json.loads((tmp_path / "report.json").read_text())
    assert report["failures"][0].keys() >= {"check", "stage", "layer", "error", "bound", "diagnosis"}


def test_an_unknown_network_is_refused_before_anything_runs():
    with pytest.raises(UserError, match=r"unknown model 'lenet'\. Did you mean 'lenet5'"):
        run_checks(["mlp", "lenet"], None)


# --- torchvision's own modules --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_compiled")
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "name", [n for n, e in torchvision.known().items() if e.num_params < 12_000_000 and not e.pretrained]
)
def test_torchvisions_own_module_is_our_flax_one(name, monkeypatch):
    optimised(monkeypatch)
    report = torchvision.compare(name)
    assert report.ok, report.failures


@pytest.mark.parametrize("name", [n for n, entry in torchvision.known().items() if entry.pretrained])
def test_it_still_is_as_the_published_weights_need_it(name):
    entry, x = torchvision.known()[name], suite.real_batches(torchvision.INPUT_SHAPE, 1, 0)[0].inputs[:2]
    module = randomised(torchvision.torchvision_module(name), x, 0)  # as it starts, its statistics drown the input
    differently = FlaxSide(entry.build(), np.float64).forward(TorchSide(module, np.float64).variables(), x).output
    for option, value in entry.pretrained.items():
        setattr(module, option, value)
    sides = TorchSide(module, np.float64), FlaxSide(entry.build(**entry.pretrained), np.float64)
    ours, theirs = sides[1].forward(sides[0].variables(), x).output, sides[0].forward(x).output
    assert relative_error(theirs, ours) <= FORWARD_EVAL
    assert relative_error(theirs, differently) > 1e-3  # the option is one that matters


def test_both_sides_take_real_images_for_the_same():
    agreement = torchvision.agree("resnet18", suite.real_batches(torchvision.INPUT_SHAPE, 1, 0)[0].inputs.astype("f4"))
    assert agreement.same == agreement.images == BATCH_SIZE
