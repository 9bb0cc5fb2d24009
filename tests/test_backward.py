"""Gradients that differ where the forward pass agrees: located to the operation on both sides, and named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.utils.checkpoint

from parity.align.culprits import gradient_differences
from parity.align.pair import align
from parity.ports import check_port
from tests.ports import pair
from tests.ports.bugs import BUGS

INPUT = np.random.default_rng(3).normal(size=(4, 5))
PARAMS = {"a": {"w": np.zeros((5, 5)), "b": np.zeros(5)}, "b": {"w": np.zeros((5, 3)), "b": np.zeros(3)}}


class Net(torch.nn.Module):
    def __init__(self, middle):
        super().__init__()
        self.middle, self.inner, self.outer = middle, torch.nn.Linear(5, 5), torch.nn.Linear(5, 3)

    def forward(self, x):
        return self.outer(self.middle(self.inner(x)))


def failures(torch_middle, jax_middle):
    def apply(params, x):
        h = jax_middle(x @ params["a"]["w"] + params["a"]["b"])
        return h @ params["b"]["w"] + params["b"]["b"]

    return check_port(Net(torch_middle), (apply, PARAMS), INPUT).report.failures


def gated(h):
    gate = torch.tanh(h)
    return h * gate


def jax_gated(h):
    gate = jnp.tanh(h)
    return h * gate


def jax_gate_stopped(h):
    gate = jax.lax.stop_gradient(jnp.tanh(h))
    return h * gate


def gate_detached(h):
    gate = torch.tanh(h)
    return h * gate.detach()


def hooked(h):
    gate = torch.tanh(h)
    gate.register_hook(lambda grad: 3 * grad)
    return h * gate


def under_no_grad(h):
    with torch.no_grad():
        gate = torch.tanh(h)
    return h * gate


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h):
        ctx.factor = 2
        return torch.tanh(h)

    @staticmethod
    def backward(ctx, *grad_outputs):
        return ctx.factor * grad_outputs[0]


def with_function(h):
    gate = Doubled.apply(h)
    return h * gate


@jax.custom_vjp
def identity(h):
    return h


identity.defvjp(lambda h: (h, None), lambda _, grad: (0.25 * grad,))


def jax_quarter(h):
    gate = identity(jnp.tanh(h))
    return h * gate


def clamped(h):
    h = torch.where(h > 0, h - h.detach(), h)
    return torch.clamp(h, min=0) - h


def jax_maximum(h):
    h = jnp.where(h > 0, h - jax.lax.stop_gradient(h), h)
    return jnp.maximum(h, 0) - h


def rounded(h):
    return torch.round(4 * h)


def jax_straight_through(h):
    h = 4 * h
    return h + jax.lax.stop_gradient(jnp.round(h) - h)


def jax_statistics_stopped(h):
    mean = h.mean(-1, keepdims=True)
    variance = jax.lax.stop_gradient(((h - mean) ** 2).mean(-1, keepdims=True))
    return (h - mean) / jnp.sqrt(variance + 1e-5)


def normalised(h):
    return torch.nn.functional.layer_norm(h, (5,))


def bounded(h):
    h = torch.where(h > 0.3, h - h.detach() + 0.3, h)
    return h * torch.clamp(h, -5, 0.3)


def jax_bounded(h):
    h = jnp.where(h > 0.3, h - jax.lax.stop_gradient(h) + 0.3, h)
    return h * jnp.clip(h, -5, 0.3)


def lengths(h):
    z = torch.cat([h[:2] - h[:2].detach(), h[2:]])
    return h * torch.linalg.norm(z, dim=-1, keepdim=True)


def jax_lengths(h):
    z = jnp.concatenate([h[:2] - jax.lax.stop_gradient(h[:2]), h[2:]])
    return h * jnp.sqrt((z * z).sum(-1, keepdims=True))


def largest(h):
    top = torch.cat([h, h[:, :2] * 0 + h.detach().max()], -1)
    return h * top.max(-1, keepdim=True).values


def jax_largest(h):
    top = jnp.concatenate([h, h[:, :2] * 0 + jax.lax.stop_gradient(h).max()], -1)
    return h * top.max(-1, keepdims=True)


def attention(h):
    weights = torch.softmax(h @ h.T, -1)
    return weights @ h


def jax_attention_stopped(h):
    weights = jax.nn.softmax(h @ jax.lax.stop_gradient(h).T, -1)
    return weights @ h


def recurrent(h):
    state, states = torch.zeros(5), []
    for x in h:
        state = torch.tanh(state + x)
        states.append(state)
    return torch.stack(states)


def jax_recurrent_stopped(h):
    def step(state, x):
        state = jnp.tanh(jax.lax.stop_gradient(state) + x)
        return state, state

    return jax.lax.scan(step, jnp.zeros(5), h)[1]


def checkpointed(h):
    def inner(a):
        return a * torch.tanh(h)

    return torch.utils.checkpoint.checkpoint(inner, h.detach().requires_grad_(), use_reentrant=False)


@jax.custom_vjp
def root_mean_square(h):
    return h / jnp.sqrt((h * h).mean(-1, keepdims=True) + 1e-2)


def without_epsilon(h, grad):
    return jax.vjp(lambda h: h / jnp.sqrt((h * h).mean(-1, keepdims=True)), h)[1](grad)


root_mean_square.defvjp(lambda h: (root_mean_square(h), h), without_epsilon)


def jax_normalised(h):
    return root_mean_square(h)


def root_normalised(h):
    return h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-2)


GATE, PRODUCT = "gate = torch.tanh(h)", "return h * gate"
JAX_GATE = "gate = jnp.tanh(h)"
# Both functions, PyTorch's lines that are right, JAX's, and what is said.
CASES = {
    "stop_gradient": (gated, jax_gate_stopped, (GATE, PRODUCT), ("stop_gradient(jnp.tanh(h))",), "stop_gradient lets"),
    "detach": (gate_detached, jax_gated, ("gate.detach()",), (PRODUCT,), "detach() lets"),
    "custom": (gated, jax_quarter, (GATE, PRODUCT), ("identity(jnp.tanh(h))",), "own rule of the derivative"),
    "hook": (hooked, jax_gated, ("gate.register_hook",), (JAX_GATE,), "hook of PyTorch's"),
    "no_grad": (under_no_grad, jax_gated, (GATE,), (JAX_GATE, PRODUCT), "no_grad lets"),
    "function": (with_function, jax_gated, ("Doubled.apply(h)",), (JAX_GATE,), "autograd.Function"),
    "tie": (clamped, jax_maximum, ("torch.clamp",), ("jnp.maximum(h, 0) - h",), "where the operand is 0"),
    "rounding": (
        rounded,
        jax_straight_through,
        ("torch.round",),
        ("stop_gradient(jnp.round(h) - h)",),
        "stop_gradient",
    ),
    "statistics": (
        normalised,
        jax_statistics_stopped,
        ("functional.layer_norm(h",),
        ("variance = jax.lax.stop_gradient",),
        "stop_gradient lets",
    ),
    "bound": (bounded, jax_bounded, ("torch.clamp",), ("jnp.clip",), "operand is 0.3: a tie"),
    "square root": (lengths, jax_lengths, ("linalg.norm",), ("jnp.sqrt",), "not finite in 10 of 20"),
    "maximum": (largest, jax_largest, ("top.max(",), ("top.max(",), "ties"),
    "attention": (
        attention,
        jax_attention_stopped,
        ("torch.softmax(",),
        ("jax.lax.stop_gradient(h).T",),
        "stop_gradient",
    ),
    "recurrent": (
        recurrent,
        jax_recurrent_stopped,
        ("torch.tanh(state + x)",),
        ("stop_gradient(state) + x",),
        "stop_gradient",
    ),
    "checkpoint": (checkpointed, jax_gated, ("h.detach().requires_grad_()",), (PRODUCT,), "detach() lets"),
    "epsilon": (root_normalised, jax_normalised, ("torch.rsqrt(",), ("root_mean_square(h)",), "own rule"),
}


@pytest.mark.parametrize(
    "name", [n if n in ("detach", "custom") else pytest.param(n, marks=pytest.mark.slow) for n in CASES]
)
def test_a_gradient_alone_is_located_to_the_operation(name):
    torch_middle, jax_middle, torch_lines, jax_lines, words = CASES[name]
    found = failures(torch_middle, jax_middle)
    assert len(found) == 1, found
    assert found[0].stage == "backward"
    assert any(line in str(found[0].torch_line) for line in torch_lines), found[0]
    assert any(line in str(found[0].jax_line) for line in jax_lines), found[0]
    assert words in found[0].diagnosis


@pytest.mark.slow
def test_each_independent_difference_is_reported_once():
    def both(h):
        return gate_detached(h) + with_function(h)

    def jax_both(h):
        return jax_gated(h) + h * jnp.tanh(h)

    found = failures(both, jax_both)
    assert sorted(str(f.torch_line).partition(" ")[2] for f in found) == [
        "`gate = Doubled.apply(h)`",
        "`return h * gate.detach()`",
    ]


@pytest.mark.slow
def test_the_gradient_of_an_input_alone_is_located():
    def apply(params, x):
        x = jax.lax.stop_gradient(x)
        h = jnp.tanh(x @ params["a"]["w"] + params["a"]["b"])
        return h @ params["b"]["w"] + params["b"]["b"]

    port = align(Net(torch.tanh), (apply, PARAMS), INPUT)
    found = gradient_differences(port, {"output": np.random.default_rng(0).normal(size=(4, 3))})
    assert len(found) == 1
    assert "x = jax.lax.stop_gradient(x)" in str(found[0].jax_line)
    assert "self.inner(x)" in str(found[0].torch_line)


def test_a_right_pair_has_no_difference_value_by_value():
    assert not failures(gated, jax_gated)


@pytest.mark.slow
@pytest.mark.parametrize("bug", [pytest.param(b, id=b.name) for b in BUGS if b.backward])
def test_a_planted_gradient_is_located_on_both_sides(bug, tmp_path):
    bug.write(tmp_path)
    torch_file, jax_file = pair(bug.pair, tmp_path)
    jax_inputs = torch_file.jax_inputs() if hasattr(torch_file, "jax_inputs") else None
    failure = check_port(torch_file.make(), jax_file.make(), torch_file.inputs(), jax_inputs).report.failures[0]
    assert any(text in str(failure.torch_line) for text in bug.torch_lines), failure
    assert any(text in str(failure.jax_line) for text in bug.jax_lines), failure
    assert bug.word in failure.diagnosis.lower()
