"""Checkpoints that are not what was written, disks that refuse, numbers that are none: nothing is lost or believed."""

import errno
import json
import os
import pickle
import shutil
from functools import partial
from pathlib import Path

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import jaxnets
import jaxnets.optim
import jaxnets.state
import jaxnets.steps
import torchnets
import torchnets.optim
import torchnets.state
import torchnets.steps
from data import Batch, Loader
from experiment import checkpoint, durable
from experiment.checkpoint import Damaged
from experiment.config import Config
from experiment.run import read_weights
from parity.copy import flatten, to_flax
from parity.suite import real_batches
from tests.test_commands import FRAMEWORKS
from tests.test_regularisation import assert_close

STATE = {"variables/a": np.arange(12, dtype=np.float32).reshape(3, 4), "step": np.array(7, np.int32)}
BEST = {"a": np.ones((3, 4), np.float32)}


def manifest(step: int) -> dict:
    facts = {
        "about": {},
        "data": {},
        "config": {},
        "rows": [{"loss": 1e-05}],
        "epochs": [],
        "counts": None,
        "best": {"step": 0},
    }
    return {"format": 1, "step": step, **facts}


def save(run: Path, step: int, keep: int = 9) -> Path:
    return checkpoint.save(run, manifest(step), STATE, BEST, keep)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("two")
    save(run, 1)
    save(run, 2)
    return run


def check_falls_back(run: Path, name: str) -> str:
    """What is damaged in checkpoint 2 is named, and checkpoint 1 is what is found."""
    found, skipped = checkpoint.newest(run)
    assert found
    assert found.manifest["step"] == 1
    assert {name: array.tolist() for name, array in found.state.items()} == {n: a.tolist() for n, a in STATE.items()}
    (line,) = skipped
    assert line.startswith(f"{run}/checkpoints/step-000000002/{name}: ")
    return line


