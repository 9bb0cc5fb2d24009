"""Any port through the public interface: proved, carried across, and its bugs located to the line on both sides."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import parity
from parity.ports import check_port
from tests.ports import FOLDER, NAMES, named, pair
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
    found = port.pair.leaves
    true = named(true, found)
    assert true.keys() <= found.keys()
    for path, array in true.items():
        np.testing.assert_allclose(found[path], array, rtol=1e-12, err_msg=path)


SLOW = (
    "square-gate-inverted",
    "gpt-residual-left-out",
    "gpt-softmax-axis",
    "llama-rotary-not-on-keys",
    "llama-mask-off-by-one",
    "bert-mask-inverted",
    "unet-groups",
    "unet-transposed-padding",
    "gemma-rms-epsilon",  # smaller than float32's rounding of one operation
    "gemma-exact-gelu",
    "gemma-bfloat16-softmax",
    "bare-float16",
)


@pytest.mark.parametrize("name", ["dqn-leaky-slope", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_bug_is_located_to_the_line_on_both_sides(name, tmp_path):
    bug = BY_NAME[name]
    bug.write(tmp_path)
    failure = checked(bug.pair, tmp_path).report.failures[0]
    assert failure.torch_line
    assert failure.jax_line
    assert any(text in failure.torch_line.text for text in bug.torch_lines), failure
    assert any(text in failure.jax_line.text for text in bug.jax_lines), failure
    assert bug.word in failure.diagnosis.lower()


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.leave = torch.nn.Linear(6, 8, bias=False), torch.nn.Linear(8, 6, bias=False)

    def forward(self, x):
        y = torch.tanh(self.enter(x))
        return x + self.leave(y)


def block_without_the_sum(params, x):
    y = jnp.tanh(x @ params["enter"])
    return y @ params["leave"]


def blocks_without_the_sum(params, x):
    for layer in ("a", "b"):
        x = block_without_the_sum(params[layer], x)
    return x


def test_what_is_left_out_at_the_end_of_a_block_is_located_there_and_layers_are_one_cause():
    module = torch.nn.Sequential(Block(), Block())
    params = {layer: {"enter": np.zeros((6, 8)), "leave": np.zeros((8, 6))} for layer in "ab"}
    inputs = np.random.default_rng(0).normal(size=(5, 6))
    (failure,) = check_port(module, (blocks_without_the_sum, params), inputs).report.failures
    assert failure.torch_line is not None
    assert failure.jax_line is not None
    assert failure.torch_line.text == "return x + self.leave(y)"
    assert failure.jax_line.text == 'return y @ params["leave"]'
    assert "residual" in failure.diagnosis
    assert failure.diagnosis.endswith("in 2 layers: 0, 1")


class Saturating(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)

    def forward(self, x):
        x = self.first(torch.relu(x))
        x = torch.tanh(x)
        return self.second(x)


def rectifying(params, x):
    x = jax.nn.relu(x) @ params["first"] + params["b"]
    x = jax.nn.relu(x)  # not tanh
    return x @ params["second"] + params["c"]


def test_a_function_with_a_derivative_of_its_own_has_the_line_that_calls_it():
    params = {"first": np.zeros((6, 6)), "b": np.zeros(6), "second": np.zeros((6, 6)), "c": np.zeros(6)}
    inputs = np.random.default_rng(0).normal(size=(5, 6))
    (failure,) = check_port(Saturating(), (rectifying, params), inputs).report.failures
    assert failure.cause == "ReLU instead of tanh"
    assert failure.jax_line is not None
    assert failure.jax_line.text == "x = jax.nn.relu(x)  # not tanh"


class Masked(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scores = torch.nn.Linear(6, 6, bias=False)

    def forward(self, x, visible):
        far = (1 - visible) * -10000.0
        scores = self.scores(x) + far
        return torch.softmax(scores, dim=-1)


def masked_inverted(params, x, visible):
    hidden = visible > 0
    scores = x @ params["w"]
    scores = jnp.where(hidden, -1e30, scores)
    return jax.nn.softmax(scores, axis=-1)


def test_a_mask_is_judged_where_it_meets_the_data():
    inputs = {"x": np.random.default_rng(0).normal(size=(4, 6)), "visible": np.array([1, 1, 0, 1, 0, 1])}
    failure = check_port(Masked(), (masked_inverted, {"w": np.zeros((6, 6))}), inputs).report.failures[0]
    assert failure.torch_line is not None
    assert failure.jax_line is not None
    assert failure.torch_line.text == "scores = self.scores(x) + far"
    assert failure.jax_line.text == "scores = jnp.where(hidden, -1e30, scores)"
    assert "mask is inverted" in failure.diagnosis


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
