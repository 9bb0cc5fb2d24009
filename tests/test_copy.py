"""Comparing and copying tensors: what every check of `parity` stands on."""

import math

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given

import jaxnets
import torchnets
from parity import suite
from parity.copy import CopyError, flatten, state_dict_from_weights, to_flax, to_torch, variables_from_weights
from parity.report.compare import compare, relative_error
from tests.pairs import TorchNet

# --- comparing ------------------------------------------------------------------------------------------------------

# Down to where squares underflow, but not to where a relative change of 1e-12 does.
sizes = st.floats(1e-200, 1e200)
elements = st.one_of(st.just(0.0), sizes, sizes.map(lambda x: -x))
finite_arrays = hnp.arrays(np.float64, hnp.array_shapes(max_dims=3), elements=elements)


@given(finite_arrays)
def test_equal_tensors_have_no_error(array):
    assert relative_error(array, array.copy()) == 0


@given(finite_arrays, st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_what_is_not_finite_never_passes(array, poison, draw):
    bad = array.copy()
    bad.flat[draw.draw(st.integers(0, array.size - 1))] = poison
    for pair in ((array, bad), (bad, array), (bad, bad)):
        assert relative_error(*pair) == math.inf
    assert not compare({"x": array}, {"x": bad}, 1e300)[0].ok


@given(finite_arrays, st.floats(1e-12, 1e-3))
def test_the_error_is_relative_to_the_reference(array, epsilon):
    error = relative_error(array, array * (1 + epsilon))
    assert error == 0 if not array.any() else error == pytest.approx(epsilon, rel=1e-3)


def test_shapes_and_missing_tensors_never_pass():
    one, two = {"a": np.ones(3), "b": np.ones(3)}, {"a": np.ones((3, 1)), "c": np.ones(3)}
    assert [d.ok for d in compare(one, two, 1e300)] == [False] * 3
    assert relative_error(np.zeros(3), np.full(3, 1e-30)) == math.inf


# --- copying --------------------------------------------------------------------------------------------------------

names = st.text("abcdefgh", min_size=1, max_size=4)


@given(st.data())
def test_copies_are_bit_exact_there_and_back(draw):
    state = {}
    for layer in draw.draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        index = draw.draw(st.sampled_from(["", ".0", ".12.conv"]))
        ndim = draw.draw(st.integers(1, 5))
        shape = draw.draw(hnp.array_shapes(min_dims=ndim, max_dims=ndim, max_side=4))
        state[f"{layer}{index}.weight"] = draw.draw(hnp.arrays(np.float32, shape))
        state[f"{layer}{index}.bias"] = draw.draw(hnp.arrays(np.float32, shape[:1]))
        state[f"{layer}{index}.running_var"] = draw.draw(hnp.arrays(np.float64, shape[:1]))
        state[f"{layer}{index}.num_batches_tracked"] = np.array(draw.draw(st.integers(0, 2**60)))
    back = to_torch(to_flax(state), state)
    assert list(back) == list(state)
    for key, array in state.items():
        assert back[key].dtype == array.dtype
        assert back[key].shape == array.shape
        assert back[key].tobytes() == array.tobytes()


def test_a_convolutions_kernel_and_a_linears_land_where_flax_wants_them():
    state = {"a.0.conv.weight": np.zeros((2, 3, 5, 7)), "fc.weight": np.zeros((2, 3)), "bn.weight": np.zeros(4)}
    shapes = {path: array.shape for path, array in flatten(to_flax(state)).items()}
    assert shapes == {"params/a_0/conv/kernel": (5, 7, 3, 2), "params/fc/kernel": (3, 2), "params/bn/scale": (4,)}


def test_all_that_does_not_match_is_listed_at_once():
    net = TorchNet()
    variables = to_flax(net.state_dict())
    del variables["params"]["fc1"]["bias"]
    variables["params"]["fc2"]["kernel"] = np.zeros((16, 6))
    variables["params"]["fc9"] = {"bias": np.zeros(1)}
    with pytest.raises(CopyError) as error:
        to_torch(variables, net)
    message = str(error.value)
    for words in (
        "3 tensors",
        "missing fc1.bias",
        "unexpected params/fc9/bias",
        "fc2.weight is (6, 16), expected (5, 16)",
    ):
        assert words in message


def test_a_key_without_a_rule_and_two_keys_for_one_place_are_refused():
    with pytest.raises(CopyError, match=r"no rule for the PyTorch tensor 'x\.gamma'"):
        to_flax({"x.gamma": np.zeros(1)})
    with pytest.raises(CopyError, match="would both become 'params/a_0/bias'"):
        to_flax({"a.0.bias": np.zeros(1), "a_0.bias": np.zeros(1)})


def test_a_copy_does_not_change_with_the_module():
    net = TorchNet()
    variables = to_flax(net.state_dict())
    before = variables["params"]["fc1"]["bias"].copy()
    net.fc1.bias.data += 1  # trap 22
    assert (variables["params"]["fc1"]["bias"] == before).all()


@pytest.mark.parametrize("name", suite.names())
def test_weight_files_of_either_framework_serve_both(name):
    entry = torchnets.MODELS[name]
    net, module = (side.MODELS[name].build(**entry.small.options) for side in (torchnets, jaxnets))
    state = {key: tensor.numpy().copy() for key, tensor in net.state_dict().items()}
    template = jax.eval_shape(
        module.init, jax.random.key(0), jnp.zeros((1, *(entry.small.input_shape or entry.input_shape)))
    )
    template = jax.tree.map(lambda t: np.zeros(t.shape, t.dtype), template)
    variables = variables_from_weights(state, template)
    back = state_dict_from_weights(flatten(variables), net.state_dict())
    assert all(torch.equal(back[key], tensor) for key, tensor in net.state_dict().items())
    same = state_dict_from_weights(state, net.state_dict())
    assert all(torch.equal(same[key], tensor) for key, tensor in net.state_dict().items())
    with pytest.raises(CopyError, match="unexpected"):
        state_dict_from_weights(state | {"x.bias": np.zeros(1)}, net.state_dict())
