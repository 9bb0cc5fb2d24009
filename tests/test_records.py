"""Records: what one side computed, in a file, compared on a machine that has only the other framework."""

import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flax import linen as nn

import parity
from data import UserError
from parity.__main__ import main
from parity.records import file
from parity.records.encode import packed, unpacked
from parity.records.opened import open_record
from parity.records.written import Written
from parity.sides.crashes import crash_of
from parity.sides.load import load_jax, load_torch
from parity.trace.fingerprint import fingerprint
from parity.trace.index import Index, laid_out
from parity.trace.values import Constant, Ref

TORCH = """
import torch

class Net(torch.nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.fc = torch.nn.Linear(8, width)

    def forward(self, x):
        x = torch.nn.functional.gelu(self.norm(self.conv(x)))
        return self.fc(x.mean((2, 3)))
"""
FLAX = """
import jax
from flax import linen as nn

class Net(nn.Module):
    width: int = 6

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(8, (3, 3), padding=1)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.gelu(x, approximate=False)
        return nn.Dense(self.width)(x.mean((1, 2)))
"""
BLOCKED = """
import runpy, sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_module("parity", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both files of a port, a wrong one, and a record of the first, made where JAX is not installed."""
    folder = tmp_path_factory.mktemp("records")
    (folder / "my_torch.py").write_text(TORCH)
    (folder / "my_flax.py").write_text(FLAX)
    (folder / "wrong.py").write_text(FLAX.replace("approximate=False", "approximate=True"))
    blocked = "jax,jaxlib,flax,optax,chex,einops,scipy,matplotlib,sklearn,rich,tyro,PIL,soundfile,soxr,msgpack"
    found = run_blocked(folder, blocked, "record", "my_torch.py:Net", "--input", "4,8,8,3", "--out", "net.parity")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("net.parity: 7 operations")
    return folder


