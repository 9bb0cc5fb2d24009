"""Checkpoints that are not what was written: none is believed."""

import json
import os
import pickle
import shutil
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from experiment.runs import checkpoint
from experiment.runs.checkpoint import Damaged
from tests.quick import costly

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


def flip(data: st.DataObject, content: bytes) -> bytes:
    at = data.draw(st.integers(0, 8 * len(content) - 1))
    return content[: at // 8] + bytes([content[at // 8] ^ 1 << at % 8]) + content[at // 8 + 1 :]


def truncate(data: st.DataObject, content: bytes) -> bytes:
    return content[: data.draw(st.integers(0, len(content) - 1))]


@pytest.mark.parametrize("damage", [flip, truncate])
@costly(300, quick=100)
@given(data=st.data())
def test_no_flipped_bit_and_no_truncation_is_ever_loaded(damage, data, two, tmp_path_factory):
    run = tmp_path_factory.mktemp("damaged")
    shutil.copytree(two, run, symlinks=True, dirs_exist_ok=True)
    name = data.draw(st.sampled_from([checkpoint.STATE, checkpoint.BEST, checkpoint.MANIFEST]))
    path = run / "checkpoints/step-000000002" / name
    content = damage(data, path.read_bytes())
    path.write_bytes(content)
    line = check_falls_back(run, name)
    if name != checkpoint.MANIFEST and damage is flip:
        assert "SHA-256 is " in line
        assert checkpoint.sha256(content) in line
    path.unlink()
    assert "No such file" in check_falls_back(run, name)


def test_not_a_byte_of_a_manifest_may_differ_even_where_it_means_the_same(two, tmp_path):
    shutil.copytree(two, tmp_path / "run", symlinks=True)
    path = tmp_path / "run/checkpoints/step-000000002/manifest.json"
    content = path.read_text()
    for text in (content.replace("1e-05", "1E-05"), content + "\n", content.replace(": ", ":")):
        assert text != content
        path.write_text(text)
        check_falls_back(tmp_path / "run", "manifest.json")


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


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
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
