"""Both sides behind one interface: modules of every kind, inputs, outputs, random weights, faults in one line."""

import dataclasses
import functools
import types
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from data import UserError
from parity.sides.arrays import to_jax, x64
from parity.sides.inputs import both_inputs, both_sides
from parity.sides.jax_side import jax_side
from parity.sides.outputs import named_leaves, paired
from parity.sides.pairing import twins
from parity.sides.torch_module import TorchModule

X = np.random.default_rng(0).normal(size=(5, 3))
KEY = jax.random.PRNGKey(0)


def run(side, *args, train=False, leaves=None, **kwargs):
    with x64():
        args, kwargs = to_jax((args, kwargs))
        output, after = jax.jit(lambda own, a, k: side.call(own, a, k, train=train))(
            leaves or side.leaves, args, kwargs
        )
    return output, after


def linear(leaves, kernel="params/kernel", bias="params/bias"):
    return X @ leaves[kernel] + leaves[bias]


class Linen(nn.Module):
    dtype: Any = None

    @nn.compact
    def __call__(self, x, train: bool):
        table = self.variable("constants", "table", lambda: jnp.arange(4.0) / 3)
        x = nn.Dense(4, dtype=self.dtype)(x) + table.value
        x = nn.BatchNorm(use_running_average=not train)(x)
        self.sow("losses", "mean", x.mean())
        return nn.Dropout(0.5, deterministic=not train)(x)


def test_linen_variables_statistics_and_tables():
    side = jax_side(Linen(), (X,), {})
    assert (side.kind, side.output.dtype) == ("Linen", np.float64)
    assert all(leaf.dtype == np.float64 for leaf in side.leaves.values())
    assert {n for n in side.leaves if n not in side.trained} == {
        "constants/table", "batch_stats/BatchNorm_0/mean", "batch_stats/BatchNorm_0/var"
    }  # fmt: skip
    np.testing.assert_allclose(side.leaves["constants/table"], np.arange(4) / 3, rtol=1e-7)
    assert side.leaves["params/Dense_0/kernel"].std() > 0.1
    output, _ = run(side, X)
    expected = linear(side.leaves, "params/Dense_0/kernel", "params/Dense_0/bias") + side.leaves["constants/table"]
    np.testing.assert_allclose(output, expected / np.sqrt(1 + 1e-5), rtol=1e-14)
    output, after = run(side, X, train=True)
    assert (np.asarray(output) == 0).any()
    np.testing.assert_allclose(after["batch_stats/BatchNorm_0/mean"], 0.01 * expected.mean(0), rtol=1e-12)
    with x64():
        made = Linen().init(KEY, X, train=False)
    made = {name: tree for name, tree in made.items() if name != "losses"}
    assert jax.tree.map(lambda a: (a.shape, a.dtype), side.native(side.leaves)) == jax.tree.map(
        lambda a: (a.shape, a.dtype), made
    )


def test_a_dtype_that_is_a_field_becomes_float64():
    side = jax_side(Linen(jnp.bfloat16), (X,), {})
    assert "float64 here instead of bfloat16" in side.notes[0]
    np.testing.assert_allclose(run(side, X)[0], run(jax_side(Linen(), (X,), {}), X)[0], rtol=1e-14)


class Cached(nn.Module):
    """It writes a cache, and wants random numbers, in evaluation mode, too."""

    @nn.compact
    def __call__(self, x):
        cache = self.variable("cache", "sum", jnp.zeros, (3,))
        if not self.is_initializing():
            cache.value = cache.value + x.sum(0)
        return x + cache.value + 0 * jax.random.normal(self.make_rng("noise"), x.shape)


def test_nnx_dtypes_become_float64():
    side = jax_side(nnx.Linear(3, 4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)), (X,), {})
    assert side.notes == ["dtype is float64 here instead of bfloat16"]
    np.testing.assert_allclose(run(side, X)[0], linear(side.leaves), rtol=1e-12)