def run_blocked(folder: Path, blocked: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a command where packages are not installed."""
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", BLOCKED, blocked, *args]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_record_is_checked_without_pytorch(folder: Path) -> None:
    found = run_blocked(folder, "torch,torchvision,functorch,einops", "check", "net.parity", "my_flax.py:Net",
                    "--accept", "trap-1", "--json", "found.json")  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    report = json.loads((folder / "found.json").read_text())[0]
    assert [check["check"] for check in report["checks"]] == [
        "weights",
        "forward, eval",
        "float32 forward",
        "round trip",
        "gradients",
        "forward, train",
        "statistics",
        "gradients, train",
    ]
    assert any("torch" in note and "my_torch.py:Net" in note for note in report["notes"])


def test_a_difference_names_both_lines_and_shows_pytorchs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "wrong.py").write_text((folder / "wrong.py").read_text())
    monkeypatch.chdir(folder / "elsewhere")  # my_torch.py is not here
    assert _main(monkeypatch, "check", "../net.parity", "wrong.py:Net", "--html", "found.html") == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "my_torch.py:12 `x = torch.nn.functional.gelu(self.norm(self.conv(x)))`" in text
    assert "wrong.py:12 `x = nn.gelu(x, approximate=True)`" in text
    assert "GELU by tanh instead of exact GELU" in text
    assert "torch.nn.functional.gelu(self.norm(self.conv(x)))" in Path("found.html").read_text()
    monkeypatch.setattr("parity.align.words._with_torch", lambda: None)  # as where PyTorch is missing
    report = parity.check_record("../net.parity", load_jax("wrong.py:Net"))
    assert "GELU by tanh instead of GELU" in report.failures[0].diagnosis
    assert any("PyTorch is not installed here" in note for note in report.notes)


@pytest.mark.slow
def test_a_jax_model_is_recorded_and_checked_without_jax(folder: Path) -> None:
    missing = "torch,torchvision,functorch,einops,tyro,PIL,soundfile,soxr"
    found = run_blocked(folder, missing, "record", "my_flax.py:Net", "--input", "4,8,8,3", "--out", "jax.parity")
    assert found.returncode == 0, found.stderr
    (folder / "other_torch.py").write_text(TORCH.replace("gelu(", "silu("))
    blocked = "jax,jaxlib,flax,optax,chex,einops,scipy,ml_dtypes,rich,tyro,PIL,soundfile,soxr,msgpack"
    right = run_blocked(folder, blocked, "check", "jax.parity", "my_torch.py:Net", "--accept", "trap-1")
    assert right.returncode == 0, right.stdout + right.stderr
    assert "7 checks hold, 0 fail" in right.stdout
    wrong = run_blocked(folder, blocked, "check", "jax.parity", "other_torch.py:Net")
    assert wrong.returncode == 1, wrong.stderr
    assert "other_torch.py:12 `x = torch.nn.functional.silu(self.norm(self.conv(x)))`" in wrong.stdout
    assert "my_flax.py:12 `x = nn.gelu(x, approximate=False)`" in wrong.stdout


def _main(monkeypatch: pytest.MonkeyPatch, *args: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["parity", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_large_values_are_fingerprints_and_differences_are_still_found(folder: Path, tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(4, 8, 8, 3))
    written = parity.record(load_torch(f"{folder}/my_torch.py:Net"), inputs, tmp_path / "n", limit=1024)
    assert written.fingerprints > 5
    assert written.size < (folder / "net.parity").stat().st_size
    report = parity.check_record(tmp_path / "n", load_jax(f"{folder}/my_flax.py:Net"), purpose="inference")
    assert report.ok
    report = parity.check_record(tmp_path / "n", load_jax(f"{folder}/wrong.py:Net"))
    assert "gelu" in str(report.failures[0].torch_line)
    assert "approximate=True" in str(report.failures[0].jax_line)


def test_either_side_may_be_recorded(tmp_path: Path) -> None:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.Dense(3)(nn.tanh(nn.Dense(4)(x)))

    inputs = np.random.default_rng(0).normal(size=(5, 4))
    parity.record(Net(), inputs, tmp_path / "n.parity")
    layers = [torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)]
    report = parity.check_record(tmp_path / "n.parity", torch.nn.Sequential(*layers))
    assert [result.check for result in report.results] == ["weights", "forward, eval", "round trip", "gradients"]
    assert report.ok
    wrong = parity.check_record(tmp_path / "n.parity", torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[2]))
    assert "nn.tanh(nn.Dense(4)(x))" in str(wrong.failures[0].jax_line)


class Noisy(nn.Module):
    rate: float = 0.3
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(6)(x))
        x = nn.Dropout(self.rate, deterministic=not train)(nn.relu(x)) * (self.scale if train else 1.0)
        return nn.Dense(3)(x)


def noisy() -> torch.nn.Module:
    layers = [torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU(), torch.nn.Dropout(0.3)]
    return torch.nn.Sequential(*layers, torch.nn.Linear(6, 3))


def test_a_record_holds_the_masks_of_training_mode(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(8, 4))
    parity.record(noisy(), inputs, tmp_path / "torch.parity")
    parity.record(Noisy(), inputs, tmp_path / "jax.parity")
    pairs = (("torch.parity", Noisy()), ("jax.parity", noisy()))
    for file_name, model in pairs:
        report = parity.check_record(tmp_path / file_name, model, accept=["trap-1"])
        assert report.ok, report.failures
        noise, *trained = report.results[-4:]
        assert [result.check for result in trained] == ["forward, train", "statistics", "gradients, train"]
        assert (noise.check, noise.note) == ("dropout", "1 mask, the same on both sides")
        assert max(result.error for result in trained if result.check != "statistics") < 1e-12
    (failure,) = parity.check_record(tmp_path / "torch.parity", Noisy(0.4)).failures
    assert "the rates differ (trap 20)" in failure.diagnosis
    parity.record(Noisy(0.4), inputs, tmp_path / "other.parity")
    (failure,) = parity.check_record(tmp_path / "other.parity", noisy()).failures
    assert "the rates differ (trap 20)" in failure.diagnosis
    (failure,) = parity.check_record(tmp_path / "torch.parity", Noisy(scale=0.9)).failures
    assert (failure.check, failure.stage) == ("forward, train", "forward")


class BrokenFlax(Noisy):
    @nn.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
        return super().__call__(x.reshape(-1, 7) if train else x, train)


class BrokenTorch(torch.nn.Module):
    def __init__(self, error: Exception | None = None):
        super().__init__()
        self.net, self.error = noisy(), error

    def forward(self, x: Any) -> Any:
        if self.training and self.error is not None:
            raise self.error
        if self.training:
            y = x.requires_grad_().exp()
            x = x * y.add_(1.0)
        return self.net(x)


def test_a_side_that_raises_in_training_mode_alone_fails_as_a_record_too(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(8, 4))
    for number, (recorded, live, side, words, line) in enumerate(
        (
            (BrokenFlax(), noisy(), "JAX", "TypeError", "x.reshape(-1, 7)"),
            (BrokenTorch(KeyError("x")), Noisy(), "PyTorch", "KeyError", "raise self.error"),
            (Noisy(), BrokenTorch(KeyError("x")), "PyTorch", "KeyError", "raise self.error"),
            (Noisy(), BrokenTorch(), "PyTorch", "modified by an inplace operation", "y = x.requires_grad_().exp()"),
        )
    ):
        written = parity.record(recorded, inputs, path := tmp_path / f"{number}.parity")
        if number < 2:
            assert re.search(
                rf"; the {side} side raises in training mode: {words} at .*test_records.py:\d+", str(written)
            )
        failure = parity.check_record(path, live).failures[-1]
        assert (failure.check, failure.stage) == ("training mode", "forward")
        assert f"{side} raises in training mode, " in failure.diagnosis
        assert words in failure.diagnosis
        assert line in str(failure.jax_line if side == "JAX" else failure.torch_line)
        assert number or parity.check_record(path, live, purpose="inference").ok


def test_a_module_that_refuses_training_is_recorded_and_compared_in_evaluation_mode(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(8, 4))
    module = BrokenTorch(RuntimeError("this network is for inference"))
    written = parity.record(module, inputs, tmp_path / "n.parity")
    assert re.search("the PyTorch side refuses training mode: RuntimeError at .*test_records.py", str(written))
    report = parity.check_record(tmp_path / "n.parity", Noisy())
    assert report.ok, report.failures
    assert "PyTorch's module refuses it: RuntimeError" in report.results[-1].note
    # An operation that fails and an attribute that is not there are no reasons.
    assert not crash_of(RuntimeError("mat1 and mat2 cannot be multiplied in training")).refused


def test_a_record_is_never_overwritten_and_refuses_what_does_not_fit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    before = Path("net.parity").read_bytes()
    for args, words in (
        (("record", "my_torch.py:Net", "--input", "4,8,8,3", "--out", "net.parity"), "exists already"),
        (("record", "my_torch.py:Net", "--out", "new.parity"), "a record needs inputs"),
        (("record", "my_torch.py:Net", "--input", "4,8,8,5", "--out", "new.parity"), "cannot be called"),
        (("record", "my_torch.py:Net", "--input", "4,8,8,3", "--out", "no/new.parity"), "no such folder"),
        (("check", "net.parity", "net.parity"), "checked against one model"),
        (("check", "net.parity", "my_flax.py:Net", "--input", "4,8,8,3"), "those of the record"),
        (("check", "no.parity", "my_flax.py:Net"), "no such file"),
        (("check", "net.parity", "my_flax.py:No"), "has no 'No'"),
        (("check", "net.parity", "my_torch.py:Net"), "JAX"),
    ):
        assert _main(monkeypatch, *args) == 2, args
        error = capsys.readouterr().err
        assert error.startswith("error: "), args
        assert error.count("\n") == 1
        assert words in error, error
    assert Path("net.parity").read_bytes() == before
    assert not Path("new.parity").exists()


def altered_header(raw: bytes, change: Callable[[dict[str, Any]], Any], *, hashed: bool = True) -> bytes:
    """Return a file with another header, whose hash fits."""
    length = struct.unpack("<Q", raw[:8])[0]
    outer = json.loads(raw[8 : 8 + length])
    header = json.loads(outer["__metadata__"]["record"])
    changed = change(header)
    text = changed if isinstance(changed, str) else json.dumps(header)
    outer["__metadata__"]["record"] = text
    if hashed:
        outer["__metadata__"]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    new = json.dumps(outer).encode()
    return struct.pack("<Q", len(new)) + new + raw[8 + length :]


def put(*path: Any) -> Callable[[dict[str, Any]], None]:
    """Return a function that puts a value in a place of the header."""
    *keys, last, value = path

    def change(header: Any) -> None:
        for key in keys:
            header = header[key]
        header[last] = value

    return change


HEADERS: dict[str, tuple[Any, str]] = {
    "newer": (put("version", 99), "a record of version 99"),
    "no version": (put("version", None), "no version"),
    "nan": (lambda header: json.dumps({**header, "seed": float("nan")}), "NaN is not allowed"),
    "deep": (lambda _: "[" * 200_000 + "]" * 200_000, "nested too deep"),
    "deep inside": (lambda h: json.dumps(h).replace('"seed": 0', '"seed": ' + "[" * 150_000), "nested too deep"),
    "not an object": (lambda _: "7", "no version"),
    "unknown value": (put("trace", "ops", 0, 1, [10**9]), "not below"),
    "cycle": (lambda h: h["trace"]["ops"][0][1].append(h["trace"]["ops"][-1][2][0]), "does not follow"),
    "unknown array": (put("weights", "fc.weight", ["../../etc/passwd", [1]]), "KeyError"),
    "shape": (put("weights", "fc.weight", ["weights/fc.weight", [10**6, 10**6]]), "reshape"),
    "negative": (put("weights", "fc.weight", ["weights/fc.weight", [-1]]), "a number is -1"),
    "dtype": (lambda h: h["arrays"]["weights/fc.weight"].__setitem__(0, "object"), "dtype"),
    "missing": (lambda h: h.pop("trace"), "KeyError"),
    "layout": (put("layouts", "0", "../../x"), "layouts"),
    "operation": (put("trace", "ops", 0, 0, "__import__('os')"), "does not follow"),
    "other side": (put("side", "else"), "of the side 'else'"),
    "arrays": (lambda h: h["arrays"].pop("weights/fc.weight"), "altered"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header_gets_one_line(folder: Path, tmp_path: Path, name: str) -> None:
    change, words = HEADERS[name]
    (tmp_path / "x.parity").write_bytes(altered_header((folder / "net.parity").read_bytes(), change))
    with pytest.raises(UserError, match=r"x\.parity") as found:
        open_record(tmp_path / "x.parity")
    assert words in str(found.value)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 500


def test_damaged_files_get_one_line(folder: Path, tmp_path: Path) -> None:
    raw, path = (folder / "net.parity").read_bytes(), tmp_path / "x.parity"
    flipped = bytearray(raw)
    flipped[-40] ^= 1
    unhashed = altered_header(raw, put("seed", 1), hashed=False)
    length = struct.unpack("<Q", raw[:8])[0]
    outer = json.loads(raw[8 : 8 + length])
    outer["weights/fc.weight"]["data_offsets"][1] += 10**12
    offsets = json.dumps(outer).encode()
    for content in (
        b"",
        b"no record at all",
        raw[:1000],
        raw[:-7],
        bytes(flipped),
        unhashed,
        struct.pack("<Q", 2**62) + raw[8:],
        struct.pack("<Q", 90_000_000) + b" " * 100,
        struct.pack("<Q", len(offsets)) + offsets + raw[8 + length :],
        raw + b"more",
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"x\.parity") as found:
            open_record(path)
        assert "\n" not in str(found.value)
    path.write_bytes(bytes(flipped))
    with pytest.raises(UserError, match="altered"):
        open_record(path)


def test_what_is_written_is_what_is_read(folder: Path, tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6.0).reshape(2, 3) / 7,
        "b": np.array([1.5, -0.0]),
        "c": np.array([1 + 2j]),
        "d": np.array([True, False]),
        "e": np.array(3),
        "f": np.zeros((0, 4)),
    }
    file.write(tmp_path / "x", {"side": "torch"}, arrays)
    header, found = file.read(tmp_path / "x")
    assert header["version"] == file.VERSION
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
    arguments = (Ref(1), [1, 2.5, None, True, float("-inf")], {"dtype": Constant("torch.float64")}, "tanh")
    assert unpacked(json.loads(json.dumps(packed(arguments))), 2) == (
        Ref(1),
        (1, 2.5, None, True, float("-inf")),
        {"dtype": Constant("torch.float64")},
        "tanh",
    )
    assert open_record(folder / "net.parity").made.name == "my_torch.py:Net"


def test_a_fingerprint_tells_an_order_of_axes_from_another_array() -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=(8, 3, 20, 20))
    kept, index = fingerprint(array), Index()
    index.add(7, kept)
    other = array.copy()
    other[0, 0, 0, :2] = other[0, 0, 0, 1::-1]  # the same numbers, two of them exchanged
    for found in (array.transpose(0, 2, 3, 1), array.transpose(3, 2, 1, 0), array.reshape(24, 400)):
        assert index.find(found, 1e-9) == [7]
        assert laid_out(kept, found, 1e-9) is found
    assert index.find(other, 1e-9) == [7]
    assert laid_out(kept, other, 1e-9) is None
    assert index.find(array + 1e-7, 1e-9) == []
    assert index.find(array * (1 + 1e-12), 1e-9) == [7]


def test_a_size_is_said() -> None:
    assert str(Written(Path("x.parity"), 2_500_000_000, 3, 4, 2, "")).endswith("2 of them as fingerprints, 2.50 GB")


def test_the_checker_alone_has_the_version_of_the_project_and_needs_two_packages() -> None:
    root = Path(__file__).parents[1]
    alone, whole = (
        tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        for folder in (root / "packages/parity", root)
    )
    assert alone["version"] == whole["version"]
    assert [package.partition(">")[0] for package in alone["dependencies"]] == ["numpy", "safetensors"]
    assert set(alone["optional-dependencies"]["jax"]) <= set(whole["dependencies"])
    assert alone["optional-dependencies"]["torch"][0] in whole["optional-dependencies"]["torch"]
