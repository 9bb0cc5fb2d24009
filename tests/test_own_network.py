"""A network of the user's own by `--model my_net.py:Net` in every command, in both frameworks."""

import json
import sys
from pathlib import Path

import pytest

from data import UserError
from experiment.own_network import parse_target
from experiment.own_source import load
from jaxnets import MODELS as FLAX
from torchnets import MODELS as TORCH

OPTIONS = ("--dataset", "digits", "--epochs", 1, "--batch-size", 400)
NETS = {  # in files that are called like packages
    "jaxnets": (
        "data.py",
        """
from __future__ import annotations
from flax import linen as nn
import data
from layers import Block
assert hasattr(data, "Loader")

class Net(nn.Module):
    num_classes: int
    width: int = 8
    dropout: float = 0.1

    @nn.compact
    def __call__(self, x, training):
        x = nn.Dropout(self.dropout, deterministic=not training)(Block(self.width)(x))
        return nn.Dense(self.num_classes)(x)

class Pair(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(x), x

class Row(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(7)(x.mean((1, 2)))

class Empty(nn.Module):
    def __call__(self, x):
        return x.reshape(len(x), -1)[:, :10]

class Wrong(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(x @ x)
""",
        """
from __future__ import annotations
from flax import linen as nn

class Block(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(self.width)(x.reshape(len(x), -1)))
""",
    ),
    "torchnets": (
        "torch.py",
        """
import torch
from torch import nn
from layers import Block

class Net(nn.Module):
    def __init__(self, num_classes, width=8, dropout=0.1):
        super().__init__()
        self.block, self.drop = Block(width), nn.Dropout(dropout)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x, *, deterministic):
        assert deterministic is not self.training
        return self.fc(self.drop(self.block(x)))

class Pair(nn.Linear):
    def __init__(self):
        super().__init__(64, 10)

    def forward(self, x):
        return super().forward(x.flatten(1)), x

class Row(nn.Linear):
    def __init__(self):
        super().__init__(64, 7)

    def forward(self, x):
        return super().forward(x.flatten(1))

class Empty(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10]

class Wrong(nn.Linear):
    def __init__(self):
        super().__init__(64, 10)

    def forward(self, x):
        return super().forward(x @ x.mT[:, :, :7])
""",
        """
from torch import nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.LazyLinear(width)

    def forward(self, x):
        return self.fc(x.flatten(1)).relu()
""",
    ),
}


@pytest.fixture(params=NETS)
def own(request, tmp_path) -> tuple[str, Path]:
    """Write a network and what it imports; return the framework and the network's file."""
    name, net, layers = NETS[request.param]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text(net)
    (tmp_path / "mine" / "layers.py").write_text(layers)
    return request.param, tmp_path / "mine" / name


def line(result: tuple[int, str, str]) -> str:
    code, _, err = result
    assert code == 1
    assert len(err.strip().splitlines()) == 1, err
    return err


def test_every_command_takes_it(own, run_main, tmp_path):
    framework, file = own
    train, model = f"{framework}.train", f"mine/{file.name}:Net(width=4)"
    before, path = set(sys.modules), list(sys.path)
    code, out, err = run_main(train, "--model", model, "--dropout", 0.2, *OPTIONS, "--out", "run")
    assert (code, err) == (0, "")
    assert out.startswith("Net(width=4): 310 parameters")
    assert not {name for name in set(sys.modules) - before if name in ("layers", "data", "torch")}
    assert sys.path == path
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"] == f"{file}:Net(width=4)"
    assert set(config["source"]) == {file.name, "layers.py"}
    table = out[out.index("┏") : out.rindex("┘")]
    assert table in run_main(f"{framework}.evaluate", "run")[1]
    assert run_main(f"{framework}.compare", "run")[0] == 0
    code, out, _ = run_main(train, "--model", model, "--summary")
    assert (code, "310" in out) == (0, True)
    code, out, _ = run_main(train, "--model", model, *OPTIONS, "--seeds", 2, "--out", "seeds")
    assert (code, "+-" in out) == (0, True)
    assert run_main(train, "--resume", "run") == (0, "run has finished: nothing to go on with\n", "")

    file.write_text(file.read_text() + "\n# changed\n")
    code, out, _ = run_main(f"{framework}.evaluate", "run")
    assert (code, f"warning: {file.name} has changed since the run was trained" in out) == (0, True)
    file = file.rename(tmp_path / file.name)
    assert f"--model FOLDER/{file.name}:Net(width=4) says where it is now" in line(
        run_main(f"{framework}.evaluate", "run")
    )
    code, out, _ = run_main(f"{framework}.evaluate", "run", "--model", f"run/source/{file.name}:Net(width=4)")
    assert (code, table in out, "warning" in out) == (0, True, False)