def test_linen_caches_and_random_numbers_in_evaluation_mode():
    side = jax_side(Cached(), (X,), {})
    assert not side.trained
    output, after = run(side, X)
    np.testing.assert_allclose(output, X + X.sum(0), rtol=1e-14)
    np.testing.assert_allclose(after["cache/sum"], X.sum(0), rtol=1e-14)


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.fc = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.table = jnp.arange(4)
        self.training = True

    def __call__(self, x):
        return self.drop(self.norm(self.fc(x))) + self.table + (100 if self.training else 0)


def test_nnx_variables_are_not_rounded_and_generators_stay_inside():
    side = jax_side(Nnx(nnx.Rngs(0)), (X,), {})
    assert side.kind == "NNX"
    assert side.trained == {"params/fc/kernel", "params/fc/bias", "params/norm/scale", "params/norm/bias"}
    assert {*side.leaves} - side.trained == {"batch_stats/norm/mean", "batch_stats/norm/var", "constants/table"}
    assert side.leaves["constants/table"].dtype.kind == "i"
    leaves = side.leaves | {"params/fc/bias": np.array([1 / 3, 1 / 7, 1e-9, 1])}
    expected = linear(leaves, "params/fc/kernel", "params/fc/bias") / np.sqrt(1 + 1e-5) + np.arange(4)
    np.testing.assert_allclose(run(side, X, leaves=leaves)[0], expected, rtol=1e-14)
    output, after = run(side, X, train=True)
    assert (np.asarray(output) > 90).all()
    assert after.keys() >= {"batch_stats/norm/mean", "batch_stats/norm/var"}
    assert after["batch_stats/norm/mean"].dtype == np.float64
    assert isinstance(side.native(side.leaves), Nnx)


class Example(eqx.Module):
    """One example; a table of integers, a flag, a function, a float: not all of them arrays."""

    fc: eqx.nn.Linear
    drop: eqx.nn.Dropout
    table: jax.Array
    act: Any
    scale: float

    def __init__(self):
        self.act, self.scale = jnp.tanh, 2.0
        self.fc, self.drop, self.table = eqx.nn.Linear(3, 4, key=KEY), eqx.nn.Dropout(0.5), jnp.arange(4)

    def __call__(self, x, *, key=None):
        assert x.ndim == 1, "one example"
        return self.drop(self.act(self.fc(x) * self.scale + self.table), key=key)


def expected_of_example(leaves):
    return np.tanh(2 * (X @ leaves["params/fc/weight"].T + leaves["params/fc/bias"]) + np.arange(4))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: m,
        jax.vmap,
        lambda m: jax.jit(jax.vmap(m)),
        eqx.filter_jit,
        eqx.filter_vmap,
        lambda m: lambda x: jax.vmap(m)(x),
        lambda m: functools.partial(lambda model, x: jax.vmap(model)(x), m),
        lambda m: m.__call__,
    ],
    ids=["module", "vmap", "jit vmap", "filter_jit", "filter_vmap", "closure", "partial", "method"],
)
def test_equinox_is_called_for_each_example_however_it_is_wrapped(wrap):
    side = jax_side(wrap(Example()), (X,), {})
    assert side.kind == "Equinox"
    floats = [n for n in side.leaves if n in side.trained]
    assert [n.rpartition("fc/")[2] for n in floats] == ["weight", "bias"]
    leaves = {"params/fc/" + n.rpartition("/")[2]: side.leaves[n] for n in floats}
    np.testing.assert_allclose(run(side, X)[0], expected_of_example(leaves), rtol=1e-13)
    changed = side.leaves | {floats[1]: np.full(4, 1 / 3)}
    leaves["params/fc/bias"] = changed[floats[1]]
    np.testing.assert_allclose(run(side, X, leaves=changed)[0], expected_of_example(leaves), rtol=1e-13)


def test_equinox_dropout_differs_by_example_in_training():
    output, _ = run(jax_side(Example(), (X,), {}), X, train=True)
    dropped = np.asarray(output) == 0
    assert 0 < dropped.sum() < dropped.size
    assert len({tuple(row) for row in dropped}) > 1


