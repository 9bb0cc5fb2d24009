"""Modules and inputs from a user's files, and inputs of the command line."""

from typing import Any

import jax
import numpy as np
import pytest
import torch

from data import UserError
from parity.sides.draw import drawn, parse_input
from parity.sides.inputs import both_inputs, both_sides
from parity.sides.jax_side import jax_side
from parity.sides.load import load_inputs, load_jax, load_torch

USER = """
import jax, jax.numpy as jnp, numpy as np, torch
import equinox as eqx
from flax import linen as nn, nnx
from data import WIDTH  # the user's, beside this file

class Net(torch.nn.Module):
    def __init__(self, width=WIDTH, *, names=("a", "b")):
        super().__init__()
        self.fc = torch.nn.Linear(3, width)
        self.names = names
    def forward(self, x, mask=None):
        if mask is not None and mask.ndim == 0:
            raise ValueError("bad mask")
        return self.fc(x)

class Small(nnx.Module):
    def __init__(self, width=WIDTH, *, rngs):
        self.fc = nnx.Linear(3, width, rngs=rngs)
        self.table = np.arange(3.0)
    def __call__(self, x):
        return self.fc(x)

class Layer(eqx.Module):
    fc: eqx.nn.Linear
    def __init__(self, key):
        self.fc = eqx.nn.Linear(3, 4, key=key)
    def __call__(self, x):
        return self.fc(x)

def apply(params, x):
    return x @ params["w"]

pair = (apply, {"w": np.ones((3, 4), np.float32)})
wide = jax.tree.map(lambda a: a, (apply, {"w": jnp.ones((3, 4), float)}))
table = jnp.arange(3, dtype=float).dtype
linen = nn.Dense(4)
def make():
    return nn.Dense(4)
def dtype():
    return (apply, {"w": jnp.ones((3, 4), float)})
def broken():
    return {}["no"]
def leaves():
    raise SystemExit(3)
def one():
    return np.ones((2, 3))
def several():
    return np.ones((2, 3)), np.ones(2)
def named():
    return {"x": np.ones((2, 3))}
def both():
    return (np.ones((2, 3)),), {"x": np.ones((2, 4))}
number = 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text(USER)
    (folder / "data.py").write_text("WIDTH = 4\n")
    (folder / "wrong.py").write_text("import numpy\n\ndef f(:\n")
    (folder / "missing.py").write_text("\nimport no_such_package\n")
    return folder


def test_modules_are_made_with_literal_arguments(folder):
    make: Any = load_torch
    assert make(f"{folder}/mine.py:Net").fc.out_features == 4
    net = make(f"{folder}/mine.py:Net(7, names=['x', None])")
    assert (net.fc.out_features, net.names, net.fc.weight.dtype) == (7, ["x", None], torch.float32)
    import data

    assert data.UserError is UserError
    assert not hasattr(data, "WIDTH")
    torch.testing.assert_close(make(f"{folder}/mine.py:Net").fc.weight, make(f"{folder}/mine.py:Net").fc.weight)


@pytest.mark.parametrize("name", ["Small", "Small(width=4)", "Layer", "pair", "linen", "make", "make()", "dtype"])
def test_jax_models_are_made_or_taken_as_they_are(folder, name):
    side = jax_side(load_jax(f"{folder}/mine.py:{name}"), (np.ones((2, 3)),), {})
    assert side.output.shape == (2, 4)
    if name == "dtype":
        model = load_jax(f"{folder}/mine.py:{name}")
        assert model[1]["w"].dtype == np.float64
    assert jax.numpy.zeros(1, float).dtype == np.float32


def test_files_of_equal_names_in_two_folders_and_of_an_installed_package(tmp_path):
    for name, width in (("one", 4), ("two", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "layers.py").write_text(f"WIDTH = {width}\n")
        text = "import einops, torch\nfrom layers import WIDTH\ndef make():\n    einops.rearrange\n"
        (tmp_path / name / "einops.py").write_text(f"{text}    return torch.nn.Linear(3, WIDTH)\n")
    modules: Any = [load_torch(f"{tmp_path}/{name}/einops.py:make") for name in ("one", "two", "one")]
    assert [module.out_features for module in modules] == [4, 5, 4]


def test_inputs_of_a_function(folder):
    assert load_inputs(f"{folder}/mine.py:one")[0].shape == (2, 3)
    assert [a.shape for a in load_inputs(f"{folder}/mine.py:several")[0]] == [(2, 3), (2,)]
    assert load_inputs(f"{folder}/mine.py:named")[1] is None
    ours, theirs = load_inputs(f"{folder}/mine.py:both")
    assert (ours[0].shape, theirs["x"].shape) == ((2, 3), (2, 4))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("mine.py", "expected file.py:name"),
        ("no.py:Net", "there is no file"),
        ("mine.py:Nett", r"has no 'Nett'. Did you mean 'Net'\?"),
        ("mine.py:Net(width=x)", "literal arguments"),
        ("mine.py:Net(", "literal arguments"),
        ("mine.py:Net(height=3)", "unexpected keyword argument 'height'"),
        ("mine.py:number", "is int"),
        ("mine.py:linen", "expected a torch.nn.Module"),
        ("mine.py:broken", r"KeyError at .*mine.py:4\d: 'no'"),
        ("mine.py:leaves", r"SystemExit at .*mine.py:\d+"),
        ("wrong.py:Net", r"SyntaxError at .*wrong.py:3"),
        ("missing.py:Net", r"ModuleNotFoundError at .*missing.py:2: No module named 'no_such_package'"),
    ],
)
def test_what_is_wrong_with_a_target_is_said_in_a_line(folder, target, words):
    with pytest.raises(UserError, match=words) as error:
        load_torch(f"{folder}/{target}")
    assert "\n" not in str(error.value)


def test_inputs_of_the_command_line():
    texts = ["4,16,16,3", "time=float:4", "int:3,12:50", "mask=bool:3,12", "float:9:2..3", "n=int:200:3..5"]
    texts += ["pad=lengths:2,9:9,6", "pos=arange:2,3", "one=ones:2,2"]
    inputs = drawn(texts)
    assert [a.shape for a in inputs.args] == [(4, 16, 16, 3), (3, 12), (9,)]
    assert (inputs.args[0].dtype, inputs.args[1].dtype.kind, inputs.kwargs["mask"].dtype) == (np.float64, "i", bool)
    assert 30 < inputs.args[1].max() < 50
    assert ((inputs.args[2] >= 2) & (inputs.args[2] <= 3)).all()
    assert {*inputs.kwargs["n"]} == {3, 4}
    assert inputs.kwargs["pad"].sum(1).tolist() == [9, 6]
    assert inputs.kwargs["pos"].tolist() == [[0, 1, 2]] * 2
    assert inputs.kwargs["one"].tolist() == [[1, 1]] * 2
    again = drawn(texts)
    assert all(np.array_equal(again.kwargs[name], inputs.kwargs[name]) for name in inputs.kwargs)
    assert not np.array_equal(*drawn(["3,4", "3,4"]).args)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected .*SHAPE"),
        ("4;3", "expected .*SHAPE"),
        ("4,,3", "a shape is sizes"),
        ("0,3", "at least 1"),
        ("-1,3", "expected .*SHAPE"),
        ("ints:3,4", "'ints' is none of float, int"),
        ("int:3,4", "give the bound"),
        ("int:3,4:0", "give the bound"),
        ("int:3,4:5..2", "give the bound"),
        ("bool:3:4", "bool takes no bound"),
        ("mask=lengths:2,9:9,60", "lengths of at most"),
        ("float:3:1", "two bounds"),
    ],
)
def test_what_is_wrong_with_an_input_is_said_in_a_line(text, words):
    with pytest.raises(UserError, match=f"^--jax-input {text}.*{words}"):
        parse_input(text, "--jax-input")
    with pytest.raises(UserError, match="the name x is given twice"):
        drawn(["x=3", "x=4"])


class Strings(torch.nn.Module):
    def forward(self, x):
        return "text", x.shape[0] > 1


def test_faults_name_the_users_line(folder):
    x, net, flax = np.ones((2, 3)), load_torch(f"{folder}/mine.py:Net"), load_jax(f"{folder}/mine.py:linen")
    for given, words in [
        (None, "no inputs are given"),
        (
            (),
            r"PyTorch side cannot be called: too few inputs .*missing 1 .*; forward\(x, mask=None\) of .*mine.py:\d+",
        ),
        ((x, 1.0), r"too many inputs|no attribute 'ndim'"),
        (
            (x, np.float64(1)),
            r"ValueError at .*mine.py:14: bad mask; forward.* is given \(2, 3\) float64, \(\) float64",
        ),
        ((x, x), r"JAX side cannot be called: too many inputs, or another name .*Dense\(inputs\) is given"),
    ]:
        with pytest.raises(UserError, match=words) as error:
            both_inputs(net, flax, given)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"PyTorch side returns no array: str, bool"):
        both_sides(Strings(), flax, x)
    with pytest.raises(UserError, match=r"PyTorch side is the class Strings: call it, Strings\(...\)"):
        both_sides(Strings, flax, x)
    with pytest.raises(UserError, match=r"JAX side is the class Dense: call it"):
        both_sides(net, type(flax), x)
    with pytest.raises(UserError, match=r"JAX module decides in Python by a value.*test_sides_load.py:\d+"):
        jax_side((lambda params, x: x if params["w"].sum() > 0 else -x, {"w": x}), (x,), {})
