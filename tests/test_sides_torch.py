"""PyTorch modules as they are called, layouts of inputs, names and layouts of outputs."""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from data import UserError
from parity.sides.arrays import to_jax, x64
from parity.sides.inputs import both_inputs, both_sides
from parity.sides.outputs import named_leaves, paired
from parity.sides.pairing import twins
from parity.sides.torch_module import TorchModule

X = np.random.default_rng(0).normal(size=(5, 3))


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
    assert dict(side.module.named_parameters(remove_duplicate=False))["head.weight"] is side.tensors["emb.weight"]
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
        module.get_submodule("tied").register_parameter("weight", next(module[0].parameters()))
    side = TorchModule(module)
    assert side.tied == {"tied.weight": "0.weight"}
    assert "meta device" in side.notes[0]
    assert all(np.isfinite(a).all() for a in side.parameters.values())
    with torch.device("meta"), pytest.raises(UserError, match="nothing tells the values of its buffer table"):
        TorchModule(Torch())
    with pytest.raises(UserError, match="lazy parameters: call it once"):
        TorchModule(torch.nn.LazyLinear(4))
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

    def forward(self, image, text: Any = None, timestep: Any = None):
        image = self.conv(image)
        if text is not None:
            image = image + self.fc(text).mean(1)[:, :, None, None] * timestep[:, None, None, None]
        return image


class FlaxConv(nn.Module):
    first: bool = False

    @nn.compact
    def __call__(self, image, text: Any = None, timesteps: Any = None):
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
    "last given, both first": (
        FlaxConv(first=True),
        numbers(2, 8, 8, 3),
        (2, 3, 8, 8),
        (2, 3, 8, 8),
        "for both sides",
    ),
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
    with pytest.raises(UserError, match=r"PyTorch side cannot be called.*test_sides_torch.py:\d+.*channels"):
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


class FlaxOther(nn.Module):
    @nn.compact
    def __call__(self, x, hidden, time):
        return FlaxConv()(x, hidden, time)


def test_inputs_of_other_names_keep_their_layout():
    given = {"image": numbers(2, 3, 8, 8), "text": numbers(2, 5, 4), "timestep": numbers(2)}
    mine, yours, words = both_inputs(Conv(), FlaxOther(), given)
    assert [a.shape for a in mine.kwargs.values()] == [(2, 3, 8, 8), (2, 5, 4), (2,)]
    assert {n: a.shape for n, a in yours.kwargs.items()} == {"x": (2, 8, 8, 3), "hidden": (2, 5, 4), "time": (2,)}
    assert words.startswith("image: channels first as given for PyTorch, moved last for JAX; ")
    assert words.endswith("timestep is time for JAX; image is x for JAX; text is hidden for JAX")
    mine, yours, words = both_inputs(Conv(), FlaxConv(), tuple(given.values()))
    assert (mine.args[0].shape, yours.args[0].shape, yours.args[1].shape) == ((2, 3, 8, 8), (2, 8, 8, 3), (2, 5, 4))
    assert words == "input 0: channels first as given for PyTorch, moved last for JAX"


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

    def forward(self, input_ids, attention_mask: Any = None):
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
    twin: Any = twins({"output": ours}, {"output": theirs(ours)})[0]
    np.testing.assert_array_equal(twin.way.back(ours, theirs(ours).shape), theirs(ours))


@pytest.mark.parametrize(("one", "other"), [(2, 3), (1, 2)])
def test_axes_of_a_square_that_are_exchanged_are_no_layout(one, other):
    ours = numbers(2, 4, 4, 4)
    (twin,) = twins({"output": ours}, {"output": ours.swapaxes(one, other)})
    assert twin.way is not None
    assert not twin.way.words


def test_padded_positions_are_left_out_by_a_mask():
    a, b = numbers(2, 4, 3), numbers(2, 4, 3)
    b[1, 2:] += 1
    keep = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    for mask in (keep, {"hidden": keep}):
        pairs, _ = paired({"hidden": a, "pooled": a[:, 0]}, {"hidden": b, "pooled": b[:, 0]}, mask)
        assert [x.shape for _, x, _ in pairs] == [(6, 3), (2, 3)]
        assert all(np.array_equal(x, y) for _, x, y in pairs)