@settings(max_examples=300)
@given(data=st.data())
def test_no_flipped_bit_is_ever_loaded(data, two, tmp_path_factory):
    run = tmp_path_factory.mktemp("flipped")
    shutil.copytree(two, run, symlinks=True, dirs_exist_ok=True)
    name = data.draw(st.sampled_from([checkpoint.STATE, checkpoint.BEST, checkpoint.MANIFEST]))
    path = run / "checkpoints/step-000000002" / name
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, 8 * len(content) - 1))
    content[at // 8] ^= 1 << at % 8
    path.write_bytes(content)
    line = check_falls_back(run, name)
    if name != checkpoint.MANIFEST:
        assert "SHA-256 is " in line
        assert checkpoint.sha256(bytes(content)) in line


def test_not_a_byte_of_a_manifest_may_differ_even_where_it_means_the_same(two, tmp_path):
    shutil.copytree(two, tmp_path / "run", symlinks=True)
    path = tmp_path / "run/checkpoints/step-000000002/manifest.json"
    content = path.read_text()
    for text in (content.replace("1e-05", "1E-05"), content + "\n", content.replace(": ", ":")):
        assert text != content
        path.write_text(text)
        check_falls_back(tmp_path / "run", "manifest.json")


@settings(max_examples=300)
@given(data=st.data())
def test_no_truncation_is_ever_loaded(data, two, tmp_path_factory):
    run = tmp_path_factory.mktemp("cut")
    shutil.copytree(two, run, symlinks=True, dirs_exist_ok=True)
    name = data.draw(st.sampled_from([checkpoint.STATE, checkpoint.BEST, checkpoint.MANIFEST]))
    path = run / "checkpoints/step-000000002" / name
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    check_falls_back(run, name)
    path.unlink()
    assert "No such file" in check_falls_back(run, name)


class Runs:
    """A pickle of this would make a file."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def signed(run: Path, **files: bytes) -> None:
    """Put hostile files into checkpoint 2, with the hashes that they need to be believed."""
    folder = run / "checkpoints/step-000000002"
    found = checkpoint.read_manifest(folder)
    for name, content in files.items():
        path = folder / f"{name}.safetensors"
        path.write_bytes(content)
        found["files"][path.name] = {"sha256": checkpoint.sha256(content), "bytes": len(content)}
    found["sha256"] = checkpoint.digest(found)
    (folder / checkpoint.MANIFEST).write_text(json.dumps(found))


HEADER = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
HOSTILE = {
    "pickle": pickle.dumps(Runs()),
    "torch's pickle in a zip": b"PK\x03\x04" + pickle.dumps(Runs()),
    "header of 2**62 bytes": (2**62).to_bytes(8, "little") + b"{}",
    "header past the end": (1000).to_bytes(8, "little") + b"{}",
    "tensor of 4 TB": len(HEADER).to_bytes(8, "little") + HEADER,
    "header that is no JSON": (4).to_bytes(8, "little") + b"}}}}",
    "header of ten thousand brackets": (20000).to_bytes(8, "little") + b"[" * 20000,
    "empty": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_runs_nothing_even_if_its_hash_is_right(name, two, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    shutil.copytree(two, run, symlinks=True)
    signed(run, state=HOSTILE[name])
    check_falls_back(run, "state.safetensors")
    assert not (tmp_path / "ran").exists()


MANIFESTS = {
    "brackets": b"[" * 100_000,
    "a number": b"1",
    "digits": b'{"sha256": ' + b"1" * 10_000 + b"}",
    "nothing in it": json.dumps({"sha256": checkpoint.digest({})}).encode(),
    "a list of files": json.dumps({"files": [], "sha256": checkpoint.digest({"files": []})}).encode(),
    "no text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_hostile_manifest_is_named(name, two, tmp_path):
    shutil.copytree(two, tmp_path / "run", symlinks=True)
    (tmp_path / "run/checkpoints/step-000000002/manifest.json").write_bytes(MANIFESTS[name])
    check_falls_back(tmp_path / "run", "manifest.json")


def test_a_manifest_of_any_size_costs_no_memory(two, tmp_path):
    shutil.copytree(two, tmp_path / "run", symlinks=True)
    with (tmp_path / "run/checkpoints/step-000000002/manifest.json").open("wb") as file:
        file.truncate(2**40)  # a terabyte of nothing
    assert "expected at most" in check_falls_back(tmp_path / "run", "manifest.json")
    with (tmp_path / "run/checkpoints/step-000000001/state.safetensors").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(Damaged, match=r"1,099,511,627,776 bytes, expected"):
        checkpoint.load(tmp_path / "run/checkpoints/step-000000001")


def test_the_newest_and_the_best_are_kept(tmp_path):
    for step in range(1, 8):
        checkpoint.save(tmp_path, manifest(step) | {"best": {"step": 2}}, STATE, {}, keep=2)
    assert [path.name[-1] for path in checkpoint.folders(tmp_path)] == ["7", "6", "2"]
    links = {name: (tmp_path / "checkpoints" / name).readlink().name[-1] for name in ("last", "best")}
    assert links == {"last": "7", "best": "2"}


FAULTS = {"fsync": errno.EIO, "write": errno.ENOSPC, "open": errno.EROFS, "replace": errno.EDQUOT}


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("call", FAULTS)
def test_a_disk_that_refuses_loses_nothing(framework, call, run_main, tmp_path, monkeypatch):
    save, plain = checkpoint.save, getattr(os, call)

    def saving(run, found, *args):
        if found["step"] == 42:
            error = OSError(FAULTS[call], os.strerror(FAULTS[call]))
            monkeypatch.setattr(durable.os, call, lambda *_, **__: (_ for _ in ()).throw(error))
        try:
            return save(run, found, *args)
        finally:
            monkeypatch.setattr(durable.os, call, plain)

    monkeypatch.setattr(checkpoint, "save", saving)
    code, _, err = run_main(f"{framework}.train", "--model", "mlp", "--epochs", 3, "--out", "run")
    assert code == 1
    said = os.strerror(FAULTS[call])
    assert err == (
        f"error: run/checkpoints/step-000000042: cannot be written ({said}); what was saved before is untouched\n"
    )
    there = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}
    # Where nothing can be opened, nothing can be removed, either: that is done by the next start.
    assert there - {"step-000000042.part"} == {"step-000000021", "last", "best"}
    monkeypatch.setattr(checkpoint, "save", save)
    code, out, err = run_main(f"{framework}.train", "--resume", "run")
    assert (code, err) == (0, "")
    assert "after step 21\n" in out
    assert not list((tmp_path / "run/checkpoints").glob("*.part"))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_is_taken(framework, run_main, tmp_path):
    options = ("--model", "mlp", "--epochs", 3, "--out", "run", "--keep", 3)
    assert run_main(f"{framework}.train", *options)[0] == 0
    run = tmp_path / "run"
    whole = (run / "weights.safetensors").read_bytes()
    (run / "summary.json").unlink()
    path = run / "checkpoints/step-000000063/state.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 4
    path.write_bytes(content)
    code, out, err = run_main(f"{framework}.train", "--resume", "run")
    assert code == 0
    assert err.startswith("warning: run/checkpoints/step-000000063/state.safetensors: SHA-256 is ")
    assert err.count("\n") == 1
    assert "goes on from run/checkpoints/step-000000042" in out
    assert (run / "weights.safetensors").read_bytes() == whole
    assert (run / "checkpoints/step-000000063.damaged/state.safetensors").read_bytes() == content
    (run / "summary.json").unlink()
    for folder in checkpoint.folders(run):
        (folder / "manifest.json").unlink()
    code, _, err = run_main(f"{framework}.train", "--resume", "run")
    assert code == 1
    assert err.splitlines()[-1].startswith("error: run: all ")


@pytest.fixture
def poisoned(monkeypatch) -> int:
    """One batch of the second epoch is not finite; returns its number."""
    plain = Loader.epoch

    def epoch(self, epoch=0, start=0):
        for number, batch in enumerate(plain(self, epoch, start), start):
            if self.seed is not None and (epoch, number) == (1, 4):
                batch.inputs[0, 0, 0] = np.nan
            yield batch

    monkeypatch.setattr(Loader, "epoch", epoch)
    return 4


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_number_that_is_none_stops_the_training_and_names_the_examples(framework, poisoned, run_main, tmp_path):
    options = ("--model", "ann", "--epochs", 3, "--checkpoint-every", "3steps", "--out", "run")
    code, _, err = run_main(f"{framework}.train", *options)
    assert code == 1
    assert err.count("\n") == 1
    found = json.loads((tmp_path / "run/not-finite.json").read_text())
    assert (found["step"], found["epoch"], found["batch"], len(found["examples"])) == (
        21 + poisoned + 1,
        1,
        poisoned,
        64,
    )
    assert err.startswith(f"error: step 26 (epoch 2, batch 5, training examples {found['examples'][0]}, ")
    assert "the last good checkpoint is run/checkpoints/step-000000024" in err
    batch = read_weights(tmp_path / "run/not-finite.safetensors")
    assert np.argwhere(np.isnan(batch["inputs"])).tolist() == [[0, 0, 0, 0]]
    good, skipped = checkpoint.newest(tmp_path / "run")
    assert good
    assert not skipped
    assert all(np.isfinite(array).all() for array in good.state.values() if array.dtype.kind == "f")
    # Going on comes to the same step again: the batch is replayed, and so is the fault.
    code, _, again = run_main(f"{framework}.train", "--resume", "run")
    assert (code, again) == (1, err)
    code, out, err = run_main(f"{framework}.train", "--resume", "run", "--on-nan", "skip")
    assert (code, err) == (0, "")
    assert "1 step was not finite, and changed nothing" in out


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_diverged_training_stops_and_leaves_valid_json(framework, run_main, tmp_path):
    options = ("--optimizer", "sgd", "--lr", 1e30, "--epochs", 1, "--model", "mlp", "--out", "run")
    code, _, err = run_main(f"{framework}.train", *options)
    assert code == 1
    assert " is not finite: loss " in err
    assert err.endswith("no checkpoint was due before it. Try a smaller --lr, --clip-norm or --on-nan skip\n")
    json.loads((tmp_path / "run/not-finite.json").read_text(), parse_constant=pytest.fail)


def test_a_skipped_step_changes_nothing_in_either_framework():
    """Good, bad, good comes to what good, good does; in float64, Flax and PyTorch alike."""
    config = Config(model="lenet5_bn", optimizer="momentum", weight_decay=0.01, ema=0.9, on_nan="skip", lr=0.1)
    first, second = real_batches((32, 32, 1), 2, 0)
    bad = first._replace(inputs=np.where(first.inputs > first.inputs.mean(), np.inf, first.inputs))
    ends = {}
    with jax.enable_x64(True):
        for name, batches in {"with": (first, bad, second), "without": (first, second)}.items():
            torch.manual_seed(0)
            net = torchnets.MODELS["lenet5_bn"].build().double()
            model, tx = jaxnets.MODELS["lenet5_bn"].build(), jaxnets.optim.make_optimizer(config, 10)
            variables = jax.tree.map(jnp.asarray, to_flax(net.state_dict()))
            state = jaxnets.steps.init_state(model, tx, variables, 0, average=True)
            step = jax.jit(partial(jaxnets.steps.train_step, model, tx, **jaxnets.steps.step_options(config)))
            params = torchnets.steps.trained_params(net)
            optimizer, schedule = torchnets.optim.make_optimizer(config, 10, params)
            average = torchnets.steps.make_average(net, config.ema)
            options = {**torchnets.steps.step_options(config), "average": average}
            for batch in batches:
                batch = Batch(batch.inputs.astype(np.float64), batch.labels)
                state, metrics = step(state, batch)
                found = torchnets.steps.train_step(net, optimizer, torchnets.steps.as_tensors(batch), **options)
                assert bool(found.get("skipped")) == (not jaxnets.steps.is_finite(metrics))
                if not found.get("skipped"):
                    schedule.step()
            assert int(state.step) == len(batches)
            both = torchnets.state.TrainState(net, optimizer, schedule, average)
            arrays = jaxnets.state.to_arrays(state), torchnets.state.to_arrays(both)
            ends[name] = [{at: np.array(array) for at, array in side.items() if at != "step"} for side in arrays]
            for mine, theirs in ((state.variables, net), (state.average or {}, average.module)):
                assert_close(flatten(mine), flatten(to_flax(theirs.state_dict())))
    for some, others in zip(*ends.values(), strict=True):
        assert some.keys() == others.keys()
        for path in some:
            np.testing.assert_array_equal(some[path], others[path], err_msg=path)
