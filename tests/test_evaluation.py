"""Evaluation: within memory, without losing a run; metrics equal scikit-learn's; pictures that cannot be drawn."""

import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console
from sklearn import metrics

import jaxnets.loop
import torchnets.loop
from data import Loader, load
from experiment.config import Config
from experiment.loop import trainer
from experiment.loop.evaluation import evaluation_batch
from experiment.loop.metrics import Score, probabilities, score
from experiment.runs import plots, summary
from experiment.runs.summary import print_scores
from experiment.weights.safetensors_file import read_weights
from tests.test_commands import FRAMEWORKS, ROOT

QUICK = ("--model", "mlp", "--epochs", 1, "--batch-size", 500, "--out", "run")


@pytest.mark.parametrize(
    ("options", "shape", "most"),
    [
        ({}, (28, 28, 1), 1000),  # what all recorded figures are for
        ({}, (32, 32, 3), 1000),
        ({"batch_size": 4}, (32, 32, 3), 64),
        ({"batch_size": 4}, (224, 224, 3), 4),
        ({"batch_size": 8, "accumulate": 4}, (224, 224, 3), 2),
        ({"batch_size": 6, "tta": "shift"}, (224, 224, 3), 1),
        ({"batch_size": 1024}, (224, 224, 3), 27),
        ({"batch_size": 8}, (16000, 1), 8),
    ],
)
def test_no_more_is_evaluated_at_once_than_the_training_has_room_for(options, shape, most):
    assert evaluation_batch(Config(**options), shape) == most
    assert evaluation_batch(Config(**options), shape, replicas=64) <= most


@pytest.mark.parametrize("backend", [jaxnets.loop, torchnets.loop])
def test_the_number_at_once_changes_nothing_but_rounding(backend):
    test = load("digits").test._replace()
    inputs = np.pad(test.inputs, ((0, 0), (10, 10), (10, 10), (0, 0)))[:60]
    split, ones = test._replace(inputs=inputs, labels=test.labels[:60]), np.ones(1)
    model, variables = backend.create(backend.MODELS["mlp"], 10, 0)
    found = [backend.predict(model, variables, Loader(split, ones, ones, size), Config()) for size in (7, 20, 1000)]
    for other in found[1:]:
        np.testing.assert_allclose(found[0], other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("when", ["after an epoch", "at the end"])
def test_evaluation_that_dies_leaves_weights_and_metrics(framework, when, run_main, tmp_path, monkeypatch):
    def dies(*_: Any) -> Any:
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 12846104576 bytes.\nand much more")

    where = trainer if when == "after an epoch" else summary
    with monkeypatch.context() as patch:
        patch.setattr(where, "score_splits", dies)
        code, _, err = run_main(f"{framework}.train", *QUICK)
    assert code == 1
    said = "(RESOURCE_EXHAUSTED: Out of memory allocating 12846104576 bytes.)"
    place = "the weights are in run/weights.safetensors"
    assert err == f"error: evaluation takes more memory than there is {said}; {place}\n"
    run = tmp_path / "run"
    assert read_weights(run / "weights.safetensors")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["split"] for row in rows] == ["train", "validation", "test"][: 1 if where is trainer else 3]
    assert run_main(f"{framework}.train", "--resume", "run")[0] == 0
    assert (run / "summary.json").exists()