def test_equinox_batch_norm_keeps_its_statistics_in_a_state():
    model = eqx.nn.make_with_state(eqx.nn.BatchNorm)(3, axis_name="rows", mode="batch")
    side = jax_side(model, (X,), {})
    states = {n for n in side.leaves if n.startswith("state/")}
    assert side.trained == {"params/weight", "params/bias"}
    assert len(states) >= 2
    _, after = run(side, X, train=True)
    assert after.keys() == states
    assert any(np.allclose(leaf, 0.01 * X.mean(0), rtol=1e-6) for leaf in after.values())
    again = jax_side(eqx.nn.BatchNorm(3, axis_name="rows", mode="batch"), (X,), {})
    assert again.leaves.keys() == side.leaves.keys()


def apply(params, x):
    return x @ params["w"] + params["layers"][0]


PARAMS = {
    "w": np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32),
    "layers": [np.ones(4, np.float32)],
    "heads": 4,
}


@pytest.mark.parametrize(
    "model",
    [
        (apply, PARAMS),
        (jax.jit(apply), {k: PARAMS[k] for k in ("w", "layers")}),
        (lambda x, params: apply(params, x), PARAMS),
        (lambda params, key, x: apply(params, x) + 0 * jax.random.normal(key, (4,)), PARAMS),
        (lambda params, x, *, rng, is_training: apply(params, x + 0 * rng[0] * is_training), PARAMS),
        (lambda params, x: apply(params, x[None])[0] if x.ndim == 1 else x[:, None, None] @ None, PARAMS),
        functools.partial(apply, PARAMS),
        lambda x: apply(PARAMS_IN_CLOSURE, x),
        (PARAMS, apply),
    ],
    ids=["apply", "jit", "params last", "key", "words", "example", "partial", "global", "swapped"],
)
def test_functions_with_a_tree_of_parameters(model):
    if isinstance(model, types.FunctionType):
        with pytest.raises(UserError, match=r"holds no arrays.*pair"):
            jax_side(model, (X,), {})
        return
    side = jax_side(model, (X,), {})
    assert side.kind == "function"
    assert side.trained == {*side.leaves} == {"params/w", "params/layers/0"}
    np.testing.assert_allclose(run(side, X)[0], X @ side.leaves["params/w"] + 1, rtol=1e-12)


PARAMS_IN_CLOSURE = PARAMS


def test_linen_with_its_variables_and_a_bound_module():
    module = nn.Dense(4)
    variables = module.init(KEY, X)
    for model in (
        (module, variables),
        (module.apply, variables),
        module.bind(variables),
        (module, variables["params"]),
    ):
        side = jax_side(model, (X,), {})
        assert side.trained == {"params/kernel", "params/bias"}
        np.testing.assert_array_equal(side.leaves["params/kernel"], variables["params"]["kernel"])
        np.testing.assert_allclose(run(side, X)[0], linear(side.leaves), rtol=1e-14)


class Transformed(NamedTuple):
    init: Any
    apply: Any


class TransformedWithState(NamedTuple):
    init: Any
    apply: Any


def haiku_apply(params, rng, *args, **kwargs):
    return (lambda x, is_training: x @ params["linear"]["w"] + 0 * is_training * rng[0])(*args, **kwargs)


def haiku_apply_with_state(params, state, rng, *args, **kwargs):
    output = haiku_apply(params, rng, *args, **kwargs)
    return output, {"norm": {"mean": state["norm"]["mean"] + 1}} if kwargs.get("is_training") else state


def haiku_init(rng, *args, **kwargs):
    (lambda x, is_training: (x, is_training))(*args, **kwargs)
    return {"linear": {"w": jax.random.normal(rng, (3, 4))}}


