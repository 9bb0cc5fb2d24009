"""Predictions in files, and by weights that no run describes."""

import csv
import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data import load
from experiment.cli.predictions import write_predictions
from experiment.runs import atomic
from tests.test_commands import FRAMEWORKS

ODD = ['a,b "q".png', "=1+1.png", "new\nline.png", os.fsdecode(b"gr\xfcn.png")]
CLASSES = ["=cmd|' /C calc'!A0", "a,b", 'q"x', "new\nline", "\u732b", os.fsdecode(b"\xfc"), "-", "file", "8", "9"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def shown(text: str) -> str:
    """Return a cell of a CSV file without what keeps spreadsheets from taking it for a formula."""
    return text.removeprefix("'")


@pytest.fixture
def trained(run_main, tmp_path) -> Path:
    argv = ("--model", "mlp", "--epochs", 1, "--batch-size", 100, "--out", "run")
    assert run_main("torchnets.train", *argv)[0] == 0
    for name, pixels in zip(ODD, load("digits").test.inputs, strict=False):
        Image.fromarray(pixels[..., 0]).save(tmp_path / name, "png")
    return tmp_path / "run"


def test_predictions_are_written_as_csv_and_json(trained, run_main, tmp_path):
    summary = json.loads((trained / "summary.json").read_text())
    summary["inputs"]["classes"] = CLASSES
    (trained / "summary.json").write_text(json.dumps(summary))
    files = [Path(name) for name in ODD]
    said = run_main("torchnets.predict", "run", *files, "--top", 10)
    assert said[0] == 0
    assert all(len(line.split("%, ")) == 10 for line in said[1].splitlines())
    code, out, err = run_main("torchnets.predict", "run", *files, "--out", "a.JSON", "--probabilities")
    assert (code, out, err) == (0, "4 predictions in a.JSON\n", "")
    found: list[dict[str, Any]] = json.loads((tmp_path / "a.JSON").read_text(encoding="ascii"))
    assert [row["file"] for row in found] == ODD
    for row in found:
        shares = row["probabilities"]
        assert list(shares) == CLASSES
        assert sum(shares.values()) == pytest.approx(1)
        assert row["class"] == max(shares, key=lambda name: shares[name])
        assert row["probability"] == shares[row["class"]]
    assert run_main("jaxnets.predict", "run", *files, "--out", "b.csv", "--top", 3)[0] == 0
    names = [name.encode("utf-8", "backslashreplace").decode() for name in ODD]
    assert [shown(row["file"]) for row in rows(tmp_path / "b.csv")] == names
    for row, expected in zip(rows(tmp_path / "b.csv"), found, strict=True):
        assert list(row) == ["file", "class", "probability", "class_2", "probability_2", "class_3", "probability_3"]
        assert shown(row["class"]) == expected["class"].encode("utf-8", "backslashreplace").decode()
        assert float(row["probability"]) == pytest.approx(expected["probability"], abs=1e-5)
    assert run_main("torchnets.predict", "run", *files, "--out", "c.csv", "--probabilities")[0] == 0
    for row, expected in zip(rows(tmp_path / "c.csv"), found, strict=True):
        shares = [float(value) for name, value in row.items() if name.startswith("p_")]
        assert shares == pytest.approx(list(expected["probabilities"].values()), abs=1e-5)
    for path in tmp_path.glob("*.csv"):
        cells = [cell for line in csv.reader(path.read_text(encoding="utf-8").splitlines()) for cell in line]
        assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r"))]


@pytest.mark.usefixtures("trained")
def test_a_file_of_predictions_is_replaced_only_if_told_to_and_whole(run_main, tmp_path, monkeypatch):
    (tmp_path / "old.csv").write_text("dear to me")
    (tmp_path / "folder.csv").mkdir()
    for argv, said in (
        (("--out", "old.csv"), "--out old.csv: exists already; name another file, or give --overwrite"),
        (("--out", "folder.csv", "--overwrite"), "--out folder.csv: is a folder"),
        (("--out", "a.txt"), "--out a.txt: expected a file named .csv or .json"),
        (("--out", "nowhere/a.csv"), "nowhere/a.csv: no such folder to write it in"),
        (("--probabilities",), "--probabilities and --overwrite go with --out"),
        (("--top", 0), "--top is 0, expected at least 1"),
        (("--data-dir", "."), "--data-dir goes with --weights FILE"),
        (("--on-bad-file", "skip"), "--on-bad-file goes with --weights FILE"),
        (("--cache-dir", "."), "--cache-dir goes with --weights FILE"),
        (("--model", "ann"), "--model goes with --weights FILE"),
    ):
        code, out, err = run_main("torchnets.predict", "run", ODD[1], *argv)
        assert (code, out) == (1, "")
        assert err.startswith(f"error: {said}")
        assert err.count("\n") == 1
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left on device")
        patch.setattr(atomic.os, "write", lambda *_: (_ for _ in ()).throw(full))
        code, _, err = run_main("torchnets.predict", "run", ODD[1], "--out", "old.csv", "--overwrite")
    assert code == 1
    assert err.startswith("error: old.csv: cannot be written (No space left on device)")
    assert (tmp_path / "old.csv").read_text() == "dear to me"
    assert not list(tmp_path.glob("*.part"))
    assert run_main("torchnets.predict", "run", ODD[1], "--out", "old.csv", "--overwrite")[0] == 0
    assert len(rows(tmp_path / "old.csv")) == 1


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_weights_without_a_run_predict_as_the_run_does(framework, trained, run_main, tmp_path):
    expected = run_main(f"{framework}.predict", "run", *ODD)[1]
    weights = (trained / "weights.safetensors").rename(tmp_path / "w.safetensors")
    for path in trained.iterdir():
        path.rename(tmp_path / path.name)
    given = ("--weights", weights, "--model", "mlp")
    code, out, err = run_main(f"{framework}.predict", *given, "--dataset", "digits", *ODD)
    assert code == 0
    assert err.startswith(f"weights: 10 tensors from {weights}")
    assert out == expected
    for argv, said in (
        (given, "--weights does not say what to evaluate it on; give --dataset, too"),
        ((*given, "--dataset", "digits"), "no file to classify is named; give some behind the options"),
        ((), "no run folder is named"),
    ):
        code, _, err = run_main(f"{framework}.predict", *argv, *([ODD[1]] if argv == given else []))
        assert code == 1
        assert err.startswith(f"error: {said}")


def test_probabilities_that_are_no_numbers_are_empty(tmp_path):
    shares = np.array([[np.nan, np.nan]])
    for name in ("a.csv", "a.json"):
        write_predictions(tmp_path / name, ["f"], ["x", "y"], shares, 2, every=True)
    assert json.loads((tmp_path / "a.json").read_text())[0]["probability"] is None
    assert rows(tmp_path / "a.csv")[0]["p_x"] == ""
