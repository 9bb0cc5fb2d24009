"""Rules: programs from PyTorch's tensors to an array of a JAX model, their candidates, files and Python source."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import einops
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import UserError
from parity.mapping import Mapping, Rule
from parity.mapping.candidates import rules
from parity.mapping.emit import emit
from parity.mapping.file import dump, parse_rule, read, text_of
from parity.mapping.steps import parse

Shape = tuple[int, ...]
# Sources, the leaf's shape, and the rule that is searched.
RELATIONS: dict[str, tuple[dict[str, Shape], Shape, str]] = {
    "dense": ({"w": (6, 4)}, (4, 6), "w: o i -> i o"),
    "square": ({"w": (6, 6)}, (6, 6), "w: o i -> i o"),
    "square as it is": ({"w": (6, 6)}, (6, 6), "w"),
    "scalar": ({"s": ()}, (1,), "s: -> 1"),
    "class token": ({"cls": (1, 1, 6)}, (6,), "cls: 1 1 c -> c"),
    "positions": ({"pos": (1, 7, 6)}, (7, 6), "pos: 1 t d -> t d"),
    "positions after two": ({"pos": (9, 6)}, (7, 6), "pos: slice 2: along 0"),
    "vocabulary without padding": ({"w": (12, 4)}, (10, 4), "w: slice :10 along 0"),
    "heads": ({"w": (12, 6)}, (6, 3, 4), "w: (h d) i -> i h d | h=3"),
    "heads that come in": ({"w": (6, 12)}, (3, 4, 6), "w: o (h d) -> h d o | h=3"),
    "heads first": ({"w": (12, 6)}, (3, 6, 4), "w: (h d) i -> h i d | h=3"),
    "heads of a bias": ({"b": (12,)}, (3, 4), "b: (h d) -> h d | h=3"),
    "query out of in_proj": ({"w": (36, 12)}, (12, 3, 4), "w: take 1 of 3 along 0; (h d) i -> i h d | h=3"),
    "key head by head": ({"w": (36, 6)}, (6, 12), "w: (h t d) i -> t i (h d) | h=4 t=3; index 1 along 0"),
    "in_proj with heads": ({"w": (36, 12)}, (3, 12, 3, 4), "w: (t h d) i -> t i h d | t=3 h=3"),
    "key of grouped heads": ({"w": (20, 6)}, (6, 4), "w: slice 12:16 along 0; o i -> i o"),
    "group by group": ({"w": (24, 6)}, (6, 4), "w: (g r d) i -> g r d i | g=2 d=2; index 4 along 1; g d i -> i (g d)"),
    "heads repeated": ({"w": (6, 5)}, (5, 12), "w: (h d) i -> i (h r d) | h=2 r=2"),
    "heads tiled": ({"w": (6, 5)}, (5, 4, 3), "w: (h d) i -> i (r h) d | h=2 r=2"),
    "fused head by head": ({"w": (36, 6)}, (6, 36), "w: (h t d) i -> i (t h d) | h=3 t=3"),
    "fused, all of q first": ({"b": (36,)}, (36,), "b: (t h d) -> (h t d) | h=3 t=3"),
    "rotary pairs": ({"w": (16, 5)}, (5, 16), "w: (h t d) i -> i (h d t) | h=2 t=2"),
    "rotary halves of a bias": ({"b": (16,)}, (16,), "b: (h d t) -> (h t d) | h=4 t=2"),
    "kernel": ({"w": (8, 3, 5, 4)}, (5, 4, 3, 8), "w: o i h w -> h w i o"),
    "square kernel": ({"w": (4, 4, 3, 3)}, (3, 3, 4, 4), "w: o i h w -> h w o i"),
    "kernel in time": ({"w": (8, 3, 5)}, (5, 3, 8), "w: o i t -> t i o"),
    "kernel in space": ({"w": (8, 3, 2, 5, 4)}, (2, 5, 4, 3, 8), "w: o i d h w -> d h w i o"),
    "blue first": ({"w": (8, 3, 5, 4)}, (5, 4, 3, 8), "w: flip 1; o i h w -> h w i o"),
    "depthwise": ({"w": (6, 1, 3, 3)}, (3, 3, 1, 6), "w: c 1 h w -> h w 1 c"),
    "depthwise, channels and multiplier": ({"w": (6, 1, 3, 3)}, (3, 3, 3, 2), "w: (c m) 1 h w -> h w c m | m=2"),
    "pointwise": ({"w": (8, 3, 1, 1)}, (3, 8), "w: o i 1 1 -> i o"),
    "patches": ({"w": (8, 3, 2, 2)}, (12, 8), "w: o i h w -> (h w i) o"),
    "patches, channels first": ({"w": (8, 3, 2, 2)}, (12, 8), "w: o i h w -> (i h w) o"),
    "transposed flipped": ({"w": (3, 8, 2, 4)}, (2, 4, 3, 8), "w: flip 2 3; i o h w -> h w i o"),
    "transposed grouped": ({"w": (6, 2, 3, 4)}, (3, 4, 2, 6), "w: flip 2 3; (g i) o h w -> h w i (g o) | g=3"),
    "flattened channels last": ({"w": (5, 24)}, (24, 5), "w: o (c h w) -> (h w c) o | c=2 h=3"),
    "unflattened channels last": ({"b": (24,)}, (24,), "b: (c s) -> (s c) | c=4"),
    "scale less one": ({"w": (6,)}, (6,), "w: add -1"),
    "query, key, value": ({"q": (6, 6), "k": (6, 6), "v": (6, 6)}, (6, 18), "q, k, v: o i -> i o; concat 1"),
    "value first": ({"a.q": (6, 6), "a.k": (6, 6), "a.v": (6, 6)}, (18, 6), "a.v, a.q, a.k: concat 0"),
    "stacked": ({"a.q": (6, 6), "a.k": (6, 6), "a.v": (6, 6)}, (3, 6, 6), "a.q, a.k, a.v: o i -> i o; stack 0"),
    "head by head": ({"k": (6, 6), "v": (6, 6)}, (6, 12), "k, v: stack 0; t (h d) i -> i (h t d) | h=2"),
    "grouped, joined": (
        {"q": (8, 6), "k": (4, 6), "v": (4, 6)}, (6, 8, 2), "q, k, v: (h d) i -> i h d | d=2; concat 1"
    ),
    "gate and up": ({"m.gate": (8, 6), "m.up": (8, 6)}, (6, 2, 8), "m.gate, m.up: o i -> i o; stack 1"),
    "layers": ({f"l.{n}.w": (4, 6) for n in range(3)}, (3, 6, 4), "l.{0..2}.w: o i -> i o; stack 0"),
    "layers in the middle": ({f"l.{n}.w": (4, 6) for n in range(3)}, (6, 3, 4), "l.{0..2}.w: o i -> i o; stack 1"),
    "some layers": ({f"l.{n}.w": (4,) for n in range(5)}, (3, 4), "l.{2..4}.w: stack 0"),
    "layers of fused": (
        {f"l.{n}.w": (12, 4) for n in range(2)}, (2, 4, 4), "l.0.w, l.1.w: take 2 of 3 along 0; o i -> i o; stack 0"
    ),
    "layers of joined": (
        {f"l.{n}.{q}": (4, 4) for n in range(2) for q in "qkv"},
        (2, 4, 12),
        "l.0.q, l.0.k, l.0.v, l.1.q, l.1.k, l.1.v: o i -> i o; concat 1 by 3; stack 0",
    ),
    "experts in layers": (
        {f"l.{n}.e.{e}.w": (4, 6) for n in range(2) for e in range(3)},
        (2, 3, 6, 4),
        "l.0.e.{0..2}.w, l.1.e.{0..2}.w: o i -> i o; stack 0 by 3; stack 0",
    ),
    "heads as modules": ({f"h.{n}.w": (2, 6) for n in range(3)}, (6, 6), "h.{0..2}.w: o i -> i o; concat 1"),
    "Haiku's LSTM": (
        {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4)},
        (7, 16),
        "weight_ih_l0, weight_hh_l0: reorder 0: 0 2 1 3 of 4; o i -> i o; concat 0",
    ),
    "Haiku's forget bias": (
        {"bias_ih_l0": (16,), "bias_hh_l0": (16,)},
        (16,),
        "bias_ih_l0, bias_hh_l0: reorder 0: 0 2 1 3 of 4; sum; add -1 to 2 of 4 along 0",
    ),
    "a GRU's biases side by side": (
        {"bias_ih_l0": (12,), "bias_hh_l0": (12,)},
        (2, 12),
        "bias_ih_l0, bias_hh_l0: reorder 0: 1 0 2 of 3; stack 0",
    ),
    "gates in an odd order": (
        {"weight_ih_l0": (16, 3)}, (1, 16, 3), "weight_ih_l0: reorder 0: 2 0 3 1 of 4; o i -> 1 o i"
    ),
    "one gate": ({"weight_ih_l0": (16, 3)}, (3, 4), "weight_ih_l0: take 2 of 4 along 0; o i -> i o"),
    "one gate's biases": (
        {"bias_ih_l0": (12,), "bias_hh_l0": (12,)}, (4,), "bias_ih_l0, bias_hh_l0: take 0 of 3 along 0; sum"
    ),
    "Equinox's GRU": (
        {"bias_ih_l0": (12,), "bias_hh_l0": (12,)}, (12,), "bias_ih_l0, bias_hh_l0: [1 of 2] blank 2 of 3 along 0; sum"
    ),
}  # fmt: skip


def arrays(shapes: dict[str, Shape]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(len(shapes))
    return {key: rng.integers(-(2**20), 2**20, shape).astype(np.float64) for key, shape in shapes.items()}


def same_effect(a: Rule, b: Rule, state: dict[str, np.ndarray]) -> bool:
    left, right = a(state), b(state)
    return left.shape == right.shape and np.array_equal(left, right)


@pytest.mark.parametrize("name", RELATIONS)
def test_candidates_hold_the_usual_relation(name: str) -> None:
    shapes, shape, text = RELATIONS[name]
    true, state = parse_rule(text), arrays(shapes)
    assert true.shape(shapes) == shape
    found = list(rules(shapes, shape))
    assert any(same_effect(rule, true, state) for rule in found)
    assert len(found) <= 600
    effects = {(frozenset(rule.sources), rule(state).tobytes()) for rule in found}
    assert len(effects) == len(found)  # none twice


@pytest.mark.parametrize(
    ("shapes", "shape", "kind", "first"),
    [
        ({"w": (6, 6)}, (6, 6), "", ["w", "w: o i -> i o"]),
        ({"w": (8, 3, 5, 4)}, (5, 4, 3, 8), "conv", ["w: o i h w -> h w i o"]),
        ({"w": (8, 8, 2, 2)}, (2, 2, 8, 8), "conv_transpose", ["w: flip 2 3; o i h w -> h w i o"]),
        ({"q": (6, 6), "v": (6, 6), "k": (6, 6)}, (18, 6), "", ["q, k, v: concat 0"]),
        ({"w": (12, 12)}, (12, 3, 4), "", ["w: (h d) i -> i h d | d=4"]),
    ],
)
def test_the_most_usual_rule_is_the_first(shapes: dict[str, Shape], shape: Shape, kind: str, first: list[str]) -> None:
    found = rules(shapes, shape, kind)
    assert [text_of(next(found)) for _ in first] == first


def test_whole_networks_have_a_bounded_number_of_candidates() -> None:
    shapes = {f"layers.{n}.{name}": (24, 24) for n in range(6) for name in ("q", "k", "v", "out", "up", "down")}
    found = list(rules(shapes, (6, 24, 24)))
    assert len(found) <= 24 * len(shapes)
    stacked = parse_rule("layers.{0..5}.down: o i -> i o; stack 0")
    assert any(same_effect(rule, stacked, arrays(shapes)) for rule in found)


@given(st.sampled_from(sorted(RELATIONS)), st.integers(0, 10**6), st.data())
def test_adjoint_and_inverse_of_every_candidate(name: str, seed: int, data: st.DataObject) -> None:
    shapes, shape, _ = RELATIONS[name]
    found = list(rules(shapes, shape))
    rule = data.draw(st.sampled_from(found))
    rng = np.random.default_rng(seed)
    x = {key: rng.normal(size=size) for key, size in shapes.items()}
    y = rng.normal(size=shape)
    constant = rule({key: np.zeros(size) for key, size in shapes.items()})
    left = np.sum((rule(x) - constant) * y)
    back = rule.back(y, shapes)
    np.testing.assert_allclose(left, sum(np.sum(x[key] * back[key]) for key in back), rtol=1e-9, atol=1e-9)
    table = rule.table(shapes)
    if np.any(np.sum(table.indices >= 0, axis=0) > 1):
        with pytest.raises(UserError, match="sum"):
            rule.inverse(rule(x), shapes)
        again = rule.inverse(rule(x), shapes, sums=True)  # another state that makes the same leaf
        np.testing.assert_allclose(rule({key: np.nan_to_num(value) for key, value in again.items()}), rule(x))
        return
    for key, array in rule.inverse(rule(x), shapes).items():
        held = ~np.isnan(array)
        np.testing.assert_allclose(array[held], x[key][held], rtol=1e-12, atol=1e-12)
        assert held.sum() == np.unique(table.indices[table.indices >= 0]).size or len(shapes) > 1


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.int32])
def test_the_dtype_is_kept(dtype: type) -> None:
    state = {"a": np.arange(8).astype(dtype), "b": np.arange(8).astype(dtype)}
    rule = parse_rule("a, b: reorder 0: 0 2 1 3 of 4; sum; add -1 to 2 of 4 along 0")
    assert rule(state).dtype == dtype
    np.testing.assert_array_equal(rule(state).astype(float), [0, 2, 8, 10, 3, 5, 12, 14])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("w: o i -> i o; tak 1 of 2 along 0", "unknown step 'tak 1 of 2 along 0'. Did you mean 'take'?"),
        ("w: reorder 0: 1 0", "expected 'reorder AXIS: BLOCK BLOCK ... of COUNT'"),
        ("w: (h d) i -> h d i | h=x", "expected sizes such as h=4 after '|'"),
        ("w: [2 of 2] flip 0", "counted from 0, the last of 2 is 1"),
        ("w: o i t -> t i o", "step 'o i t -> t i o' does not fit (6, 4)"),
        ("w: (h d) i -> h d i | h=4", "step '(h d) i -> h d i | h=4' does not fit (6, 4)"),
        ("w: take 1 of 4 along 0", "axis 0 has 6 entries, which are not 4 equal blocks"),
        ("w: take 3 of 3 along 0", "counted from 0, the last of 3 blocks is 2"),
        ("wight: o i -> i o", "there is no tensor 'wight'. Did you mean 'weight'?"),
        ("w, v: o i -> i o", "2 arrays are left; join them by concat, stack or sum"),
        ("w, v: sum", "a sum needs arrays of one shape"),
    ],
)
def test_a_wrong_rule_is_named_in_one_line(text: str, fault: str) -> None:
    state = {"w": np.zeros((6, 4)), "v": np.zeros((4, 4)), "weight": np.zeros(3)}
    with pytest.raises(UserError) as error:
        parse_rule(text)(state)
    assert fault in str(error.value)
    assert "\n" not in str(error.value)


def test_an_inverse_that_does_not_exist_is_refused() -> None:
    repeated = parse_rule("w: (h d) -> (h r d) | d=2 r=2")
    with pytest.raises(UserError, match="copies of an element that differ"):
        repeated.inverse(np.arange(8.0), {"w": (4,)})
    with pytest.raises(UserError, match="only 2 of 4"):
        parse_rule("w: slice :2 along 0").inverse(np.arange(2), {"w": (4,)})
    with pytest.raises(UserError, match=r"\(3,\), expected \(2,\)"):
        parse_rule("w: slice :2 along 0").inverse(np.arange(3.0), {"w": (4,)})


def network() -> tuple[Mapping, dict[str, np.ndarray]]:
    """Return the mapping of a network with something of everything."""
    shapes: dict[str, Shape] = {"pos": (1, 9, 4), "s": (), "head.weight": (7, 4), "gru.b_ih": (9,), "gru.b_hh": (9,)}
    found: dict[str, str] = {}
    for n in range(4):
        shapes |= {f"l.{n}.{q}_proj.weight": (12, 12) for q in "qkv"} | {f"l.{n}.norms.{n + 1}.weight": (12,)}
        shapes |= {f"rnn.{w}_{q}_l{n}": (16, 3)[: 2 - (w == "bias")] for w in ("weight", "bias") for q in ("ih", "hh")}
        shapes |= {f"down.{n}.conv{k}.weight": (4, 2, 3, 3) for k in (1, 2)}
        found[f"params/norm_{n}/scale"] = f"l.{n}.norms.{n + 1}.weight: add -1"
        found[f"params/lstm_{n}/kernel"] = (
            f"rnn.weight_ih_l{n}, rnn.weight_hh_l{n}: reorder 0: 0 2 1 3 of 4; o i -> i o; concat 0"
        )
        found[f"params/lstm_{n}/bias"] = (
            f"rnn.bias_ih_l{n}, rnn.bias_hh_l{n}: reorder 0: 0 2 1 3 of 4; sum; add -1 to 2 of 4 along 0"
        )
        for k in (1, 2):
            found[f"params/down_{n}/conv{k}/kernel"] = f"down.{n}.conv{k}.weight: flip 2 3; o i h w -> h w i o"
    fused = ", ".join(f"l.{n}.{q}_proj.weight" for n in range(4) for q in "qkv")
    found["params/layers/qkv"] = f"{fused}: (h d) i -> i h d | d=3; concat 1 by 3; stack 0"
    found["params/norms"] = ", ".join(f"l.{n}.norms.{n + 1}.weight" for n in range(4)) + ": stack 0"
    found["params/queries"] = "l.{0..3}.q_proj.weight: o i -> i o; stack 0"
    found["params/gru/bias"] = "gru.b_ih, gru.b_hh: [1 of 2] blank 2 of 3 along 0; sum"
    found["params/gru/bias_n"] = "gru.b_hh: take 2 of 3 along 0"
    found["params/pos"] = "pos: 1 t d -> t d; slice 2: along 0"
    found["params/first"] = "pos: index 0 along 0; slice :2 along -2"
    found["params/s"] = "s: -> 1"
    found["params/heads"] = "head.weight: o (h d) -> o (h r d) | d=2 r=2"
    parsed = {path: parse_rule(text) for path, text in found.items()}
    rng = np.random.default_rng(0)
    state = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    leaves = {path: rule.shape(shapes) for path, rule in parsed.items()} | {"constants/table": (2,)}
    state |= {"rope.inv_freq": np.ones(2, np.float32), "tied.weight": state["head.weight"]}
    kept = {"constants/table": np.array([1.0, 2.0])}, {"rope.inv_freq": np.ones(2, np.float32)}
    return Mapping(parsed, shapes | {"rope.inv_freq": (2,)}, leaves, *kept, {"tied.weight": "head.weight"}), state


def test_emitted_code_computes_the_same_without_any_framework(tmp_path: Path) -> None:
    mapping, state = network()
    source = emit(mapping, "convert_net", "my_torch.py:Net my_flax.py:Net")
    assert "my_torch.py:Net my_flax.py:Net" in (ast.get_docstring(ast.parse(source)) or "")
    assert source.count("for i in range(4):") == 1  # one loop, and no line for each layer
    assert 'f"params/norm_{i}/scale": np.add(tensor(f"l.{i}.norms.{i + 1}.weight"), -1),' in source
    assert (
        'np.stack(\n            [rearrange(tensor(f"l.{j}.q_proj.weight"), "o i -> i o") for j in range(4)],' in source
    )
    (tmp_path / "convert_net.py").write_text(source)
    np.savez(tmp_path / "state.npz", **state)  # pyright: ignore[reportArgumentType]
    program = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jax", "torch", "parity", "data", "experiment", "flax"):
            raise ImportError(name)
sys.meta_path.insert(0, Nothing())
import numpy as np
from convert_net import KEPT, convert_net
state = dict(np.load("state.npz"))
found = {}
def walk(tree, prefix):
    for name, value in tree.items():
        walk(value, f"{prefix}{name}/") if isinstance(value, dict) else found.update({prefix + name: value})
walk(convert_net(state), "")
np.savez("leaves.npz", **found)
print(KEPT)
try:
    convert_net(state | {"other.weight": state["s"]})
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True, env={}
    )
    assert done.stdout.splitlines() == ["('constants/table',)", "tensors that no rule uses: ['other.weight']"]
    expected = mapping.to_flax(state, flat=True)
    with np.load(tmp_path / "leaves.npz") as found:
        assert set(found) == expected.keys() - {"constants/table"}
        for path in found:
            assert found[path].dtype == expected[path].dtype
            assert found[path].tobytes() == expected[path].tobytes()


@given(st.sampled_from(sorted(RELATIONS)), st.data())
def test_emitted_code_equals_the_rule(name: str, data: st.DataObject) -> None:
    shapes, shape, _ = RELATIONS[name]
    rule = data.draw(st.sampled_from(list(rules(shapes, shape))))
    state = arrays(shapes)
    used = {key: shapes[key] for key in rule.sources}
    source = emit(Mapping({"params/leaf": rule}, used, {"params/leaf": shape}), "convert")
    space: dict = {}
    exec(compile(source, "emitted", "exec"), space)
    assert space["convert"]({key: state[key] for key in used})["params"]["leaf"].tobytes() == rule(state).tobytes()
    assert max(map(len, source.splitlines())) <= 88


def test_a_name_that_cannot_be_a_function_is_refused() -> None:
    for name in ("convert-net", "class", "np", "block"):
        with pytest.raises(UserError, match="cannot be the name of the function"):
            emit(network()[0], name)


def test_a_mapping_goes_both_ways() -> None:
    mapping, state = network()
    variables = mapping.to_flax(state)
    assert variables["params"]["lstm_0"]["kernel"].shape == (6, 16)
    assert variables["constants"]["table"].dtype == np.float32  # the model's own, as precise as the weights
    whole = Mapping(
        {path: rule for path, rule in mapping.rules.items() if path not in ("params/norms", "params/queries")},
        mapping.tensors,
        {path: shape for path, shape in mapping.leaves.items() if path not in ("params/norms", "params/queries")},
        mapping.kept_leaves,
        mapping.kept_tensors,
        mapping.tied,
    )
    back = whole.to_torch(whole.to_flax(state))
    assert back.keys() == state.keys()
    exact = [key for key in state if "bias" not in key and "norms" not in key and "gru" not in key]
    for key in exact:
        np.testing.assert_array_equal(back[key], state[key])
    np.testing.assert_allclose(back["l.0.norms.1.weight"], state["l.0.norms.1.weight"], atol=1e-6)
    again = whole.to_flax(back, flat=True)
    for path, leaf in whole.to_flax(state, flat=True).items():
        np.testing.assert_allclose(again[path], leaf, atol=1e-6)
    assert "constants/table: the JAX model's own, float64 (2,) = [1.0, 2.0]" in mapping.without_twin()


def test_every_wrong_tensor_is_listed_at_once() -> None:
    mapping, state = network()
    wrong = {key: value for key, value in state.items() if key != "s"}
    wrong |= {"pos": np.zeros((1, 9, 5)), "more.weight": np.zeros(2), "rope.inv_freq": np.zeros(2)}
    with pytest.raises(UserError) as error:
        mapping.to_flax(wrong)
    for part in (
        "missing tensor 's' ()",
        "unexpected tensor 'more.weight' (2,)",
        "tensor 'pos' is (1, 9, 5), expected (1, 9, 4)",
        "'rope.inv_freq' differs from the module's, and the JAX model has no place for it",
    ):
        assert part in str(error.value)
    with pytest.raises(UserError, match=r"'tied.weight' and 'head.weight' are one tensor"):
        mapping.to_flax(state | {"tied.weight": state["head.weight"] + 1})
    leaves = mapping.to_flax(state, flat=True)
    changed = leaves | {"params/queries": leaves["params/queries"] + 1}
    with pytest.raises(UserError, match=r"'params/queries' holds other numbers for 'l.0.q_proj.weight'"):
        mapping.to_torch(changed)
    with pytest.raises(UserError, match=r"missing leaf 'params/s' \(1,\).*unexpected leaf 'params/t'"):
        mapping.to_torch(
            {**{path: leaf for path, leaf in leaves.items() if path != "params/s"}, "params/t": leaves["params/s"]}
        )


def test_what_nothing_makes_is_named() -> None:
    whole = Mapping({"params/w": Rule(("w",))}, {"w": (2,), "b": (2,)}, {"params/w": (2,), "params/b": (2,)})
    with pytest.raises(UserError, match="leaf 'params/b' has neither a rule nor a value"):
        whole.to_flax({"w": np.zeros(2), "b": np.zeros(2)})
    with pytest.raises(UserError, match="'b' is in no leaf and has no value"):
        whole.to_torch({"params/w": np.zeros(2), "params/b": np.zeros(2)})


def test_a_mapping_file_holds_the_rules(tmp_path: Path) -> None:
    mapping, _ = network()
    file = tmp_path / "mapping.json"
    file.write_text(dump(mapping.rules))
    assert read(file, mapping.tensors, mapping.leaves).rules == mapping.rules
    text = file.read_text()
    assert '"params/norm_0/scale": "l.0.norms.1.weight: add -1"' in text
    assert '"params/queries": "l.{0..3}.q_proj.weight: o i -> i o; stack 0"' in text
    assert len(text.splitlines()) == len(mapping.rules) + 2  # a line for each leaf


def test_the_older_mapping_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "names.json"
    file.write_text('{"fc1.weight": "params/Dense_0/kernel", "fc1.bias": "params/Dense_0/bias"}')
    tensors, leaves = (
        {"fc1.weight": (3, 2), "fc1.bias": (3,)},
        {"params/Dense_0/kernel": (2, 3), "params/Dense_0/bias": (3,)},
    )
    found = read(file, tensors, leaves)
    assert found.keys == {"params/Dense_0/kernel": "fc1.weight", "params/Dense_0/bias": "fc1.bias"}
    assert found.rules == {}


def test_every_fault_of_a_mapping_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mapping.json"
    tensors, leaves = {"fc1.weight": (3, 2)}, {"params/fc1/kernel": (2, 3), "params/fc2/kernel": (2, 3)}
    file.write_text(
        json.dumps({"params/fc1/kernl": "fc1.weight: o i -> i o", "params/fc2/kernel": "fc2.weight: flop 0", "a/b": 3})
    )
    with pytest.raises(UserError) as error:
        read(file, tensors, leaves)
    for part in (
        "unknown step 'flop 0'. Did you mean 'flip'?",
        "the JAX model has no 'params/fc1/kernl'. Did you mean 'params/fc1/kernel'?",
        "'a/b': expected \"SOURCE: STEP; STEP\"",
    ):
        assert part in str(error.value)
    file.write_text(
        json.dumps(
            {"params/fc1/kernel": "fc1.weight", "params/fc2/kernel": {"from": "fc1.weight", "steps": ["i o -> (i o)"]}}
        )
    )
    with pytest.raises(UserError, match=r"kernel' is \(2, 3\), but its rule makes \(3, 2\).*makes \(6,\)"):
        read(file, tensors, leaves)
    file.write_text('{"params/fc1/kernel": "fc1.weight", "params/fc1/kernel": "fc1.weight"}')
    with pytest.raises(UserError, match="'params/fc1/kernel' is there twice"):
        read(file, tensors, leaves)
    file.write_text("[1]")
    with pytest.raises(UserError, match=r"expected \{leaf: rule}, found list"):
        read(file, tensors, leaves)


def test_a_step_is_what_einops_does() -> None:
    array = np.arange(24.0).reshape(6, 4)
    assert parse("(h d) i -> i h d | h=3").kind == "move"
    np.testing.assert_array_equal(
        Rule(("w",), ("(h d) i -> i h d | h=3",))({"w": array}), einops.rearrange(array, "(h d) i -> i h d", h=3)
    )