def test_transformed_functions_like_haikus():
    params, state = {"linear": {"w": jax.random.normal(KEY, (3, 4))}}, {"norm": {"mean": jnp.zeros(4)}}
    stateless = Transformed(haiku_init, haiku_apply)
    stateful = TransformedWithState(lambda rng, *a, **k: (haiku_init(rng, *a, **k), state), haiku_apply_with_state)
    for model in (stateless, (stateless, params), (haiku_apply, params)):
        side = jax_side(model, (X,), {})
        assert {*side.leaves} == {"params/linear/w"}
        np.testing.assert_allclose(run(side, X)[0], X @ side.leaves["params/linear/w"], rtol=1e-14)
    for model in (stateful, (stateful, params, state), (haiku_apply_with_state, (params, state))):
        side = jax_side(model, (X,), {})
        assert ({*side.leaves}, side.trained) == ({"params/linear/w", "state/norm/mean"}, {"params/linear/w"})
        np.testing.assert_allclose(run(side, X, train=True)[1]["state/norm/mean"], np.ones(4))


class Encoder(nnx.Module):
    def __init__(self, rngs):
        self.fc = nnx.Linear(3, 4, rngs=rngs)

    def encode(self, x):
        return self.fc(x)


@pytest.mark.parametrize(
    "wrap", [lambda m: m.encode, lambda m: lambda x: m.encode(x), lambda m: nnx.jit(lambda x: m.encode(x)), nnx.split]
)
def test_nnx_methods_and_functions_that_close_over_a_module(wrap):
    module = Encoder(nnx.Rngs(0))
    if wrap is nnx.split:
        module.__class__.__call__ = Encoder.encode
    side = jax_side(wrap(module), (X,), {})
    assert side.trained == {"params/fc/kernel", "params/fc/bias"}
    leaves = side.leaves | {"params/fc/bias": np.full(4, 1 / 3)}
    np.testing.assert_allclose(
        run(side, X, leaves=leaves)[0], linear(leaves, "params/fc/kernel", "params/fc/bias"), rtol=1e-12
    )


class Attention(nnx.Module):
    def __init__(self, rngs):
        self.fc = nnx.Linear(3, 3, rngs=rngs)

    def __call__(self, query, key, value, train=False):
        return self.fc(query + 2 * key + 3 * value + 0 * train)


def test_the_key_of_an_attention_is_an_input():
    for args, kwargs in (((X, X, X), {}), ((), {"query": X, "key": X, "value": X})):
        side = jax_side(Attention(nnx.Rngs(0)), args, kwargs)
        expected = 6 * X @ side.leaves["params/fc/kernel"] + side.leaves["params/fc/bias"]
        np.testing.assert_allclose(run(side, *args, **kwargs)[0], expected, rtol=1e-12)


class Torch(torch.nn.Module):
    """Tied weights, a table that is not saved, a mask of booleans, a tensor that is neither, a norm."""

    def __init__(self, dtype=None):
        super().__init__()
        self.emb = torch.nn.Embedding(7, 4, dtype=dtype)
        self.norm = torch.nn.BatchNorm1d(4, dtype=dtype)
        self.head = torch.nn.Linear(4, 7, bias=False, dtype=dtype)
        self.head.weight = self.emb.weight
        self.zero = torch.nn.Linear(4, 4, dtype=dtype)
        torch.nn.init.zeros_(self.zero.weight)
        self.scale = torch.nn.Parameter(torch.full((4,), 1e-6, dtype=dtype))
        self.a_log = torch.nn.Parameter(torch.arange(1.0, 5.0, dtype=dtype).log())
        self.frozen = torch.nn.Parameter(torch.eye(4, dtype=dtype), requires_grad=False)
        self.register_buffer("table", torch.arange(4, dtype=dtype or torch.float32) / 3, persistent=False)
        self.register_buffer("keep", torch.tensor([True, False, True, True]))
        self.plain = torch.ones(4, dtype=dtype)

    def forward(self, ids):
        x = self.emb(ids).mean(1) @ self.frozen + self.table
        x = self.norm(x) + self.scale * self.zero(x * self.keep) + torch.zeros(4) + self.plain * self.a_log.exp()
        return {"logits": self.head(x), "text": "done", "nothing": None}


IDS = np.random.default_rng(2).integers(0, 7, (5, 3))


