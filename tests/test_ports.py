"""Any port through the public interface: proved, carried across, and its bugs located to the line on both sides."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import parity
from parity.ports import check_port
from tests.ports import FOLDER, NAMES, pair
from tests.ports.bugs import BUGS

QUICK = ("square", "dqn")  # an NNX module, a pair (apply, params)
BY_NAME = {bug.name: bug for bug in BUGS}


def checked(name: str, folder: Path = FOLDER, **options):
    torch_file, jax_file = pair(name, folder)
    jax_inputs = torch_file.jax_inputs() if hasattr(torch_file, "jax_inputs") else None
    return check_port(torch_file.make(), jax_file.make(), torch_file.inputs(), jax_inputs, name=name, **options)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_a_right_port_is_proved_and_its_weights_are_found(name):
    port = checked(name)
    assert port.ok, port.report.failures
    assert {r.check for r in port.report.results} >= {"weights", "forward, eval", "round trip", "gradients"}
    _, jax_file = pair(name)
    state = {key: array for key, array in port.pair.torch.parameters.items() if key in port.pair.torch.saved}
    state |= {key: state[first] for key, first in port.pair.torch.tied.items() if first in state}
    true = jax_file.weights(state)
    for path, array in port.pair.leaves.items():
        if path in true:
            np.testing.assert_allclose(array, true[path], rtol=1e-12, err_msg=path)


@pytest.mark.parametrize("name", ["dqn-leaky-slope", pytest.param("square-gate-inverted", marks=pytest.mark.slow)])
def test_a_bug_is_located_to_the_line_on_both_sides(name, tmp_path):
    bug = BY_NAME[name]
    bug.write(tmp_path)
    failure = checked(bug.pair, tmp_path).report.failures[0]
    assert failure.torch_line
    assert failure.jax_line
    assert any(text in failure.torch_line.text for text in bug.torch_lines), failure
    assert any(text in failure.jax_line.text for text in bug.jax_lines), failure
    assert bug.word in failure.diagnosis.lower()


class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = torch.nn.Linear(6, 6), torch.nn.Linear(6, 3)

    def forward(self, ids, scale):
        x = torch.nn.functional.one_hot(ids, 6).to(scale.dtype) * scale[:, None, None]
        return {"logits": self.outer(torch.tanh(self.inner(x))), "ids": ids}


def two(params, ids, scale):
    x = (ids[..., None] == np.arange(6)) * scale[:, None, None]
    hidden = jnp.tanh(x @ params["a"]["w"] + params["a"]["b"])
    return {"logits": hidden @ params["b"]["w"] + params["b"]["b"]}


def tree():
    zeros = {"a": {"w": np.zeros((6, 6)), "b": np.zeros(6)}, "b": {"w": np.zeros((6, 3)), "b": np.zeros(3)}}
    return two, zeros


INPUTS = {"ids": np.array([[0, 1, 2], [3, 4, 5]]), "scale": np.array([0.5, 2.0])}


def test_weights_are_carried_by_what_was_found():
    found = parity.match(Two(), tree(), INPUTS)
    assert found.ok, found.verdict
    state = {key: tensor.detach().numpy() for key, tensor in Two().state_dict().items()}
    carried = found.to_flax(state)
    leaves = {path: np.shape(array) for path, array in found.pair.leaves.items()}
    assert sorted(leaves.values()) == [(3,), (6,), (6, 3), (6, 6)]
    back = found.to_torch(carried)
    assert all(np.array_equal(back[key], state[key]) for key in state)


class Otherwise(Two):
    def forward(self, ids, scale):
        x = torch.nn.functional.one_hot(ids, 6).to(scale.dtype) * scale[:, None, None]
        return {"logits": self.outer(torch.sigmoid(self.inner(x)))}


def test_assert_port_says_what_differs():
    parity.assert_port(Two(), tree(), INPUTS)
    words = r"torch.sigmoid\(self.inner\(x\)\).*` against .*test_ports.py:.*jnp.tanh.*; tanh instead of sigmoid"
    with pytest.raises(AssertionError, match=words) as error:
        parity.assert_port(Otherwise(), tree(), INPUTS)
    message = str(error.value)
    assert message.startswith("different: tuple: ")
    assert "\ntry: mend tests/test_ports.py:" in message
    assert "FAIL" in message


def test_the_command_takes_inputs_of_any_kind_and_writes_a_page(run_parity, tmp_path):
    files = [f"{FOLDER}/dqn_torch.py:make", f"{FOLDER}/dqn_jax.py:make", "--inputs", f"{FOLDER}/dqn_torch.py:inputs"]
    code, out, err = run_parity(
        "check", *files, "--save-mapping", "rules.json", "--html", "page.html", "--json", "r.json"
    )
    assert (code, err) == (0, "")
    assert "made of PyTorch's" in out
    page = (tmp_path / "page.html").read_text()
    assert "the same" in page
    assert "http" not in page
    report = json.loads((tmp_path / "r.json").read_text())[0]
    assert report["verdict"] == "same"
    code, out, _ = run_parity("check", *files, "--mapping", "rules.json", "--for", "inference")
    assert code == 0
    assert "gradients" not in out


def test_batch_norm_of_flax_is_accepted_by_name():
    from flax import linen as nn

    class Norm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.bn = torch.nn.Linear(4, 5), torch.nn.BatchNorm1d(5, momentum=0.1)

        def forward(self, x):
            return self.bn(self.fc(x))

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5)(nn.Dense(5)(x))

    inputs = np.random.default_rng(0).normal(size=(7, 4))
    failure = check_port(Norm(), Flax(), inputs).report.failures[0]
    assert "trap 1" in failure.diagnosis
    report = parity.check(Norm(), Flax(), inputs, accept=["trap-1"])
    assert report.ok, report.failures
    assert "accepted by name: trap-1" in next(r.note for r in report.results if r.check == "statistics")
