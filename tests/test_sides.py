"""Both sides behind one interface: modules of every kind, inputs, outputs, random weights, faults in one line."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data import UserError
from parity.sides.arrays import to_jax, x64
from parity.sides.jax_side import jax_side

X = np.random.default_rng(0).normal(size=(5, 3))
KEY = jax.random.PRNGKey(0)


def run(side, *args: Any, train=False, leaves=None, **kwargs: Any) -> Any:
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
    side = jax_side(model, (X,), {})
    assert side.kind == "function"
    assert side.trained == {*side.leaves} == {"params/w", "params/layers/0"}
    np.testing.assert_allclose(run(side, X)[0], X @ side.leaves["params/w"] + 1, rtol=1e-12)


PARAMS_IN_CLOSURE = PARAMS


def test_a_function_without_arrays_is_refused():
    def recursive(x, n=0):
        return recursive(x, n + 1) if n < 3 else x

    for function in (lambda x: x, recursive, jnp.tanh, jax.jit(lambda x: x)):
        with pytest.raises(UserError, match=r"holds no arrays.*pair"):
            jax_side(function, (X,), {})


def test_a_single_array_and_keys_of_any_name():
    side = jax_side(
        (lambda w, x, *, noise_rng: x * w + 0 * jax.random.normal(noise_rng, x.shape), np.ones(3)), (X,), {}
    )
    assert side.trained == {"params"}
    np.testing.assert_allclose(run(side, X, leaves={"params": np.full(3, 1 / 3)})[0], X / 3, rtol=1e-12)
    assert jax_side(functools.partial(lambda w, x: x * w, np.ones(3)), (X,), {}).trained == {"params"}


def test_modules_that_refuse_numpy_are_given_arrays_of_jax():
    def refusing(params, x):
        assert isinstance(x, jax.Array), "no array of JAX"
        return x.at[0].set(0) * params

    side = jax_side((refusing, np.ones(3)), (X,), {})
    with x64():
        assert side.call(side.leaves, (X,), {}, train=False)[0].dtype == np.float64


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


def haiku_inner(params, rng, x, is_training):
    return x @ params["linear"]["w"] + rng[0] * (is_training * 0)


def haiku_apply(params, rng, *args, **kwargs):
    return haiku_inner(params, rng, *args, **kwargs)


def haiku_apply_with_state(params, state, rng, *args, **kwargs):
    output = haiku_apply(params, rng, *args, **kwargs)
    return output, {"norm": {"mean": state["norm"]["mean"] + 1}} if kwargs.get("is_training") else state


def haiku_init(rng, *args, **kwargs):
    haiku_inner({"linear": {"w": np.zeros((3, 4))}}, rng, *args, **kwargs)
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
    given: Any = (((X, X, X), {}), ((), {"query": X, "key": X, "value": X}))
    for args, kwargs in given:
        side = jax_side(Attention(nnx.Rngs(0)), args, kwargs)
        expected = 6 * X @ side.leaves["params/fc/kernel"] + side.leaves["params/fc/bias"]
        np.testing.assert_allclose(run(side, *args, **kwargs)[0], expected, rtol=1e-12)


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
