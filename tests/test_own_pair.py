"""A pair of somebody who has never heard of this project: loading it, finding its names, checking it."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from torch import nn as torch_nn

import parity
from parity.checks.layer_match import match
from parity.sides.flax_side import FlaxSide
from tests import own_flax, own_torch

pytestmark = pytest.mark.usefixtures("without_compiled")

ROOT = Path(__file__).resolve().parents[1]
INPUTS = np.random.default_rng(0).normal(size=(4, 6, 6, 3))
LINEN = {
    "stem.0.weight": "params/Conv_0/kernel",
    "left.weight": "params/Conv_2/kernel",
    "right.weight": "params/Conv_1/kernel",
    "up.weight": "params/ConvTranspose_0/kernel",
    "point.weight": "params/Dense_0/kernel",
    "fc1.weight": "params/Dense_1/kernel",
    "fc2.weight": "params/Dense_3/kernel",
    "head.weight": "params/Dense_2/kernel",
}
NNX = {
    "stem.0.weight": "params/left/kernel",
    "stem.1.running_var": "batch_stats/norm/var",
    "left.weight": "params/stem/b/kernel",
    "right.weight": "params/stem/a/kernel",
    "up.weight": "params/transposed/kernel",
    "point.weight": "params/point/kernel",
    "fc1.weight": "params/layers_1/kernel",
    "fc2.weight": "params/layers_0/kernel",
    "head.weight": "params/fc1/kernel",
}


@pytest.mark.parametrize(
    ("make_torch", "make_flax", "keys"),
    [
        (own_torch.plain, own_flax.plain, LINEN),
        (own_torch.Net, lambda: own_flax.NnxNet(rngs=own_flax.nnx.Rngs(0)), NNX),
    ],
    ids=["linen", "nnx"],
)
def test_layers_are_found_whatever_they_are_called(make_torch, make_flax, keys):
    torch.manual_seed(0)
    found = match(make_torch(), FlaxSide(make_flax(), np.float64), INPUTS)
    assert {key: found.keys[key] for key in keys} == keys
    assert not found.ambiguous
    assert found.names.dropouts == {"F.dropout#0": found.names.dropouts["F.dropout#0"]}


def test_a_right_pair_with_other_names_passes_every_check():
    report = parity.check(own_torch.plain(), own_flax.plain(), INPUTS)
    assert report.ok, report.failures
    assert {r.check for r in report.results} >= {"forward, train", "gradients", "dropout", "float32 gradients"}


def test_flax_batch_norm_in_nnx_differs_in_its_variance_and_nothing_else():
    report = parity.check(own_torch.Net(), own_flax.NnxNet(rngs=own_flax.nnx.Rngs(0)), INPUTS)
    assert [(f.check, f.layer) for f in report.failures] == [("BatchNorm statistics", "stem_1/var")]
    assert "(trap 1)" in report.failures[0].diagnosis


def test_a_bug_does_not_hide_which_layer_is_which():
    torch.manual_seed(0)
    found = match(own_torch.plain(), FlaxSide(own_flax.shifted(), np.float64), INPUTS)
    assert {key: found.keys[key] for key in LINEN} == LINEN
    failure = parity.check(own_torch.plain(), own_flax.shifted(), INPUTS).failures[0]
    assert (failure.check, failure.layer) == ("forward, eval", "stem_0")
    assert "shifted padding" in failure.diagnosis


def test_layers_that_could_be_exchanged_are_said_to_be():
    class Torch(torch_nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch_nn.Linear(5, 5), torch_nn.Linear(5, 5)
            self.head = torch_nn.Linear(5, 2)

        def forward(self, x):
            return self.head(torch.relu(self.a(x)) + torch.relu(self.b(x)))

    class Flax(own_flax.nn.Module):
        @own_flax.nn.compact
        def __call__(self, x):
            nn = own_flax.nn
            return nn.Dense(2)(nn.relu(nn.Dense(5)(x)) + nn.relu(nn.Dense(5)(x)))

    inputs = np.random.default_rng(0).normal(size=(3, 5))
    found = match(Torch(), FlaxSide(Flax(), np.float64), inputs)
    assert {row.why for row in found.found if row.layer in "ab"} == {
        "its order of use: exchanged with its like, it would do the same"
    }
    assert parity.check(Torch(), Flax(), inputs).ok


def test_what_names_and_shapes_do_not_decide_the_values_do():
    inputs = np.random.default_rng(0).normal(size=(3, 5))
    assert parity.check(own_torch.Scaled(), own_flax.Scaled(), inputs).ok
    right, wrong = ({"first": f"params/{name}"} for name in ("inner", "outer"))
    assert parity.check(own_torch.Scaled(), own_flax.Scaled(), inputs, mapping=right).ok
    failures = parity.check(own_torch.Scaled(), own_flax.Scaled(), inputs, mapping=wrong).failures
    assert failures[0].check == "forward, eval"


def test_a_flax_module_of_a_fixed_dtype_is_judged_by_float32():
    class Narrow(own_flax.nn.Module):
        @own_flax.nn.compact
        def __call__(self, x):
            return own_flax.nn.Dense(4, dtype=np.float32)(x)

    report = parity.check(torch_nn.Linear(5, 4), Narrow(), np.random.default_rng(0).normal(size=(3, 5)))
    assert report.ok, report.failures
    assert any("computes in float32 at" in note and "Dense(4, dtype=np.float32)" in note for note in report.notes)


class TorchGate(torch_nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = torch_nn.Conv2d(8, 2, 1), torch_nn.Conv2d(2, 8, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


class FlaxGate(own_flax.nn.Module):
    """Its layers are matrices where PyTorch's are convolutions of one pixel: another layout of every activation."""

    stopped: bool

    @own_flax.nn.compact
    def __call__(self, x):
        nn = own_flax.nn
        gate = nn.sigmoid(nn.Dense(8)(nn.relu(nn.Dense(2)(x.mean((1, 2))))))
        if self.stopped:
            gate = jax.lax.stop_gradient(gate)
        return x * gate[:, None, None]