@pytest.mark.parametrize(
    "make", [Torch, lambda: Torch().half(), lambda: Torch().double(), lambda: Torch(torch.bfloat16)]
)
def test_torch_modules_of_any_dtype_are_copied_in_float64(make):
    module = make()
    before = {n: (t.dtype, t.clone()) for n, t in module.state_dict().items()}
    side = TorchModule(module)
    assert side.tied == {"head.weight": "emb.weight"}
    assert side.parameters.keys() >= {"emb.weight", "table", "keep", "norm.running_var"}
    assert "head.weight" not in side.parameters
    assert "table" not in side.saved
    assert side.trained == {"emb.weight", "norm.weight", "norm.bias", "zero.weight", "zero.bias", "scale", "a_log"}
    side.randomise(0, (IDS,))
    output = named_leaves(side.call((IDS,), {}, train=False))
    assert output["logits"].dtype == torch.float64
    assert output["logits"].requires_grad
    assert output.left_out == {"text": "str", "nothing": "NoneType"}
    assert torch.get_default_dtype() == torch.float32
    after = module.state_dict()
    assert all(after[n].dtype == d and torch.equal(after[n], t) for n, (d, t) in before.items())


def test_random_weights_are_special_nowhere_and_tables_stay():
    module = Torch()
    side = TorchModule(module)
    before = side.parameters
    side.randomise(0, (IDS,))
    after = side.parameters
    for name in ("table", "keep", "frozen"):
        np.testing.assert_array_equal(after[name], before[name])
    for name in side.trained | {"norm.running_mean", "norm.running_var"}:
        assert len(np.unique(after[name])) == after[name].size, name
        assert 0.01 < np.abs(after[name]).mean() < 3, name
    assert (after["norm.running_var"] > 0).all()
    assert np.abs(after["a_log"] - before["a_log"]).max() < 0.6
    assert side.module.head.weight is side.module.emb.weight
    again = TorchModule(module)
    again.randomise(0, (IDS,))
    assert all(np.array_equal(again.parameters[n], after[n]) for n in after)
    with side.kept():
        side.call((IDS,), {}, train=True)
        assert not np.array_equal(side.parameters["norm.running_mean"], after["norm.running_mean"])
    np.testing.assert_array_equal(side.parameters["norm.running_mean"], after["norm.running_mean"])


def test_meta_device_weight_norm_and_parametrizations():
    with torch.device("meta"):
        module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.MultiheadAttention(4, 2))
        module.add_module("tied", torch.nn.Linear(3, 4))
        module.tied.weight = module[0].weight
    side = TorchModule(module)
    assert side.tied == {"tied.weight": "0.weight"}
    assert "meta device" in side.notes[0]
    assert all(np.isfinite(a).all() for a in side.parameters.values())
    with torch.device("meta"), pytest.raises(UserError, match="nothing tells the values of its buffer table"):
        TorchModule(Torch())
    with pytest.warns(FutureWarning):
        old = torch.nn.utils.weight_norm(torch.nn.Linear(3, 4))
    new = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 4))
    for module in (old, new, torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(3, 4))):
        side = TorchModule(module)
        side.randomise(1, (X,))
        assert side.call((X,), {}, train=False).std() > 0.05
    assert {*TorchModule(old).parameters} == {"bias", "weight_g", "weight_v"}