def test_another_error_of_evaluation_says_where_the_weights_are(run_main, monkeypatch, tmp_path):
    def dies(*_: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(trainer, "score_splits", dies)
    with pytest.raises(ZeroDivisionError) as error:
        run_main("torchnets.train", *QUICK)
    assert error.value.__notes__ == ["the weights are in run/weights.safetensors"]
    assert (tmp_path / "run/weights.safetensors").exists()


@given(
    classes=st.sampled_from([2, 3, 7, 12]),
    count=st.integers(1, 60),
    seed=st.integers(0, 999),
    loss=st.sampled_from(["cross-entropy", "bce"]),
)
def test_metrics_are_scikit_learns(classes, count, seed, loss):
    """Also of sets that lack classes, of ties, and in pieces."""
    rng = np.random.default_rng(seed)
    logits = rng.integers(-2, 3, (count, classes)) / 2
    labels = rng.integers(0, rng.integers(1, classes + 1), count)
    found = score(logits, labels, loss, roc_auc=True)
    names = tuple(f"c{at}" for at in range(classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guesses, own = logits.argmax(axis=1), {"labels": range(classes), "zero_division": 0}
        expected = np.array(metrics.precision_recall_fscore_support(labels, guesses, **own))
        values = found.report(names)
        ours = np.array([[row[key] for key in ("precision", "recall", "f1", "examples")] for row in values.values()])
        np.testing.assert_allclose(ours.T, expected, rtol=1e-14)
        results = found.as_dict()
        assert results["macro_f1"] == pytest.approx(metrics.f1_score(labels, guesses, average="macro"))
        assert results["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, guesses))
        assert ("top5_accuracy" in results) == (classes > 5)
        if classes > 5:
            top = metrics.top_k_accuracy_score(labels, logits, k=5, labels=range(classes))
            assert results["top5_accuracy"] == pytest.approx(top)
        shares = probabilities(logits, loss)
        one_hot = np.eye(classes)[labels]
        areas = [metrics.roc_auc_score(one_hot[:, at], shares[:, at]) for at in range(classes)]
        area = areas[1] if classes == 2 else np.mean(areas)
        if classes > 2 and loss == "cross-entropy":
            options: Any = {"multi_class": "ovr", "labels": range(classes)}
            np.testing.assert_allclose(area, metrics.roc_auc_score(labels, shares, **options))
    assert results["roc_auc"] == (None if np.isnan(area) else pytest.approx(area))
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_of_very_many_classes_the_worst_and_the_best_are_printed():
    counts = np.eye(300, dtype=int) * 50
    counts[range(300), np.roll(range(300), 1)] = np.arange(300)
    console = Console(width=100, record=True)
    with console.capture() as out:
        print_scores(console, {"test": Score(1.0, 0.5, counts)}, tuple(f"class{at}" for at in range(300)))
    text = out.get()
    assert text.count("class") == 1 + 20 + 1
    assert "(280 classes between)" in text
    assert "class298 " in text
    assert "class0 " in text
    with console.capture() as out:
        print_scores(console, {"test": Score(1.0, 0.5, counts[:50, :50])}, tuple(f"class{at}" for at in range(50)))
    assert out.get().count("class") == 1 + 50


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_metrics_are_in_summary_table_and_rows(framework, run_main, tmp_path):
    code, out, err = run_main(f"{framework}.train", *QUICK, "--probabilities")
    assert (code, err) == (0, "")
    found = json.loads((tmp_path / "run/summary.json").read_text())
    assert set(found["test"]["report"]["7"]) == {"precision", "recall", "f1", "examples", "roc_auc"}
    assert found["test"]["report"]["7"]["recall"] == found["test"]["per_class"]["7"]
    counts = np.array(found["test"]["confusion"])
    assert counts.shape == (10, 10)
    assert counts.sum(axis=1).tolist() == [row["examples"] for row in found["test"]["report"].values()]
    assert counts[7, 7] / counts[7].sum() == found["test"]["per_class"]["7"]
    for words in ("precision", "recall", "F1", "balanced accuracy", "macro F1", "top-5 accuracy", "ROC-AUC"):
        assert words in out
    assert f"{found['test']['roc_auc']:.4f}" in out
    row = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert row["top5_accuracy"] == found["test"]["top5_accuracy"]
    code, again, _ = run_main(f"{framework}.evaluate", "run", "--probabilities")
    assert again[again.index("┏") :] == out[out.index("┏") : out.rindex("┘") + 2]


def test_a_picture_of_a_thousand_classes_is_bounded():
    names = [f"$ {at} {'x' * at}" for at in range(1000)]
    found = plots.confusion(np.ones((1000, 1000), int), names, "n" * 5000)
    with Image.open(io.BytesIO(found)) as image:
        assert max(image.size) < 3000


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), MemoryError(), ImportError("no\nmatplotlib")]
)
def test_a_picture_that_cannot_be_drawn_is_one_warning(error, run_main, monkeypatch, tmp_path):
    def fails(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(plots, "_png", fails)
    code, out, err = run_main("torchnets.train", *QUICK)
    assert code == 0
    assert err.startswith("warning: curves.png and confusion.png not drawn, all else is saved: ")
    assert err.count("\n") == 1
    assert "saved in run" in out
    assert (tmp_path / "run/summary.json").exists()
    code, _, err = run_main("torchnets.compare", "run", "--out", "a.png")
    assert code == 1
    assert err.startswith("error: a.png: cannot be drawn (")
    assert err.count("\n") == 1


def test_a_matplotlib_that_cannot_write_its_folder_is_silent(tmp_path):
    """In a process of its own: matplotlib looks for the folder when it is imported."""
    (tmp_path / "file").write_text("in the way")
    environment = os.environ | {"MPLCONFIGDIR": str(tmp_path / "file" / "x"), "PYTHONPATH": str(ROOT)}
    code = "from experiment.runs.pictures import *; from experiment.runs import plots; import numpy as np;"
    code += "write_pictures(Path('.'), {'a.png': lambda: plots.confusion(np.eye(2), ['a', 'b'], 't')})"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert (Path(tmp_path) / "a.png").exists()
