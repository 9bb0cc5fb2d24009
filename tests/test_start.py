"""Starting a training from given weights: a file of either framework, a run, torchvision's."""

import io
import json
import os
import shutil
import urllib.error
from email.message import Message
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import jaxnets
import torchnets
from experiment.backend import Backend
from experiment.cli.command import load_framework
from experiment.config import Config
from experiment.weights.pretrained import start
from parity import suite
from parity.copy import CopyError, as_array, flatten, state_dict_from_weights, to_flax, variables_from_weights
from tests.quick import FAMILIES, slow_unless
from tests.test_commands import FRAMEWORKS, accuracies, other, start_without
from tests.weight_files import EvilSystem, ann, any_bits, saved, shrink


def blank(backend: Backend, name: str) -> Any:
    """Variables to start from, without the minutes that compiling every network's `init` takes."""
    entry = backend.MODELS[name]
    if backend.__name__ == "torchnets.loop":
        return backend.create(entry, 10, 1)[1]
    inputs = jax.ShapeDtypeStruct((1, *entry.input_shape), jnp.float32)
    shapes = jax.eval_shape(entry.build(num_classes=10).init, jax.random.key(0), inputs)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


# GoogLeNet goes both ways in test_copy, in less time.
@pytest.mark.parametrize("name", slow_unless(lambda name: name in FAMILIES and name != "googlenet", suite.names()))
def test_each_framework_starts_from_the_others_file_bit_by_bit(name, monkeypatch, tmp_path):
    shrink(monkeypatch, name)
    backends = {framework: load_framework(framework) for framework in FRAMEWORKS}
    state = any_bits(name)
    torch.save(state, tmp_path / "torch.pth")
    flax = {path: np.array(array, order="C") for path, array in flatten(to_flax(state)).items()}
    safetensors.numpy.save_file(flax, tmp_path / "flax.safetensors")
    for backend in backends.values():
        variables = blank(backend, name)
        for file in tmp_path.iterdir():
            started, line = start(backend, variables, Config(model=name, weights=str(file)))
            assert line == f"weights: {len(state)} tensors from {file}"
            expected = state if backend is backends["torchnets"] else flax
            for key, array in backend.export(started).items():
                assert array.tobytes() == as_array(expected[key]).astype(array.dtype).tobytes(), key


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_a_training_goes_on_where_the_other_framework_stopped(framework, convert, run_main, tmp_path):
    code, out, _ = run_main(f"{other(framework)}.train", "--model", "mlp", "--epochs", 1, "--out", "before")
    assert code == 0
    table = accuracies(out[out.index("┏") : out.rindex("┘") + 1])
    still = ("--model", "mlp", "--epochs", 1, "--optimizer", "sgd", "--lr", 1e-30)  # too small to move a float32
    target = "other.safetensors" if other(framework) == "torchnets" else "other.pth"
    assert convert("mlp", "before", target)[0] == 0
    code, out, err = run_main(f"{framework}.train", *still, "--weights", target, "--out", "after")
    assert (code, err) == (0, "")
    assert f"\nweights: 10 tensors from {target}\n" in out
    assert accuracies(out[out.index("┏") : out.rindex("┘") + 1]) == table
    assert json.loads((tmp_path / "after/config.json").read_text())["weights"] == str(tmp_path / target)
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")  # run_main's monkeypatch goes back
    code, out, _ = run_main(f"{framework}.train", "--config", "../after/config.json", "--dry-run")
    assert code == 0
    assert f"\nweights: 10 tensors from {tmp_path / target}\n" in out


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_new_head_makes_a_file_of_other_classes_serve(framework, run_main, tmp_path):
    torch.save(ann(1000), tmp_path / "big.pth")
    flax = {path: np.array(array, order="C") for path, array in flatten(to_flax(ann(1000))).items()}
    safetensors.numpy.save_file(flax, tmp_path / "big.safetensors")
    options = ("--model", "ann", "--epochs", 1)
    code, out, err = run_main(f"{framework}.train", *options, "--weights", "big.pth")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("error: --weights big.pth: 2 tensors do not match: ")
    assert "expected (10,)" in err
    assert err.endswith("; only the layer fc3 differs: --new-head starts it at random and takes the rest\n")
    assert not (tmp_path / "runs").exists()
    code, out, _ = run_main(f"{framework}.train", *options, "--weights", "big.safetensors", "--new-head", "--dry-run")
    assert code == 0
    new = {
        "torchnets": "fc3.weight (10, 64), fc3.bias (10,)",
        "jaxnets": "params/fc3/bias (10,), params/fc3/kernel (64, 10)",
    }[framework]
    assert f"\nweights: 14 tensors from big.safetensors; new: {new}\n" in out
    assert '"new_head": true' in out
    backend = load_framework(framework)
    _, variables = backend.create(backend.MODELS["ann"], 10, 5)
    random = backend.export(variables)
    started, _ = start(backend, variables, Config("ann", weights=str(tmp_path / "big.pth"), new_head=True))
    own = ann(1000) if framework == "torchnets" else flax
    for key, array in backend.export(started).items():
        assert (array == (random if "fc3" in key else own)[key][...]).all(), key