class Conv(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Linear(4, 4)

    def forward(self, image, text=None, timestep=None):
        image = self.conv(image)
        if text is not None:
            image = image + self.fc(text).mean(1)[:, :, None, None] * timestep[:, None, None, None]
        return image


class FlaxConv(nn.Module):
    first: bool = False

    @nn.compact
    def __call__(self, image, text=None, timesteps=None):
        image = nn.Conv(4, (3, 3))(jnp.moveaxis(image, 1, -1) if self.first else image)
        if text is not None:
            image = image + nn.Dense(4)(text).mean(1)[:, None, None] * timesteps[:, None, None, None]
        return jnp.moveaxis(image, -1, 1) if self.first else image


def numbers(*shape):
    return np.random.default_rng(3).normal(size=shape)


LAYOUTS = {
    "channels last given": (FlaxConv(), numbers(2, 8, 8, 3), (2, 3, 8, 8), (2, 8, 8, 3), "channels last as given"),
    "channels first given": (FlaxConv(), numbers(2, 3, 8, 8), (2, 3, 8, 8), (2, 8, 8, 3), "channels first as given"),
    "both first": (FlaxConv(first=True), numbers(2, 3, 8, 8), (2, 3, 8, 8), (2, 3, 8, 8), "as they are given"),
    "undecided": (FlaxConv(), numbers(2, 3, 3, 3), (2, 3, 3, 3), (2, 3, 3, 3), "channels last as given"),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_the_layout_of_images_is_found(case):
    model, image, ours, theirs, words = LAYOUTS[case]
    mine, yours, said = both_inputs(Conv(), model, image)
    assert (mine.args[0].shape, yours.args[0].shape) == (ours, theirs)
    assert words in said


def test_a_layout_is_forced_or_refused():
    image = numbers(2, 3, 3, 3)
    mine, yours, _ = both_inputs(Conv(), FlaxConv(first=True), image, layout="same")
    np.testing.assert_array_equal(mine.args[0], yours.args[0])
    mine, yours, _ = both_inputs(Conv(), FlaxConv(), image, layout="channels-first")
    np.testing.assert_array_equal(np.moveaxis(mine.args[0], 1, -1), yours.args[0])
    with pytest.raises(UserError, match="--layout nhwc: 'nhwc' is none of same, channels-last, channels-first"):
        both_inputs(Conv(), FlaxConv(), image, layout="nhwc")
    with pytest.raises(UserError, match=r"PyTorch side cannot be called.*test_sides.py:\d+.*channels"):
        both_inputs(Conv(), FlaxConv(), numbers(2, 5, 5, 2))


def test_several_inputs_each_in_its_own_layout_and_under_its_own_name():
    given = {"image": numbers(2, 8, 8, 3), "text": numbers(2, 5, 4), "timestep": numbers(2)}
    torch_side, side, mine, yours, words = both_sides(Conv(), FlaxConv(), given)
    assert {n: a.shape for n, a in mine.kwargs.items()} == {"image": (2, 3, 8, 8), "text": (2, 5, 4), "timestep": (2,)}
    assert {n: a.shape for n, a in yours.kwargs.items()} == {
        "image": (2, 8, 8, 3),
        "text": (2, 5, 4),
        "timesteps": (2,),
    }
    assert words == "image: channels last as given for JAX, moved first for PyTorch; timestep is timesteps for JAX"
    leaves = side.leaves | {
        "params/Conv_0/kernel": torch_side.parameters["conv.weight"].transpose(2, 3, 1, 0),
        "params/Conv_0/bias": torch_side.parameters["conv.bias"],
        "params/Dense_0/kernel": torch_side.parameters["fc.weight"].T,
        "params/Dense_0/bias": torch_side.parameters["fc.bias"],
    }
    with x64():
        output, _ = side.call(leaves, *to_jax(tuple(yours)), train=False)
    pairs, notes = paired(named_leaves(torch_side.call(*mine, train=False)), named_leaves(output))
    ((name, ours, theirs),) = pairs
    assert (name, notes) == ("output", ["output: channels last in JAX, first in PyTorch"])
    np.testing.assert_allclose(theirs, ours, rtol=1e-11)


class Sequence1d(torch.nn.Module):
    def __init__(self, first):
        super().__init__()
        self.layer = torch.nn.Conv1d(4, 4, 1) if first else torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x)


def test_sequences_are_moved_only_before_a_convolution():
    x = numbers(2, 4, 4)
    mine, yours, _ = both_inputs(Sequence1d(first=True), nn.Dense(4), x)
    np.testing.assert_array_equal(mine.args[0].swapaxes(1, 2), yours.args[0])
    mine, yours, _ = both_inputs(Sequence1d(first=False), nn.Dense(4), x)
    np.testing.assert_array_equal(mine.args[0], yours.args[0])


class Tokens(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = torch.nn.Embedding(50, 4)

    def forward(self, input_ids, attention_mask=None):
        assert input_ids.dtype == torch.int64
        assert attention_mask.dtype == torch.bool
        return self.emb(input_ids) * attention_mask[..., None]


class FlaxTokens(nn.Module):
    @nn.compact
    def __call__(self, ids, mask, position_ids):
        assert jnp.issubdtype(ids.dtype, jnp.integer)
        assert mask.dtype == bool
        return nn.Embed(50, 4)(ids) * mask[..., None] + 0 * position_ids[..., None]


def test_names_that_only_one_side_has_are_dropped_there_and_said():
    given = {
        "input_ids": np.arange(6).reshape(2, 3),
        "attention_mask": np.ones((2, 3), bool),
        "position_ids": np.ones((2, 3), int),
    }
    mine, yours, words = both_inputs(Tokens(), FlaxTokens(), given)
    assert (list(mine.kwargs), set(yours.kwargs)) == (["input_ids", "attention_mask"], {"ids", "mask", "position_ids"})
    assert "PyTorch does not take position_ids, which is left out" in words
    assert "attention_mask is mask for JAX" in words
    assert "input_ids is ids for JAX" in words
    np.testing.assert_array_equal(yours.kwargs["ids"], given["input_ids"])
    mine, yours, words = both_inputs(
        Tokens(), FlaxTokens(), tuple(given.values())[:2], jax_inputs=tuple(given.values())
    )
    assert (len(mine.args), len(yours.args)) == (2, 3)
    assert "inputs of their own" in words
    *others, mask = jax.tree.map(jnp.asarray, tuple(given.values())[:1]), torch.ones(2, 3, dtype=torch.bool)
    both_inputs(Tokens(), FlaxTokens(), (others[0][0], mask), jax_inputs=tuple(given.values()))


class Cache:
    def __init__(self, key):
        self.key, self.length, self.owner = key, 3, self


class Out(NamedTuple):
    logits: Any
    state: Any = None


@dataclasses.dataclass
class Two:
    mean: Any
    cache: Any


def test_the_leaves_of_any_tree_have_names():
    ones = np.ones(2)
    assert named_leaves(torch.ones(2)).keys() == {"output"}
    assert named_leaves((ones, [ones, None])).keys() == {"0", "1/0"}
    assert named_leaves({"a": {"b": ones}, "c": Out(ones)}).keys() == {"a/b", "c/logits"}
    found = named_leaves(Two(jnp.ones(2), Cache(torch.ones(2))))
    assert list(found) == ["mean", "cache/key"]
    assert named_leaves(x for x in (ones, "text")).left_out == {"1": "str"}
    assert named_leaves(0.5)["output"].shape == ()
    assert named_leaves({"states": [ones, ones]}).keys() == {"states/0", "states/1"}


def test_outputs_are_paired_by_name_else_by_order():
    a, b, c = numbers(2, 4), numbers(2, 4, 3), numbers(2, 5)
    pairs, notes = paired({"logits": a, "hidden": b}, {"hidden": b, "logits": a, "cache/0": c})
    assert [name for name, _, _ in pairs] == ["logits", "hidden"]
    assert notes == ["only JAX returns cache"]
    pairs, notes = paired({"0": b, "1": a}, {"last_hidden_state": b, "pooled": a})
    assert all(x is not y and np.array_equal(x, y) for _, x, y in pairs)
    assert len(pairs) == 2
    assert notes == ["0 of PyTorch is last_hidden_state of JAX", "1 of PyTorch is pooled of JAX"]
    ((_, ours, theirs),), notes = paired({"output": a}, {"output": c})
    assert (ours.shape, theirs.shape) == ((2, 4), (2, 5))
    assert notes == ["output is (2, 4) in PyTorch, (2, 5) in JAX"]
    _, notes = paired(named_leaves((a, "x")), named_leaves((a, None)))
    assert notes == ["not compared of PyTorch's output: 1 (str)"]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (numbers(2, 4, 4, 4), lambda a: np.moveaxis(a, 1, -1)),
        (numbers(2, 4, 4, 4), lambda a: a.swapaxes(2, 3)),
        (numbers(2, 3, 5, 6), lambda a: np.moveaxis(a, 1, -1)),
        (numbers(2, 3, 5, 6), lambda a: np.moveaxis(a, 1, -1).reshape(2, 30, 3)),
        (numbers(2, 3, 3), lambda a: a.swapaxes(1, 2)),
        (numbers(2, 3, 1), lambda a: a[..., 0]),
        (numbers(3, 2, 4), lambda a: a.swapaxes(0, 1)),
        (numbers(1, 3, 4), lambda a: a[0]),
    ],
)
def test_the_layout_of_an_output_is_found_by_shape_and_value(ours, theirs):
    ((_, mine, yours),), _ = paired({"output": ours}, {"output": theirs(ours) * (1 + 1e-6)})
    np.testing.assert_allclose(yours, mine, rtol=1e-5)
    twin = twins({"output": ours}, {"output": theirs(ours)})[0]
    np.testing.assert_array_equal(twin.way.back(ours, theirs(ours).shape), theirs(ours))


