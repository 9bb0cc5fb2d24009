"""Each transformation around the step against an independent oracle, in float64; and all of them together."""

import copy
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from hypothesis import given, settings

import jaxnets
import jaxnets.compose
import jaxnets.gradient_transforms
import jaxnets.snapshot as snapshot
import torchnets
import torchnets.compose
import torchnets.gradient_transforms
from data import Batch
from experiment.config import Config
from jaxnets.averaging import AveragedState
from jaxnets.gradient_transforms import freeze, without_frozen
from parity.copy import flatten, to_flax
from parity.suite import real_batches
from tests.quick import slow_unless
from torchnets.tensors import as_tensors


@settings(deadline=None)
@given(weight=st.floats(1e-6, 10), seed=st.integers(0, 99))
def test_l1_adds_its_sign_to_the_gradient_and_nothing_to_the_loss(weight, seed):
    rng = np.random.default_rng(seed)
    values, data = rng.integers(-1, 2, 6) * rng.random(6), rng.normal(size=6)  # some are exactly 0
    with jax.enable_x64(True):
        grad = jaxnets.gradient_transforms.with_l1(jax.grad, weight)
        objective: Any = grad(lambda p: ((p["w"] * data).sum(), (p["w"] * data).sum()), has_aux=True)
        found, loss = objective({"w": jnp.asarray(values)})
    p = torch.nn.Parameter(torch.tensor(values))
    penalised = torchnets.gradient_transforms.with_l1(lambda x, _: x.sum(), [p], weight)
    value = penalised(p * torch.tensor(data), torch.zeros(0))
    value.backward()
    np.testing.assert_allclose(found["w"], data + weight * np.sign(values), rtol=1e-12, atol=1e-15)
    assert p.grad is not None
    np.testing.assert_allclose(p.grad, data + weight * np.sign(values), rtol=1e-12, atol=1e-15)
    assert float(loss) == pytest.approx((values * data).sum(), rel=1e-12)
    assert value.item() == pytest.approx((values * data).sum(), rel=1e-12)


@settings(deadline=None)
@given(limit=st.floats(1e-3, 10), scale=st.floats(1e-3, 1e3))
def test_the_hook_clips_as_pytorch_s_function_does_before_the_update(limit, scale):
    grads = torch.tensor(np.random.default_rng(0).normal(scale=scale, size=7))
    ours, theirs = (torch.nn.Parameter(torch.zeros(7, dtype=torch.float64)) for _ in range(2))
    optimizer, own = torch.optim.SGD([ours], 1.0), torch.optim.SGD([theirs], 1.0)
    torchnets.gradient_transforms.clip_by_norm(optimizer, limit)
    ours.grad, theirs.grad = grads.clone(), grads.clone()
    optimizer.step()
    torch.nn.utils.clip_grad_norm_([theirs], limit)
    own.step()
    np.testing.assert_array_equal(ours.detach(), theirs.detach())


class Half:
    """A network with a frozen layer."""

    def is_trained(self, name: str) -> bool:
        return name == "head"


def test_frozen_parameters_have_no_gradient_no_state_and_no_update():
    params = {name: {"kernel": jnp.ones((2, 2))} for name in ("body", "head")}
    grad: Any = without_frozen(jax.grad, Half())(
        lambda p: (p["body"]["kernel"].sum() * p["head"]["kernel"].sum(), 0), has_aux=True
    )
    grads, _ = grad(params)
    assert not grads["body"]["kernel"].any()
    np.testing.assert_array_equal(grads["head"]["kernel"], 4)
    tx = freeze(optax.chain(optax.add_decayed_weights(0.5), optax.adam(0.1)), Half())
    state = tx.init(params)
    assert sorted(leaf.shape for leaf in jax.tree.leaves(state)) == [(), (2, 2), (2, 2)]
    updates: Any
    updates, _ = tx.update(grads, state, params)
    assert not updates["body"]["kernel"].any()
    assert updates["head"]["kernel"].all()