def test_a_head_of_many_layers_is_new_as_a_whole():
    template = {"a.weight": np.zeros((2, 2)), "fc.0.weight": np.ones((2, 2)), "fc.3.bias": np.ones(2)}
    weights = {"a.weight": np.full((2, 2), 7.0), "fc.weight": np.full((9, 2), 7.0), "fc.bias": np.full(9, 7.0)}
    for source in (weights, flatten(to_flax(weights))):
        assert [t.mean() for t in state_dict_from_weights(source, template, "fc").values()] == [7, 1, 1]
        variables = flatten(variables_from_weights(source, to_flax(template), "fc"))
        assert {path: t.mean() for path, t in variables.items()} == {
            "params/a/kernel": 7,
            "params/fc_0/kernel": 1,
            "params/fc_3/bias": 1,
        }
    with pytest.raises(CopyError, match=r"unexpected fc10\.bias"):
        state_dict_from_weights({"a.weight": weights["a.weight"], "fc10.bias": np.ones(2)}, template, "fc")


def test_weights_options_that_make_no_sense_are_one_line(run_main, tmp_path):
    line = "error: --new-head says what of --weights not to take; give --weights, too\n"
    assert run_main("jaxnets.train", "--new-head") == (1, "", line)
    (tmp_path / "config.json").write_text('{"weights": 3}')
    code, _, err = run_main("jaxnets.train", "--config", "config.json")
    assert (code, err) == (1, "error: config.json: option 'weights' is 3, expected a path or null\n")
    (tmp_path / "config.json").write_text('{"new_head": 1, "weights": "x.pth"}')
    code, _, err = run_main("jaxnets.train", "--config", "config.json")
    assert (code, err) == (1, "error: config.json: option 'new_head' is 1, expected true or false\n")


def test_jax_needs_torch_for_torchvisions_download_only(tmp_path):
    safetensors.torch.save_file(torchnets.MODELS["mlp"].build().state_dict(), tmp_path / "x.safetensors")
    torch.save(torchnets.MODELS["mlp"].build().state_dict(), tmp_path / "x.pth")
    code = """
import sys
from experiment.cli import train
for weights in ("x.safetensors", "x.pth", "torchvision"):
    sys.argv = ["x", "--model", "mlp", "--dry-run", "--weights", weights]
    if weights == "torchvision":
        import jaxnets
        jaxnets.MODELS["mlp"] = jaxnets.MODELS["mlp"]._replace(torchvision="resnet18")
    try:
        train.main("jaxnets")
    except SystemExit as stop:
        print("ENDED", weights, stop.code)
"""
    process = start_without(["torch", "torchvision", "torchnets"], code, cwd=tmp_path)
    out, err = process.communicate()
    extra = "is an extra: pip install 'jaxnets[torch]'"
    ends = [line.removeprefix("ENDED ") for line in out.splitlines() if line.startswith("ENDED")]
    assert ends == ["x.safetensors 0", "x.pth 0", "torchvision 1"]
    (torchvision,) = err.splitlines()
    assert torchvision.startswith(f"error: --weights torchvision needs PyTorch, which {extra}")


# --- torchvision ----------------------------------------------------------------------------------------------------