def test_a_moved_file_is_named_to_go_on(own, run_main, tmp_path):
    framework, file = own
    argv = ("--model", f"{file}:Net", *OPTIONS[:2], "--epochs", 2, "--batch-size", 400)
    assert run_main(f"{framework}.train", *argv, "--out", "run")[0] == 0
    expected = (tmp_path / "run" / "weights.safetensors").read_bytes()
    for path in ("summary.json", "weights.safetensors"):
        (tmp_path / "run" / path).unlink()
    moved = file.parent.rename(tmp_path / "moved") / file.name
    code, _, err = run_main(f"{framework}.train", "--resume", "run", "--model", f"{moved}:Net")
    assert (code, err) == (0, "")
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == expected
    assert run_main(f"{framework}.evaluate", "run")[0] == 0
    other = f"{moved}:Net(width=5)"
    assert "not the same training: model was" in line(
        run_main(f"{framework}.train", "--resume", "run", "--model", other)
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Nett", "has no 'Nett'. Did you mean 'Net'?"),
        ("Pair", "returns a tuple of (2, "),
        ("Row", "returns (2, 7) for inputs (2, "),
        ("Empty", "has no parameters to train"),
        ("Wrong", "Wrong fails on inputs (2, "),
        ("Net(widht=3)", "widht"),
        ("Net(width=os)", "the argument os is no literal"),
        ("Net(width=__import__('os').getpid())", "is no literal"),
        ("Net(width=3", "names no network; expected a registered name, my_net.py:Net"),
        ("Block(width=3)", "returns (2, 3) for inputs (2, "),
    ],
)
def test_what_cannot_be_trained_is_one_line(own, run_main, name, said):
    framework, file = own
    assert said in line(run_main(f"{framework}.train", "--model", f"{file}:{name}", *OPTIONS))


def test_a_network_of_the_other_framework_is_refused(own, run_main):
    framework, file = own
    other = {"jaxnets": "torchnets", "torchnets": "jaxnets"}[framework]
    assert "Net, expected a " in line(run_main(f"{other}.train", "--model", f"{file}:Net", *OPTIONS))


def test_files_that_cannot_be_imported_are_one_line(run_main, tmp_path):
    (tmp_path / "broken.py").write_text("import nothing_like_it\n")
    (tmp_path / "syntax.py").write_text("x = (\n")
    for model, said in (
        ("broken.py:Net", f"ModuleNotFoundError at {tmp_path}/broken.py:1: No module named 'nothing_like_it'"),
        ("syntax.py:Net", f"SyntaxError at {tmp_path}/syntax.py:1"),
        ("missing.py:Net", f"there is no file {tmp_path}/missing.py"),
        ("no.such.module:Net", "no.such.module cannot be imported"),
        ("syntax.py", "say which network in it, as in syntax.py:Net"),
        ("lenet(batch_norm=True)", "unknown model 'lenet'. Did you mean 'lenet5'"),
        ("lenet5(batch=True)", "batch"),
    ):
        assert said in line(run_main("jaxnets.train", "--model", model, *OPTIONS))
    for model, shape, said in (
        ("lenet5", "8,8,1", "'lenet5' takes 32x32x1 alone"),
        ("resnet18_cifar", "48,48,1", "'resnet18_cifar' takes height,width,3"),
        ("m5", "48,48,1", "'m5' takes length,1"),
    ):
        assert said in line(run_main("jaxnets.train", "--model", model, "--input-shape", shape))


def test_two_folders_may_each_have_files_of_the_same_names(tmp_path):
    for at, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text("from layers import X\nfrom .layers import X as Y\n")
        (tmp_path / folder / "layers.py").write_text(f"X = {at}\n")
    for at, folder in enumerate("ab"):
        module = load(str(tmp_path / folder / "net.py"), "").module
        assert (at, at) == (module.X, module.Y)
    (tmp_path / "a" / "layers.py").write_text("X = 5\n")
    assert load(str(tmp_path / "a" / "net.py"), "").module.X == 5
    assert "layers" not in sys.modules


def test_registered_networks_take_arguments():
    for models in (FLAX, TORCH):
        assert "lenet5(batch_norm=True)" in models
        assert models["lenet5(batch_norm=True)"].own == "lenet5(batch_norm=True)"
        with pytest.raises(KeyError):
            models["lenet6"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/my net (1).py:Net", ("a/my net (1).py", "Net", (), {})),
        (
            "package.module:Outer.Net(64, act='relu', widths=(1, 2), d={'a': 1})",
            ("package.module", "Outer.Net", (64,), 4),
        ),
        ("resnet18(width=8)", ("", "resnet18", (), {"width": 8})),
    ],
)
def test_names_are_parsed(text, expected):
    found = parse_target(text)
    assert (found.source, found.name, found.arguments) == expected[:3]
    assert isinstance(expected[3], int) or found.keywords == expected[3]
    assert parse_target(found.text) == found._replace(source=found.source and parse_target(found.text).source)
    with pytest.raises(UserError):
        parse_target(f"{text}, x")