def test_a_fault_of_gradients_is_not_told_as_one_of_the_forward_pass_where_layers_are_laid_out_otherwise():
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 8))
    assert parity.check(TorchGate(), FlaxGate(stopped=False), images).ok
    (failure,) = parity.check(TorchGate(), FlaxGate(stopped=True), images).failures
    assert failure.check == "gradients"
    assert "gate = jax.lax.stop_gradient(gate)" in str(failure.jax_line)


def test_the_command_prints_the_names_and_saves_them_for_the_next_time(run_parity, tmp_path):
    pair, saved = (f"{ROOT}/tests/own_torch.py:plain", "tests.own_flax:plain", "--input", "4,6,6,3"), "names.json"
    code, out, err = run_parity("check", *pair, "--save-mapping", saved)
    assert (code, err) == (0, "")
    assert "what follows it" in out
    assert "0 fail" in out
    keys = json.loads((tmp_path / saved).read_text())
    assert LINEN.items() <= keys.items()
    code, out, err = run_parity("check", *pair, "--mapping", saved, "--json", "report.json")
    assert (code, err) == (0, "")
    assert "the mapping given" in out
    assert json.loads((tmp_path / "report.json").read_text())[0]["ok"] is True


def test_a_mapping_is_never_overwritten_and_its_faults_are_all_named(run_parity, tmp_path):
    pair = ("check", "tests.own_torch:plain", "tests.own_flax:plain", "--input", "4,6,6,3")
    saved = tmp_path / "names.json"
    saved.write_text(json.dumps(LINEN | {"fc7.weight": "params/Dense_9/kernel"}))
    assert "exists already" in one_line(run_parity(*pair, "--save-mapping", saved))
    words = one_line(run_parity(*pair, "--mapping", saved))
    assert "no 'fc7.weight'. Did you mean" in words
    assert "no 'params/Dense_9/kernel'. Did you mean" in words


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("tests.own_torch:Nett", "tests.own_flax:Net", "--input", "4,6,6,3"), "Did you mean 'Net'?"),
        (("tests.own_torch:NUMBER", "tests.own_flax:Net", "--input", "4,6,6,3"), "is int, expected a torch.nn.Module"),
        (("tests.own_torch:broken", "tests.own_flax:Net", "--input", "4,6,6,3"), "RuntimeError at "),
        (("no_such_module:make", "tests.own_flax:Net", "--input", "4,6,6,3"), "cannot be imported"),
        (("tests.own_torch:Net", "tests.own_flax:Net", "--input", "4,6,6,x"), "channels last"),
        (("tests.own_torch:Net", "tests.own_flax:Net", "--input", "1,6,6,3"), "at least two examples"),
        (("tests.own_torch:Net", "--input", "4,6,6,3"), "check my_torch:make my_flax:make"),
        (("lenet5", "--input", "4,6,6,3"), "are for a pair of yours"),
        (
            ("tests.own_torch:Net", "tests.own_flax:Net", "--input", "4,6,6,5"),
            "channels, but got 6 channels",
        ),
        (
            ("tests.own_torch:Net", "tests.own_flax:Net", "--input", "4,6,6,3", "--accept", "trap-9"),
            "known are trap-1",
        ),
    ],
)
def test_a_wrong_argument_is_one_line(run_parity, argv, words):
    result = run_parity("check", *argv)
    assert words in one_line(result)
    assert result[0] == (2 if any(":" in word for word in argv) else 1)


def one_line(result: tuple[int, str, str]) -> str:
    code, _, err = result
    assert code in (1, 2)
    assert len(err.strip().splitlines()) == 1, err
    assert err.startswith("error: ")
    return err
