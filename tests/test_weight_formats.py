"""Weights as they exist: every format, wrapping and dtype gives the plain file's tensors; what is none is named."""

import argparse
import collections
import functools
import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch

import torchnets
from data import UserError
from experiment.cli.command import load_framework
from experiment.config import Config
from experiment.weights.files import read_noted
from experiment.weights.input_transform import expects_transform
from experiment.weights.names import by_own_names
from experiment.weights.pretrained import settle, start
from parity.copy import CopyError, flatten, state_dict_from_weights, to_flax, variables_from_weights
from tests.test_commands import FRAMEWORKS, accuracies, other
from tests.test_start import blank
from tests.weight_files import Evil, EvilSystem, ann, saved, shrink


class Schedule:
    """Any object of a trainer's."""


STATE = ann()
ARRAYS = {name: tensor.numpy() for name, tensor in STATE.items()}
FLAX = flatten(to_flax(STATE))
TREE: Any = to_flax(STATE)
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
LIGHTNING = {
    "epoch": 1,
    "pytorch-lightning_version": "2.5",
    "state_dict": {f"model.{name}": tensor for name, tensor in STATE.items()} | {"loss.weight": torch.ones(2)},
    "callbacks": {"early": {"best": torch.ones(1)}},
    "optimizer_states": [OPTIMIZER],
    "hyper_parameters": argparse.Namespace(out=Path("x"), make=functools.partial(print, 1)),
    "loops": {"fit": {"state_dict": {}}},
}


def prefixed(front: str) -> dict[str, torch.Tensor]:
    return {front + name: tensor for name, tensor in STATE.items()}