COMBINED = {"clip_norm": 0.5, "l1": 1e-3, "accumulate": 3, "ema": 0.9, "on_nan": "skip", "label_smoothing": 0.1}


@pytest.mark.parametrize("left_out", slow_unless(lambda left_out: left_out in (None, "accumulate"), [None, *COMBINED]))
def test_all_options_together_do_what_pytorch_written_by_hand_does(left_out):
    """The oracle is a plain loop over PyTorch's own functions; every option is on but one."""
    options: dict[str, Any] = {name: value for name, value in COMBINED.items() if name != left_out}
    config = Config(optimizer="momentum", lr=0.1, weight_decay=0.01, schedule="constant", **options)
    batches = [
        Batch(b.inputs.astype(np.float64), b.labels) for b in real_batches(torchnets.MODELS["mlp"].input_shape, 2, 0)
    ]
    torch.manual_seed(0)
    net, model = torchnets.MODELS["mlp"].build().double(), jaxnets.MODELS["mlp"].build()
    oracle = copy.deepcopy(net)
    with jax.enable_x64(True):
        init, take_step = jaxnets.compose.training(model, config, 2)
        state, step = init(jax.tree.map(jnp.asarray, to_flax(net.state_dict())), 0), jax.jit(take_step)
        mine, torch_step = torchnets.compose.training(net, config, 2)
        rule = torch.optim.SGD(oracle.parameters(), 0.1, 0.9, weight_decay=0.01)
        average = torch.optim.swa_utils.AveragedModel(
            oracle, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema)
        )
        for batch in batches:
            state, metrics = step(state, batch)
            found = torch_step(as_tensors(batch))
            rule.zero_grad()
            inputs, labels = as_tensors(batch)
            value = torch.nn.functional.cross_entropy(oracle(inputs), labels, label_smoothing=config.label_smoothing)
            penalty: Any = sum(p.abs().sum() for p in oracle.parameters())
            (value + config.l1 * penalty).backward()
            norm = torch.nn.utils.clip_grad_norm_(oracle.parameters(), config.clip_norm or np.inf)
            rule.step()
            average.update_parameters(oracle)
            for side in (metrics, found):
                assert float(side["loss"]) == pytest.approx(value.item(), rel=1e-10)
                assert float(side["grad_norm"]) == pytest.approx(float(norm), rel=1e-10)
    expected = flatten(to_flax(oracle.state_dict()))
    for path, array in flatten(state.variables).items():
        np.testing.assert_allclose(array, expected[path], rtol=1e-10, atol=1e-12, err_msg=path)
        np.testing.assert_allclose(
            flatten(to_flax(net.state_dict()))[path], expected[path], rtol=1e-10, atol=1e-12, err_msg=path
        )
    assert isinstance(state, AveragedState) == bool(mine.average) == (left_out != "ema")
    if isinstance(state, AveragedState) and mine.average:
        kept = flatten(to_flax(average.module.state_dict()))
        for path, array in flatten(state.average).items():
            np.testing.assert_allclose(array, kept[path], rtol=1e-10, atol=1e-12, err_msg=path)


def test_a_state_has_the_same_names_with_and_without_clipping_and_an_older_one_counts_its_average():
    variables: Any = {"params": {"fc": {"kernel": jnp.ones((2, 2))}}}
    names = []
    for clip in (0.0, 1.0):
        config = Config(clip_norm=clip, ema=0.9)
        state = jaxnets.compose.training(jaxnets.MODELS["mlp"].build(), config, 5).init(variables, 0)
        arrays = snapshot.to_arrays(state)
        names.append(set(arrays))
    assert names[0] == names[1]
    older = {name: array for name, array in arrays.items() if name != "averaged"} | {"step": np.array(7, np.int32)}
    resumed = snapshot.from_arrays(state, older)
    assert isinstance(resumed, AveragedState)
    assert int(resumed.averaged) == 7
