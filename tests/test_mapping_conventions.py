"""The candidates hold what the libraries' layers need: each is run with it and computes what PyTorch's layer does."""

from collections.abc import Iterator, Mapping
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from jax import lax

from experiment.weights.conversion import unflatten
from parity.mapping.candidates import rules
from parity.mapping.file import parse_rule

KEY = jax.random.key(0)


def state_of(module: torch.nn.Module) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    for tensor in module.state_dict().values():
        tensor.normal_()
    return {key: tensor.numpy() for key, tensor in module.state_dict().items()}


def leaf(state: Mapping[str, np.ndarray], text: str, kind: str = "") -> jax.Array:
    """Return the leaf of a rule, which must be a candidate among all tensors of the layer."""
    rule, shapes = parse_rule(text), {key: array.shape for key, array in state.items()}
    wanted = rule(state)
    assert any(np.array_equal(found(state), wanted) for found in rules(shapes, wanted.shape, kind)), text
    return jnp.asarray(wanted)


def close(found: Any, expected: torch.Tensor) -> None:
    np.testing.assert_allclose(np.asarray(found), expected.detach().numpy(), atol=2e-5)


def lstm() -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, torch.Tensor]]:
    module = torch.nn.LSTM(3, 4, batch_first=True)
    state, x = state_of(module), np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    yield state, x, module(torch.tensor(x))[0]


def scanned(cell: Any, carry: Any, x: np.ndarray) -> jax.Array:
    """Return the hidden states of an Equinox cell."""

    def one(sequence: jax.Array) -> jax.Array:
        def step(carry: Any, value: jax.Array) -> tuple[Any, jax.Array]:
            carry = cell(value, carry)
            return carry, carry[0] if isinstance(carry, tuple) else carry

        return lax.scan(step, carry, sequence)[1]

    return jax.vmap(one)(jnp.asarray(x))


@pytest.mark.parametrize("cell", [nn.OptimizedLSTMCell, nn.LSTMCell])
def test_lstm_of_linen(cell: type) -> None:
    state, x, expected = next(lstm())
    variables = {}
    for n, gate in enumerate("ifgo"):
        take = f"take {n} of 4 along 0"
        variables[f"params/cell/i{gate}/kernel"] = leaf(state, f"weight_ih_l0: {take}; o i -> i o")
        variables[f"params/cell/h{gate}/kernel"] = leaf(state, f"weight_hh_l0: {take}; o i -> i o")
        variables[f"params/cell/h{gate}/bias"] = leaf(state, f"bias_ih_l0, bias_hh_l0: {take}; sum")
    close(nn.RNN(cell(4)).apply(unflatten(variables), x), expected)


def test_lstm_of_nnx() -> None:
    state, x, expected = next(lstm())
    cell = nnx.OptimizedLSTMCell(3, 4, rngs=nnx.Rngs(0))
    cell.dense_i.kernel.set_value(leaf(state, "weight_ih_l0: o i -> i o", "rnn"))
    cell.dense_h.kernel.set_value(leaf(state, "weight_hh_l0: o i -> i o", "rnn"))
    assert cell.dense_h.bias is not None
    cell.dense_h.bias.set_value(leaf(state, "bias_ih_l0, bias_hh_l0: sum", "rnn"))
    close(nnx.RNN(cell)(jnp.asarray(x)), expected)


def test_lstm_of_equinox() -> None:
    state, x, expected = next(lstm())
    texts = "weight_ih_l0", "weight_hh_l0", "bias_ih_l0, bias_hh_l0: sum"
    where = lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias)  # noqa: E731
    cell = eqx.tree_at(where, eqx.nn.LSTMCell(3, 4, key=KEY), tuple(leaf(state, text, "rnn") for text in texts))
    close(scanned(cell, (jnp.zeros(4), jnp.zeros(4)), x), expected)