def archive(write: Any, *args: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    write(buffer, *args, **options)
    return buffer.getvalue()


def ours(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Read and match a file as a command does: the tensors by the network's names, and what is said."""
    found = read_noted(path)
    weights, renamed = by_own_names(found.tensors, STATE)
    return state_dict_from_weights(weights, ARRAYS), f"{found.note}|{renamed}"


OLD: dict[str, Any] = {"_use_new_zipfile_serialization": False}
FILES = {
    "plain.pth": (saved(STATE), "|"),
    "plain": (saved(STATE), "|"),
    "model.bin": (saved(STATE, pickle_protocol=4), "|"),
    "old.pt": (saved(STATE, **OLD), "|"),
    "old.ckpt": (
        saved({"model": STATE, "scheduler": Schedule()}, **OLD),
        "taken from ['model']; left out: scheduler|",
    ),
    "default": (saved(collections.defaultdict(int, STATE)), "|"),
    "first": (saved({"optimizer": OPTIMIZER, "model": STATE}), "taken from ['model']; left out: optimizer|"),
    "last": (
        saved({"model_state_dict": STATE, "optimizer": OPTIMIZER, "best": np.float32(1)}),
        "taken from ['model_state_dict']; left out: optimizer, best|",
    ),
    "ema": (saved({"ema": {"decay": 0.9, "module": STATE}}), "taken from ['ema']['module']; left out: ema.decay|"),
    "both": (saved({"model_ema": prefixed("x."), "model": STATE}), "taken from ['model']; left out: model_ema|"),
    "deep": (
        saved({"a": 1, "ckpt": {"net": {"state_dict": STATE}}}),
        "from ['ckpt']['net']['state_dict']; left out: a|",
    ),
    "odd": (saved({"generator": STATE, "step": 1}), "taken from ['generator']; left out: step|"),
    "beside": (saved(STATE | {"epoch": 3}), "left out: epoch|"),
    "lightning.ckpt": (
        saved(LIGHTNING),
        "taken from ['state_dict']; left out: epoch, pytorch-lightning_version, callbacks, optimizer_states, "
        "hyper_parameters and 1 more|removed 'model.' from the names; left out: loss.weight",
    ),
    "ddp": (saved(prefixed("module.")), "|removed 'module.' from the names"),
    "compiled": (saved(prefixed("_orig_mod.")), "|removed '_orig_mod.' from the names"),
    "combined": (saved(prefixed("module._orig_mod.")), "|removed '_orig_mod.' and 'module.' from the names"),
    "three": (saved(prefixed("model.module._orig_mod.")), "removed '_orig_mod.' and 'module.' and 'model.' from the"),
    "own": (saved(prefixed("my.backbone.")), "|removed 'my.backbone.' from the names"),
    "inside": (
        saved({name.replace("fc2.", "fc2._orig_mod."): tensor for name, tensor in STATE.items()}),
        "|removed '_orig_mod.' from the names",
    ),
    "average": (
        saved(prefixed("module.") | {"n_averaged": torch.tensor(3)}),
        "|removed 'module.' from the names; left out: n_averaged",
    ),
    "renamed.pth": (safetensors.torch.save(STATE), "|"),
    "weights.npz": (archive(np.savez, **ARRAYS), "|"),
    "compressed": (archive(np.savez_compressed, **ARRAYS), "|"),
    "pickled": (pickle.dumps(ARRAYS), "|"),
    "pickled2": (pickle.dumps({"state_dict": STATE}, 2), "taken from ['state_dict']|"),
    "pickled5": (pickle.dumps({"state_dict": STATE}, 5), "taken from ['state_dict']|"),
    "flax.npz": (archive(np.savez, **FLAX), "|"),
    "dotted.npz": (archive(np.savez, **{name.replace("/", "."): array for name, array in FLAX.items()}), "|"),
    "flax.msgpack": (flax.serialization.msgpack_serialize(TREE), "|"),
    "flax": (
        flax.serialization.msgpack_serialize({"step": 3, "opt_state": {"0": TREE["params"]}} | TREE),
        "left out: opt_state, step|",
    ),
    "nested": (
        flax.serialization.msgpack_serialize({"params": TREE, "step": 3}),
        "taken from ['params']; left out: step",
    ),
    "wrapped": (
        flax.serialization.msgpack_serialize({name: {"model": tree} for name, tree in TREE.items()}),
        "|removed 'model.' from the names",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_and_wrapping_gives_the_plain_files_tensors_and_is_said(name, tmp_path):
    content, said = FILES[name]
    (tmp_path / name).write_bytes(content)
    found, note = ours(tmp_path / name)
    assert said in note if not said.startswith("|") else note == said
    assert list(found) == list(ARRAYS)
    for key, array in ARRAYS.items():
        assert (found[key].dtype, found[key].tobytes()) == (array.dtype, array.tobytes()), key
    variables = flatten(variables_from_weights(*by_own_names(read_noted(tmp_path / name).tensors, FLAX)[:1], TREE))
    assert all(np.array_equal(variables[path], array) for path, array in FLAX.items())


def test_shards_are_read_by_their_index_and_only_beside_it(tmp_path):
    names = list(STATE)
    for kind, index in (("bin", "pytorch_model.bin.index.json"), ("safetensors", "model.safetensors.index.json")):
        (folder := tmp_path / kind).mkdir()
        places = {}
        for part, some in enumerate((names[:7], names[7:])):
            tensors = {name: STATE[name] for name in some}
            content = saved(tensors) if kind == "bin" else safetensors.torch.save(tensors)
            (folder / f"part-{part}.{kind}").write_bytes(content)
            places |= dict.fromkeys(some, f"part-{part}.{kind}")
        (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": places}))
        for path in (folder / index, folder):
            found, note = ours(path)
            assert note.endswith("2 files by their index|")
            assert all(np.array_equal(found[name], array) for name, array in ARRAYS.items())
    for bad in ("../safetensors/part-0.safetensors", "/etc/passwd", "..", "a\\b", ""):
        (folder / "bad.json").write_text(json.dumps({"weight_map": {"x": bad}}))
        with pytest.raises(UserError, match="expected the plain name of a file beside it"):
            read_noted(folder / "bad.json")
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(UserError, match=r"names part-1.safetensors, which is not beside it"):
        read_noted(folder)


def test_a_folder_of_orbax_is_read_without_jax(tmp_path):
    import orbax.checkpoint as ocp

    state = jax.tree.map(
        np.asarray, {"params": TREE["params"], "batch_stats": TREE["batch_stats"], "step": np.int32(3)}
    )
    with ocp.StandardCheckpointer() as writer:
        writer.save(tmp_path / "orbax", state)
    shutil.copytree(tmp_path / "orbax", tmp_path / "manager/10/default")  # a manager's folder, of steps
    (tmp_path / "manager/9/default").mkdir(parents=True)
    for folder in ("orbax", "manager", "manager/10"):
        found, note = ours(tmp_path / folder)
        assert "left out: step" in note
        assert all(np.array_equal(found[name], array) for name, array in ARRAYS.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_half_is_widened_exactly_and_that_is_said(framework, dtype, run_main):
    state = {name: t.bfloat16().to(dtype) if t.is_floating_point() else t for name, t in STATE.items()}
    torch.save(state, "ann.pth")
    code, out, err = run_main(
        f"{framework}.train", "--model", "ann", "--weights", "ann.pth", "--epochs", 0, "--out", "run"
    )
    assert (code, err) == (0, "")
    name = str(dtype).removeprefix("torch.")
    assert f"\nweights: 16 tensors from ann.pth; 14 tensors of {name} became float32, exactly\n" in out
    kept = read_noted(Path("run")).tensors
    expected = {key: tensor.to(torch.float32) for key, tensor in state.items()}
    expected = flatten(to_flax(expected)) if framework == "jaxnets" else {k: t.numpy() for k, t in expected.items()}
    assert all(np.array_equal(kept[key], array) for key, array in expected.items())
    assert all(array.dtype == np.float32 for key, array in kept.items() if "tracked" not in key)


def test_a_float64_value_that_float32_cannot_hold_is_refused():
    state = {name: array.astype(np.float64) / 3 if array.ndim else array for name, array in ARRAYS.items()}
    with pytest.raises(CopyError, match=r"fc1.weight is float64, expected float32.*nothing is rounded silently"):
        state_dict_from_weights(state, ARRAYS)


# --- what is refused ------------------------------------------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
NOT_WEIGHTS = {
    "page.pth": (b"\n<!DOCTYPE html>\n<html><title>404</title></html>", "is an HTML page, most likely the error page"),
    "denied.pth": (b"<?xml version='1.0'?><Error/>", "is an XML text, most likely the error page"),
    "lfs.bin": (POINTER, "is a Git LFS pointer of 70 bytes, not the weights; fetch them: git lfs pull"),
    "zeros.pth": (bytes(5000), "begins with 4,096 zero bytes; the download was not completed"),
    "gz": (b"\x1f\x8b\x08", "is compressed by gzip; unpack it first"),
    "error.json": (b'{"error": "not found"}', "is JSON without a 'weight_map' ('error')"),
    "optimizer": (saved(OPTIMIZER), "is the state of an optimizer, not of a network"),
    "whole.pth": (saved(torch.nn.Linear(2, 2)), "is a whole module (torch.nn.modules.linear.Linear)"),
    "old.pth": (
        saved({"model": torch.nn.Linear(2, 2)}, **OLD),
        "'model' is a whole module (torch.nn.modules.linear.Linear)",
    ),
    "unnamed.npz": (archive(np.savez, np.ones(2)), "arr_0 has no name"),
    "objects.npz": (archive(np.savez, a=np.array([{}], object)), "damaged, or not an archive of numpy.savez"),
    "sparse": (saved({"x": torch.eye(2).to_sparse()}), "'x' is a sparse tensor, which numpy cannot hold"),
    "harm": (saved({"state_dict": STATE, "x": EvilSystem()}), f"holds more than tensors ({os.name}.system)"),
    "harm.pkl": (pickle.dumps(EvilSystem()), f"holds more than tensors ({os.name}.system)"),
    "calls.pkl": (pickle.dumps({"x": Evil()}), "it is a Python pickle, but not of torch.save"),
    "cut.old": (saved(STATE, **OLD)[:-1], "damaged, or not a file of tensors by torch.save (it ends too early)"),
    "cut.msgpack": (flax.serialization.msgpack_serialize(TREE)[:-1], "damaged, or not a msgpack file of Flax"),
}


@pytest.mark.parametrize("name", NOT_WEIGHTS)
def test_what_is_not_weights_is_named_with_what_to_do(name, tmp_path, monkeypatch):
    content, said = NOT_WEIGHTS[name]
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    with pytest.raises(UserError) as error:
        read_noted(Path(name))
    assert said in str(error.value)
    assert len(str(error.value)) < 400
    assert os.listdir() == [name]  # noqa: PTH208 (nothing was executed)


def test_what_a_trainer_saves_beside_the_weights_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": STATE, "x": Evil()}, "x.pth")
    assert list(ours(Path("x.pth"))[0]) == list(STATE)
    assert os.listdir() == ["x.pth"]  # noqa: PTH208


def test_torchscript_is_named(tmp_path):
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.ones(1)), tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"is a TorchScript archive \(torch.jit.save\).*torch.jit.load"):
        read_noted(tmp_path / "x.pt")


def test_archives_that_lie_about_sizes_are_refused_before_memory_is_filled(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as bomb:
        with bomb.open("a.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_2_0(file, {"descr": "<f4", "fortran_order": False, "shape": (3 << 26,)})
        info = bomb.infolist()[0]
        info.file_size = 2**40  # what the directory at the end says
    with pytest.raises(UserError, match="its arrays would take 1,099,511,627,776 bytes"):
        read_noted(tmp_path / "bomb.npz")
    expanded = torch.ones(1).expand(2**40)
    torch.save({"x": expanded}, tmp_path / "expanded.pth")
    with pytest.raises(UserError, match="would take 4,398,046,511,104 bytes, its storage has 4"):
        read_noted(tmp_path / "expanded.pth")
    forged = saved(STATE, **OLD)
    at = forged.rindex(struct.pack("<q", 10))
    (tmp_path / "forged.pth").write_bytes(forged[:at] + struct.pack("<q", 2**60) + forged[at + 8 :])
    with pytest.raises(UserError, match="it ends too early"):
        read_noted(tmp_path / "forged.pth")


def test_damaged_bytes_are_one_short_line_or_still_weights(tmp_path):
    generator, path = np.random.default_rng(0), tmp_path / "x"
    small = {"fc.weight": torch.ones(2, 2), "fc.bias": torch.ones(2)}
    whole = [
        saved(small),
        saved({"model": small}, **OLD),
        pickle.dumps({"state_dict": small}),
        safetensors.torch.save(small),
    ]
    whole.append(flax.serialization.msgpack_serialize({"params": {"fc": {"bias": np.ones(2)}}}))
    whole.append(archive(np.savez_compressed, **{name: tensor.numpy() for name, tensor in small.items()}))
    said = []
    for at in range(600):
        content = bytearray(whole[at % len(whole)])
        for place in generator.integers(0, len(content), generator.integers(1, 4)):
            content[place] = generator.integers(0, 256)
        if at % 5 == 0:
            del content[generator.integers(1, len(content)) :]
        path.write_bytes(content)
        try:
            read_noted(path)
        except UserError as error:
            said.append(str(error).replace(str(path), "x"))
    assert len(said) > 300
    assert max(map(len, said)) < 400
    assert not any("\n" in line for line in said)


def test_pickles_that_hold_themselves_or_one_thing_in_many_places_are_refused_at_once(tmp_path):
    itself: dict[str, Any] = {}
    itself["a"] = itself
    shared: dict[str, Any] = {"a": 1}
    for _ in range(60):
        shared = {"a": shared, "b": shared}
    endless: list[Any] = []
    endless.append(endless)
    for thing in (itself, shared, {"a": endless}):
        for content in (saved(thing), pickle.dumps(thing)):
            (tmp_path / "x").write_bytes(content)
            with pytest.raises(UserError):
                read_noted(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"\x80\x02]r\xff\xff\xff\xff.")  # a place in the memo that would take 32 GiB
    with pytest.raises(UserError, match="is a Python pickle of list"):
        read_noted(tmp_path / "x")


def test_a_flipped_bit_is_found(tmp_path):
    content = bytearray(saved(STATE))
    content[content.index(ARRAYS["fc1.weight"].tobytes())] ^= 1
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"'fc1.weight' cannot be read \(the checksum of '.*/data/0' differs\)"):
        read_noted(tmp_path / "x.pth")


def test_a_network_that_is_there_twice_is_refused_unless_one_has_the_usual_name():
    student = {f"student.{name}": array for name, array in ARRAYS.items()}
    twice = student | {f"teacher.{name}": array * 2 for name, array in ARRAYS.items()}
    with pytest.raises(
        CopyError, match=r"the network is there 2 times, in front of its names stand 'student.', 'teacher.'"
    ):
        by_own_names(twice, STATE)
    found, note = by_own_names(twice | {f"model.{name}": array for name, array in ARRAYS.items()}, FLAX)
    assert note.startswith("removed 'model.' from the names; left out: student.fc1.weight, ")
    assert all(found[name] is array for name, array in ARRAYS.items())
    own = {f"module.{name}": array for name, array in ARRAYS.items()}
    assert by_own_names(own, own) == (own, "")  # the network's own layer is called "module"


@pytest.mark.parametrize("name", ["resnet18", "mlp"])
def test_weights_of_another_network_are_one_short_line(name, convert):
    torch.save({f"block.{at}.conv.weight": torch.ones(2, 2) for at in range(300)}, "x.pth")
    code, out, err = convert(name, "x.pth", "x.safetensors")
    assert (code, out) == (1, "")
    assert err.endswith("; likely cause: another network, or another library's names for this one")
    assert "missing " in err
    assert "unexpected block.0.conv.weight (2, 2); " in err
    assert len(err) < 600


@pytest.mark.parametrize("change", ["weight_g", "Dense_0"])
def test_the_likely_cause_is_said(change):
    extra = {f"fc{at}.{change}" if change == "weight_g" else f"params/{change}/x{at}": np.ones(1) for at in range(9)}
    given = ARRAYS if change == "weight_g" else FLAX
    cause = {"weight_g": "saved with weight normalization", "Dense_0": "a Flax module with automatic names"}[change]
    with pytest.raises(CopyError, match=f"and 4 more; likely cause: .*{cause}"):
        state_dict_from_weights(given | extra, ARRAYS)


# --- GoogLeNet's input transform ------------------------------------------------------------------------------------


def googlenet(*, transform: bool, steps: int) -> dict[str, torch.Tensor]:
    """GoogLeNet's weights with the statistics of so many steps on images of ImageNet's mean and deviation."""
    torch.manual_seed(0)
    network: Any = torchnets.MODELS["googlenet"].build()
    images = torch.randn(4, 3, 64, 64)
    if transform:
        mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
        images = images * (std / 0.5)[:, None, None] + ((mean - 0.5) / 0.5)[:, None, None]
    with torch.no_grad():
        for _ in range(steps):
            network.conv1.train()(images)
    return network.state_dict()


@pytest.mark.parametrize(("transform", "steps", "found"), [(True, 60, True), (False, 60, False), (True, 1, None)])
def test_googlenets_input_transform_is_detected_or_warned_of(transform, steps, found, monkeypatch, capsys, tmp_path):
    shrink(monkeypatch, "googlenet")
    state = googlenet(transform=transform, steps=steps)
    assert expects_transform(flatten(to_flax(state))) is found
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "x.pth")
    for framework in FRAMEWORKS:
        backend = load_framework(framework)
        config = settle(Config("googlenet", weights=str(tmp_path / "x.pth")), backend.MODELS)
        assert config.like_torchvision is bool(found)
        _, line = start(backend, blank(backend, "googlenet"), config)
        assert ("; inputs are transformed as torchvision's weights expect (--like-torchvision)" in line) is bool(found)
        warned = "they expect its input transform: add --like-torchvision\n" in capsys.readouterr().err
        assert warned is (found is None)


# --- commands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_no_epochs_keep_the_weights_which_are_evaluated_with_and_without_a_run(framework, run_main):
    torch.save({"epoch": 3, "state_dict": prefixed("module.")}, "x.ckpt")
    start = ("--model", "ann", "--epochs", 0, "--weights", "x.ckpt", "--patience", 2)
    code, out, err = run_main(f"{framework}.train", *start, "--out", "run")
    assert (code, err) == (0, "")
    assert "from x.ckpt; taken from ['state_dict']; left out: epoch; removed 'module.' from the names\n" in out
    assert out.endswith("not trained (--epochs 0); saved in run\n")
    summary = json.loads(Path("run/summary.json").read_text())
    assert (summary["epochs"], summary["seconds"], summary["examples_per_second"]) == (0, 0, None)
    assert Path("run/metrics.jsonl").read_text() == ""
    kept, expected = read_noted(Path("run")).tensors, FLAX if framework == "jaxnets" else ARRAYS
    assert all(np.array_equal(kept[name], array) for name, array in expected.items())
    table = accuracies(out[out.index("┏") : out.rindex("┘") + 1])
    assert accuracies(run_main(f"{other(framework)}.evaluate", "run")[1]) == table
    code, out, err = run_main(f"{framework}.evaluate", "--weights", "x.ckpt", "--model", "ann", "--dataset", "digits")
    assert (code, err) == (0, "")
    assert out.startswith(
        "weights: 16 tensors from x.ckpt; taken from ['state_dict']; left out: epoch; removed 'module.'"
    )
    assert accuracies(out[out.index("┏") :]) == table
    assert run_main(f"{framework}.compare", "run", "run")[0] == 0
    assert run_main(f"{framework}.train", "--resume", "run")[1] == "run has finished: nothing to go on with\n"


def test_evaluate_says_what_it_needs(run_main):
    torch.save(ann(7), "x.pth")
    assert run_main("torchnets.train", "--model", "mlp", "--epochs", 0, "--out", "run")[0] == 0
    for argv, said in (
        ((), "no run folder is named; or give --weights FILE --model NAME --dataset NAME"),
        (("--weights", "x.pth"), "--weights does not say what to evaluate it on; give --model and --dataset, too"),
        (("run", "--weights", "x.pth"), "run and --weights x.pth both say what to evaluate; give one of them"),
        (("run", "--loss", "bce"), "--loss goes with --weights FILE; a run folder says that itself"),
        (("run", "--model", "ann"), "--model goes with --weights FILE; a run folder says that itself"),
    ):
        assert run_main("torchnets.evaluate", *argv) == (1, "", f"error: {said}\n")
    argv = ("--weights", "x.pth", "--model", "ann", "--dataset", "digits")
    code, _, err = run_main("torchnets.evaluate", *argv)
    assert code == 1
    assert err.endswith("only the layer fc3 differs: the weights are for other classes than those of digits\n")


def test_no_epochs_of_several_seeds(run_main):
    code, _, err = run_main("jaxnets.train", "--model", "mlp", "--epochs", 0, "--seeds", 2, "--out", "runs")
    assert (code, err) == (0, "")
    assert json.loads(Path("runs/summary.json").read_text())["examples_per_second"] is None


def test_bfloat16_arrays_of_numpy_are_what_they_are(tmp_path):
    arrays: dict[str, Any] = {"a.weight": np.ones(3, ml_dtypes.bfloat16)}
    np.savez(tmp_path / "x.npz", **arrays)
    assert read_noted(tmp_path / "x.npz").tensors["a.weight"].dtype == ml_dtypes.bfloat16