def test_padded_positions_are_left_out_by_a_mask():
    a, b = numbers(2, 4, 3), numbers(2, 4, 3)
    b[1, 2:] += 1
    keep = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    for mask in (keep, {"hidden": keep}):
        pairs, _ = paired({"hidden": a, "pooled": a[:, 0]}, {"hidden": b, "pooled": b[:, 0]}, mask)
        assert [x.shape for _, x, _ in pairs] == [(6, 3), (2, 3)]
        assert all(np.array_equal(x, y) for _, x, y in pairs)


def cached(params, x):
    cache = jax.lax.dynamic_update_slice(jnp.zeros((8, 4), jnp.float32), x @ params["w"], (0, 0))
    return {"y": cache[:5] * 2, "n": jnp.int32(3)}


def test_what_fails_in_float64_is_called_in_float32():
    side = jax_side((cached, {"w": PARAMS["w"]}), (X,), {})
    assert side.narrow
    assert "float32" in side.notes[0]
    assert side.leaves["params/w"].dtype == np.float64
    output, _ = run(side, X)
    assert output["y"].dtype == np.float32
    np.testing.assert_allclose(output["y"], 2 * X @ PARAMS["w"], rtol=1e-5)


def recurrent(params, x):
    def step(carry, row):
        h, n = carry
        h = jnp.tanh(row @ params["w"] + h * params["u"])
        return (h, n + 1), h

    (h, n), ys = jax.lax.scan(step, (jnp.zeros(4, jnp.float32), jnp.int32(0)), x)
    total = jax.lax.fori_loop(0, 3, lambda i, t: t + ys[i].sum(), jnp.float32(0))
    return ys, total + n * 0 + jax.lax.while_loop(
        lambda c: c[1] < 2, lambda c: (c[0] + h.sum(), c[1] + 1), (jnp.float32(0), 0)
    )[0]


@pytest.mark.parametrize(
    "model", [(recurrent, {"w": PARAMS["w"], "u": np.ones(4, np.float32)}), nn.RNN(nn.GRUCell(4))]
)
def test_carries_of_float32_are_widened(model):
    inputs = X if isinstance(model, tuple) else X[None]
    side = jax_side(model, (inputs,), {})
    output = jax.tree.leaves(run(side, inputs)[0])
    assert all(leaf.dtype == np.float64 for leaf in output)
    assert not side.narrow
    if isinstance(model, tuple):
        h, rows = np.zeros(4), []
        for row in X:
            h = np.tanh(row @ side.leaves["params/w"] + h)
            rows.append(h)
        np.testing.assert_allclose(output[0], rows, rtol=1e-12)
        np.testing.assert_allclose(output[1], np.sum(rows[:3]) + 2 * h.sum(), rtol=1e-12)
    assert jax.lax.scan.__module__.startswith("jax")