def test_lstm_as_haiku_writes_it() -> None:
    state, x, expected = next(lstm())
    order = "reorder 0: 0 2 1 3 of 4"
    w = leaf(state, f"weight_ih_l0, weight_hh_l0: {order}; o i -> i o; concat 0")
    b = leaf(state, f"bias_ih_l0, bias_hh_l0: {order}; sum; add -1 to 2 of 4 along 0")

    def cell(value: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        hidden, memory = carry
        i, g, f, o = jnp.split(jnp.concatenate([value, hidden]) @ w + b, 4)
        memory = jax.nn.sigmoid(f + 1) * memory + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(memory), memory

    close(scanned(cell, (jnp.zeros(4), jnp.zeros(4)), x), expected)


def test_gru_of_linen_and_equinox() -> None:
    module = torch.nn.GRU(3, 4, batch_first=True)
    state, x = state_of(module), np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    expected = module(torch.tensor(x))[0]
    variables = {}
    for n, gate in enumerate("rzn"):
        take = f"take {n} of 3 along 0"
        variables[f"params/cell/i{gate}/kernel"] = leaf(state, f"weight_ih_l0: {take}; o i -> i o")
        variables[f"params/cell/h{gate}/kernel"] = leaf(state, f"weight_hh_l0: {take}; o i -> i o")
        both = f"bias_ih_l0, bias_hh_l0: {take}; sum" if gate != "n" else f"bias_ih_l0: {take}"
        variables[f"params/cell/i{gate}/bias"] = leaf(state, both)
    variables["params/cell/hn/bias"] = leaf(state, "bias_hh_l0: take 2 of 3 along 0")
    close(nn.RNN(nn.GRUCell(4)).apply(unflatten(variables), x), expected)
    texts = (
        "weight_ih_l0",
        "weight_hh_l0",
        "bias_ih_l0, bias_hh_l0: [1 of 2] blank 2 of 3 along 0; sum",
        "bias_hh_l0: take 2 of 3 along 0",
    )
    where = lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias, cell.bias_n)  # noqa: E731
    cell = eqx.tree_at(where, eqx.nn.GRUCell(3, 4, key=KEY), tuple(leaf(state, text, "rnn") for text in texts))
    close(scanned(cell, jnp.zeros(4), x), expected)


def test_attention_of_linen() -> None:
    module = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    state, x = state_of(module), np.random.default_rng(0).normal(size=(2, 5, 12)).astype(np.float32)
    variables = {}
    for n, name in enumerate(("query", "key", "value")):
        variables[f"params/{name}/kernel"] = leaf(
            state, f"in_proj_weight: take {n} of 3 along 0; (h d) i -> i h d | h=3"
        )
        variables[f"params/{name}/bias"] = leaf(state, f"in_proj_bias: take {n} of 3 along 0; (h d) -> h d | h=3")
    variables["params/out/kernel"] = leaf(state, "out_proj.weight: o (h d) -> h d o | h=3")
    variables["params/out/bias"] = leaf(state, "out_proj.bias")
    flax = nn.MultiHeadDotProductAttention(3, qkv_features=12)
    close(flax.apply(unflatten(variables), x), module(*[torch.tensor(x)] * 3, need_weights=False)[0])


@pytest.mark.parametrize(
    ("transpose_kernel", "text"),
    [(False, "weight: flip 2 3; i o h w -> h w i o"), (True, "weight: i o h w -> h w o i")],
)
def test_transposed_convolution_of_linen(transpose_kernel: bool, text: str) -> None:
    module = torch.nn.ConvTranspose2d(4, 4, (2, 3), (2, 3), bias=False)
    state, x = state_of(module), np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
    flax = nn.ConvTranspose(4, (2, 3), (2, 3), padding="VALID", transpose_kernel=transpose_kernel, use_bias=False)
    found = flax.apply({"params": {"kernel": leaf(state, text, "conv_transpose")}}, x.transpose(0, 2, 3, 1))
    close(np.asarray(found).transpose(0, 3, 1, 2), module(torch.tensor(x)))


def test_transposed_convolution_of_equinox_in_groups() -> None:
    module = torch.nn.ConvTranspose1d(6, 4, 3, stride=2, groups=2, bias=False)
    state, x = state_of(module), np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    text = "weight: flip 2; (g i) o w -> (g o) i w | g=2"
    layer = eqx.nn.ConvTranspose1d(6, 4, 3, stride=2, groups=2, use_bias=False, key=KEY)
    layer = eqx.tree_at(lambda layer: layer.weight, layer, leaf(state, text, "conv_transpose"))
    close(layer(jnp.asarray(x)), module(torch.tensor(x)))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolution_of_linen_in_groups(groups: int) -> None:
    module = torch.nn.Conv2d(4, 8, 3, groups=groups)
    state, x = state_of(module), np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
    variables = {"kernel": leaf(state, "weight: o i h w -> h w i o", "conv"), "bias": leaf(state, "bias")}
    flax = nn.Conv(8, (3, 3), padding="VALID", feature_group_count=groups)
    found = np.asarray(flax.apply({"params": variables}, x.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)
    close(found, module(torch.tensor(x)))


def test_patches_and_flattened_images() -> None:
    convolution, head = torch.nn.Conv2d(3, 8, 2, 2, bias=False), torch.nn.Linear(24, 5, bias=False)
    state, x = state_of(torch.nn.ModuleList([convolution, head])), np.random.default_rng(0).normal(size=(2, 3, 4, 2))
    x = x.astype(np.float32)
    last = x.transpose(0, 2, 3, 1)
    patches = last.reshape(2, 2, 2, 1, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 2, 12)
    found = patches @ leaf({"w": state["0.weight"]}, "w: o i h w -> (h w i) o")
    close(found, convolution(torch.tensor(x)).flatten(2).mT)
    flat = last.reshape(2, 24) @ leaf({"w": state["1.weight"]}, "w: o (c h w) -> (h w c) o | h=4 w=2")
    close(flat, head(torch.tensor(x).flatten(1)))