@pytest.fixture
def pretrained(monkeypatch):
    """Make `ann` stand for a network of torchvision's with an option of its own; collect what it is built with."""
    seen = []

    def wrap(build):
        def wrapped(*, rescale: bool = False, **options):
            seen.append(rescale)
            return build(**options)

        return wrapped

    for package in (jaxnets, torchnets):
        entry = package.MODELS["ann"]
        entry = entry._replace(build=wrap(entry.build), torchvision="googlenet", pretrained={"rescale": True})
        monkeypatch.setitem(package.MODELS, "ann", entry)
    return seen


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_torchvisions_weights_are_checked_read_safely_and_remembered(framework, pretrained, run_main, monkeypatch):
    asked = []
    # As torchvision stores GoogLeNet: with auxiliary heads, which are dropped, and no counters.
    state = {key: tensor for key, tensor in ann(1000).items() if "tracked" not in key}
    pretrained.clear()  # that was one, too
    state["aux1.fc.bias"] = torch.ones(2)

    def local(url: str, **options):
        asked.append((url, options))
        return state

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", local)
    options = ("--model", "ann", "--epochs", 1, "--weights", "torchvision")
    code, _, err = run_main(f"{framework}.train", *options)
    assert code == 1
    assert err.startswith("error: --weights torchvision, GoogLeNet_Weights.IMAGENET1K_V1: 2 tensors do not match: ")
    assert "--new-head" in err
    code, out, err = run_main(f"{framework}.train", *options, "--new-head", "--out", "run")
    assert (code, err) == (0, "")
    assert "weights: 12 tensors from torchvision, GoogLeNet_Weights.IMAGENET1K_V1; new: " in out
    assert "; it has no counters of batches: 2 start at 0; its auxiliary heads, 1 tensors, are left out\n" in out
    url, kwargs = asked[0]
    assert url.endswith("/googlenet-1378be20.pth")
    assert kwargs == {"progress": False, "check_hash": True, "map_location": "cpu", "weights_only": True}
    config = json.loads(Path("run/config.json").read_text())
    assert (config["weights"], config["new_head"], config["like_torchvision"]) == ("torchvision", True, True)
    table = accuracies(out[out.index("┏") : out.rindex("┘") + 1])
    code, out, _ = run_main(f"{other(framework)}.evaluate", "run")  # needs nothing from torchvision any more
    assert accuracies(out) == table
    code, out, _ = run_main(f"{framework}.train", "--model", "ann", "--weights", "run", "--dry-run")
    assert '"like_torchvision": true' in out
    assert len(asked) == 2
    assert pretrained == [True] * 4
    assert run_main(f"{framework}.train", "--model", "ann", "--dry-run")[0] == 0
    assert pretrained[4:] == [False]


URL = "https://download.pytorch.org/models/googlenet-1378be20.pth"
HAVE = "; if you have that file: --like-torchvision --weights FILE\n"


class Reply(io.BytesIO):
    """What a server sends, in place of urllib's answer."""

    def info(self) -> Message:
        return Message()


@pytest.mark.usefixtures("pretrained")
def test_a_download_that_fails_is_one_line_and_leaves_nothing(run_main, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    options = ("--model", "ann", "--weights", "torchvision")

    def absent(_: object):
        raise urllib.error.URLError("no route\nto host")

    for urlopen, why in (
        (absent, "URLError: <urlopen error no route to host>"),
        (lambda _: Reply(b"not what was asked for"), 'RuntimeError: invalid hash value (expected "1378be20", got '),
    ):
        monkeypatch.setattr("torch.hub.urlopen", urlopen)
        code, _, err = run_main("torchnets.train", *options)
        assert code == 1
        assert err.startswith(f"error: --weights torchvision: {URL} cannot be had ({why}")
        assert err.endswith(HAVE)
        assert err.count("\n") == 1
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    cached = tmp_path / "cache/hub/checkpoints/googlenet-1378be20.pth"
    cached.write_bytes(saved({"x": EvilSystem()}))
    code, _, err = run_main("torchnets.train", *options)
    line = f"error: --weights torchvision: {cached} is damaged; delete it, and it is fetched anew\n"
    assert (code, err) == (1, line)
    shutil.rmtree(tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []  # no run folder, nothing executed


@pytest.mark.usefixtures("pretrained")
def test_networks_without_pretrained_weights_say_which_have_some(run_main):
    code, _, err = run_main("jaxnets.train", "--model", "mlp", "--weights", "torchvision")
    assert code == 1
    names = [name for name, entry in jaxnets.MODELS.items() if entry.torchvision]
    assert "ann" in names
    line = "error: --weights torchvision: torchvision has no weights of 'mlp'; it has those of "
    assert err == f"{line}{', '.join(names)}\n"


@pytest.mark.usefixtures("pretrained")
def test_a_file_that_torchvision_stored_converts_without_its_auxiliary_heads(convert):
    torch.save(ann() | {"aux1.fc.bias": torch.ones(2), "aux2.fc.bias": torch.ones(2)}, "ann.pth")
    code, out, _ = convert("ann", "ann.pth", "ann.safetensors")
    assert code == 0
    assert out.endswith("; its auxiliary heads, 2 tensors, are left out\n")
    torch.save(torchnets.MODELS["mlp"].build().state_dict() | {"aux1.fc.bias": torch.ones(2)}, "mlp.pth")
    assert "unexpected aux1.fc.bias (2,)" in convert("mlp", "mlp.pth", "mlp.safetensors")[2]
