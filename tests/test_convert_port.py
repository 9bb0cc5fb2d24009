"""python -m parity convert my_torch.py:Net my_flax.py:Net: the weights of a proved pair, and the emitted function."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np
import orbax.checkpoint
import pytest
import torch
from flax import nnx
from safetensors.numpy import load_file, save_file

from experiment.weights.array_files import read_msgpack
from experiment.weights.conversion import leaves
from experiment.weights.files import read
from parity.convert import port as convert_port
from parity.mapping import Mapping
from parity.mapping.file import parse_rule
from parity.mapping.native import native_names

PAIR = ("my_torch.py:Net", "my_flax.py:Net", "--input", "2,4")


class Proof(NamedTuple):
    """What the proof of a pair says, as far as the command needs it."""

    mapping: Mapping
    ok: bool = True
    verdict: str = "the same network"
    names: dict[str, str] = {}  # noqa: RUF012 - of a NamedTuple


def state() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {f"layers.{n}.weight": rng.normal(size=(6, 4)).astype(np.float32) for n in range(2)}
    found |= {"lstm.bias_ih": rng.normal(size=6).astype(np.float32), "lstm.bias_hh": np.zeros(6, np.float32)}
    return found | {"half": rng.normal(size=3).astype(ml_dtypes.bfloat16), "count": np.array(3)}


def mapping() -> Mapping:
    texts = {f"params/layer_{n}/kernel": f"layers.{n}.weight: o i -> i o" for n in range(2)}
    texts |= {
        "params/lstm/bias": "lstm.bias_ih, lstm.bias_hh: sum",
        "params/half": "half",
        "batch_stats/count": "count",
    }
    found, shapes = {path: parse_rule(text) for path, text in texts.items()}, {k: v.shape for k, v in state().items()}
    sizes = {path: rule.shape(shapes) for path, rule in found.items()}
    table = {"constants/table": np.arange(2.0)}
    return Mapping(found, shapes, sizes | {"constants/table": (2,)}, table)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(convert_port, "proved", lambda _args: Proof(mapping()))
    file = tmp_path / "weights.safetensors"
    save_file(state(), file)
    return file


@pytest.fixture
def converted(convert) -> Callable[..., str]:
    """Run the command for the pair; return what it prints."""

    def run(*arguments: object) -> str:
        code, out, err = convert(*PAIR, *arguments)
        assert (code, err) == (0, "")
        return out

    return run


@pytest.fixture
def refused(convert) -> Callable[..., str]:
    """Run the command for the pair, which it refuses; return the one line that says why."""

    def run(*arguments: object) -> str:
        code, out, err = convert(*PAIR, *arguments)
        assert (code, out, err.count("\n")) == (1, "", 0)
        return err

    return run


def expected() -> dict[str, np.ndarray]:
    return mapping().to_flax(state(), flat=True)


def assert_same(found: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected().keys()
    for path, array in expected().items():
        assert found[path].dtype == array.dtype
        np.testing.assert_array_equal(found[path], array)


def test_weights_are_written_in_every_format(weights: Path, tmp_path: Path, converted) -> None:
    said = converted("--weights", weights, tmp_path / "net.safetensors")
    assert "6 arrays, 60 numbers: PyTorch" in said
    assert "constants/table: the JAX model's own" in said
    assert_same(load_file(tmp_path / "net.safetensors"))
    converted("--weights", weights, tmp_path / "net.msgpack")
    assert_same(dict(leaves(read_msgpack(tmp_path / "net.msgpack"))))
    for name in ("net.orbax", "net"):
        converted("--weights", weights, tmp_path / name)
        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            restored = checkpointer.restore(tmp_path / name)
        assert_same({path: np.asarray(array) for path, array in leaves(restored)})
        assert read(tmp_path / name).keys() == expected().keys() - {"constants/table"}  # by the own reader, too
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_weights_go_back(weights: Path, tmp_path: Path, converted) -> None:
    converted("--weights", weights, tmp_path / "net.safetensors")
    said = converted("--weights", tmp_path / "net.safetensors", tmp_path / "back.pth")
    assert "JAX" in said
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back.keys() == state().keys()
    assert back["half"].dtype == torch.bfloat16
    for key, array in state().items():
        np.testing.assert_array_equal(back[key].double().numpy(), array.astype(np.float64))


def test_files_of_torch_and_wrapped_names_are_read(weights: Path, tmp_path: Path, converted) -> None:
    half = {"half": torch.from_numpy(state()["half"].astype(np.float32)).bfloat16()}
    tensors = {key: torch.tensor(array) for key, array in state().items() if key != "half"} | half
    for name, content in (("plain", tensors), ("wrapped", {f"module.{key}": t for key, t in tensors.items()})):
        torch.save({"state_dict": content, "epoch": 3}, tmp_path / f"{name}.pth")
        said = converted("--weights", tmp_path / f"{name}.pth", tmp_path / f"{name}.safetensors")
        assert "left out: epoch" in said
        assert_same(load_file(tmp_path / f"{name}.safetensors"))
    assert weights.exists()


def test_tensors_of_a_module_are_taken() -> None:
    tensors = {key: torch.tensor(array.astype(np.float64)) for key, array in state().items()}
    tensors["half"] = torch.nn.Parameter(tensors["half"].bfloat16())
    found = mapping().to_flax(tensors, flat=True)
    assert found["params/half"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(found["params/half"], expected()["params/half"])
    np.testing.assert_array_equal(found["params/layer_1/kernel"], expected()["params/layer_1/kernel"])


def test_the_function_is_emitted(weights: Path, tmp_path: Path, converted) -> None:
    target, function = tmp_path / "net.msgpack", tmp_path / "convert_net.py"
    said = converted("--weights", weights, target, "--emit", function)
    assert f"convert_net() in {function}" in said
    spec = importlib.util.spec_from_file_location("convert_net", function)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = dict(leaves(module.convert_net(state())))
    assert found.keys() == expected().keys() - {"constants/table"}
    assert all(np.array_equal(found[path], expected()[path]) for path in found)
    converted(tmp_path / "alone.py")  # without weights
    assert (tmp_path / "alone.py").read_text() == function.read_text().replace("convert_net", "alone")


def test_nothing_is_written_unless_all_is_right(weights: Path, tmp_path: Path, refused, monkeypatch) -> None:
    there = tmp_path / "there.safetensors"
    there.write_text("mine")
    target, function = tmp_path / "net.safetensors", tmp_path / "convert_net.py"

    assert "exists already and is never overwritten" in refused("--weights", weights, there)
    assert there.read_text() == "mine"
    assert "exists already" in refused("--weights", weights, target, "--emit", there)
    assert "needs --weights FILE" in refused(target)
    assert "cannot be the name of the function" in refused("--weights", weights, target, "--emit", "my-net.py")
    assert "ends in '.txt'" in refused("--weights", weights, tmp_path / "net.txt")
    assert "is PyTorch's, so this becomes JAX's" in refused("--weights", weights, tmp_path / "net.pth")
    assert "no such folder" in refused("--weights", weights, tmp_path / "no" / "net.msgpack")
    wrong = {key: array for key, array in state().items() if key != "half"} | {"haf": np.zeros(3, np.float32)}
    save_file(wrong | {"layers.0.weight": np.zeros((6, 5), np.float32)}, tmp_path / "wrong.safetensors")
    said = refused("--weights", tmp_path / "wrong.safetensors", target, "--emit", function)
    for part in ("missing tensor 'half' (3,)", "unexpected tensor 'haf' (3,)", "is (6, 5), expected (6, 4)"):
        assert part in said
    monkeypatch.setattr(convert_port, "proved", lambda _args: Proof(mapping(), False, "they differ at fc1"))
    assert "nothing is written: they differ at fc1" in refused("--weights", weights, target, "--emit", function)
    assert not target.exists()
    assert not function.exists()


class Network(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.layers = nnx.List([nnx.Linear(3, 3, rngs=rngs) for _ in range(2)])
        self.norm = nnx.BatchNorm(3, rngs=rngs)


def test_a_file_for_nnx_has_its_names(tmp_path: Path, converted, monkeypatch) -> None:
    texts = {f"params/layers_{n}/kernel": f"{n}.weight: o i -> i o" for n in range(2)}
    texts |= {f"params/layers_{n}/bias": f"{n}.bias" for n in range(2)}
    texts |= {"params/norm/scale": "2.weight", "params/norm/bias": "2.bias"}
    texts |= {"batch_stats/norm/mean": "2.running_mean", "batch_stats/norm/var": "2.running_var"}
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    own = read(tmp_path / "weights.pth")
    found = {path: parse_rule(text) for path, text in texts.items()}
    shapes = {key: array.shape for key, array in own.items()}
    counter = {"2.num_batches_tracked": np.array(0)}
    pair = Mapping(found, shapes, {path: rule.shape(shapes) for path, rule in found.items()}, {}, counter)
    monkeypatch.setattr(convert_port, "proved", lambda _args: Proof(pair, names=native_names(Network())))
    converted("--weights", "weights.pth", "net.msgpack", "--emit", "convert_net.py")
    model = Network()
    state = nnx.state(model)
    nnx.replace_by_pure_dict(state, read_msgpack(Path("net.msgpack")))
    nnx.update(model, state)
    np.testing.assert_array_equal(model.layers[1].kernel.get_value(), own["1.weight"].T)
    np.testing.assert_array_equal(model.norm.var.get_value(), own["2.running_var"])
    assert 'f"layers/{i}/kernel": rearrange(tensor(f"{i}.weight")' in Path("convert_net.py").read_text()
    converted("--weights", "net.msgpack", "back.safetensors")
    assert load_file("back.safetensors").keys() == own.keys()


def test_options_of_a_pair_are_for_a_pair(convert) -> None:
    for arguments, said in (
        (("lenet5", "a.pth", "b.safetensors", "--emit", "c.py"), "--emit is for a pair"),
        (("a.py:Net", "b.pth", "c.safetensors"), "give the JAX model, too"),
        ((*PAIR, "--num-classes", "3", "b.msgpack"), "--num-classes is for a network of the registry"),
    ):
        code, _, err = convert(*arguments)
        assert code == 1
        assert said in err
