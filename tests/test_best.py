"""The best epoch: one rule for ranking, stopping, checkpoints/best and --tune; it is saved when it occurs."""

import json
import shutil
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import f1_score

from data import UserError
from experiment.config import Config
from experiment.loop import trainer
from experiment.loop.early_stopping import BestEpoch, from_manifest, is_over
from experiment.loop.metrics import Score, score
from experiment.runs import checkpoint
from experiment.runs.folder import SUMMARY

STEPS = 2  # of an epoch
OPTIONS = ("--model", "mlp", "--batch-size", 700, "--out", "run")


def scored(accuracy: float, loss: float) -> Score:
    """Return a score over a thousand examples of two classes."""
    right = round(500 * accuracy)
    return Score(loss, accuracy, np.array([[right, 500 - right], [500 - right, right]]))


def links(run: Path) -> dict[str, int | None]:
    """Return the steps of the checkpoints that the links name, which must be there; None for a link that is not."""
    found: dict[str, int | None] = {}
    for name in ("last", "best"):
        link = run / "checkpoints" / name
        assert link.exists() or not link.is_symlink(), f"{name} dangles"
        found[name] = int(link.readlink().name[5:]) if link.is_symlink() else None
    return found


@pytest.fixture
def plan(monkeypatch):
    """Give the epochs' scores in place of those of the network; after each epoch the links must be true."""

    def of(accuracies: list[float], losses: list[float] | None = None, bests: list[int] | None = None, ends: int = 0):
        losses = losses or [1.0] * len(accuracies)
        bests = bests or [1 + int(np.argmax(accuracies[: at + 1])) for at in range(len(accuracies))]

        def score_splits(session: Any, _variables: Any, splits: tuple[str, ...]) -> dict[str, Score]:
            file = session.folder / "metrics.jsonl"
            done = len(file.read_text().splitlines()) // 3 if file.exists() else 0
            if done:
                assert links(session.folder)["best"] == bests[done - 1] * STEPS
            if ends and done == ends:
                raise UserError("power cut")
            return dict.fromkeys(splits, scored(accuracies[done], losses[done]))

        monkeypatch.setattr(trainer, "score_splits", score_splits)

    return of


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
@pytest.mark.parametrize("every", ["2epochs", "3steps"])
def test_the_best_epoch_is_saved_when_it_occurs_and_the_link_says_the_truth(
    framework, every, plan, run_main, tmp_path
):
    """In the middle of an interval, with nothing else kept, and past a power cut."""
    accuracies = [0.5, 0.6, 0.9, 0.7, 0.8, 0.85]
    plan(accuracies, ends=4)
    argv = (*OPTIONS, "--epochs", 6, "--checkpoint-every", every, "--keep", 1)
    assert run_main(f"{framework}.train", *argv)[2] == "error: power cut\n"
    run, best = tmp_path / "run", 3 * STEPS
    assert links(run)["best"] == best
    as_an_earlier_version_wrote_it(run)
    plan(accuracies)
    code, _, err = run_main(f"{framework}.train", "--resume", "run")
    assert (code, err) == (0, "")
    assert links(run) == {"last": 6 * STEPS, "best": best}
    assert [int(path.name[5:]) for path in checkpoint.folders(run)] == [6 * STEPS, best]
    found = checkpoint.load(run / "checkpoints/last").manifest["best"]
    assert found == {"epoch": 3, "step": best, "value": 0.9}


def as_an_earlier_version_wrote_it(run: Path) -> None:
    """Take the monitored metric out of a run's files, and let its link name an older checkpoint."""
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(
        json.dumps({k: v for k, v in config.items() if k not in ("monitor", "min_delta")})
    )
    for path in checkpoint.folders(run):
        found = checkpoint.load(path)
        best = found.manifest["best"]
        manifest = {**found.manifest, "best": {"epoch": best["epoch"], "step": best["step"], "rank": [0.9, -1.0]}}
        del manifest["files"]
        shutil.rmtree(path)
        checkpoint.save(run, manifest, found.state, found.best, keep=9)
    (run / "checkpoints/best").unlink()
    (run / "checkpoints/best").symlink_to("step-000000001")


def test_after_damage_the_links_name_what_is_there(plan, run_main, tmp_path):
    accuracies = [0.5, 0.6, 0.9]
    plan(accuracies)
    assert run_main("torchnets.train", *OPTIONS, "--epochs", 3, "--keep", 1)[0] == 0
    run = tmp_path / "run"
    (run / SUMMARY).unlink()
    path = run / "checkpoints" / f"step-{2 * STEPS:09}"
    assert not path.exists()
    found = checkpoint.load(run / "checkpoints/best")
    manifest = {**found.manifest, "step": 2 * STEPS, "rows": found.manifest["rows"][:6]}
    manifest |= {"epochs": found.manifest["epochs"][:2], "best": {"epoch": 2, "step": 2 * STEPS, "value": 0.6}}
    checkpoint.save(run, {k: v for k, v in manifest.items() if k != "files"}, found.state, found.best, keep=9)
    # As an earlier version has saved it: what was written, but not finite.
    tensor = next(iter(found.weights()))
    bad = {**found.state, f"variables/{tensor}": np.full_like(found.weights()[tensor], np.inf)}
    shutil.rmtree(found.path.parent / f"step-{3 * STEPS:09}")
    checkpoint.save(run, {k: v for k, v in found.manifest.items() if k != "files"}, bad, found.best, keep=9)
    plan([*accuracies[:2], 0.55])
    code, out, err = run_main("torchnets.train", "--resume", "run")
    assert code == 0
    name = f"run/checkpoints/step-{3 * STEPS:09}/state.safetensors"
    assert err == f"warning: {name}: 'variables/{tensor}' is not finite; skipped\n"
    assert "after step 4" in out
    assert links(run) == {"last": 3 * STEPS, "best": 2 * STEPS}


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_an_epoch_as_good_as_the_best_is_not_better(framework, plan, run_main, tmp_path):
    """All right from the first epoch on, while the loss goes on falling: that is no reason to go on by accuracy."""
    losses = [1 / epoch for epoch in range(1, 7)]
    for name, bests, argv in (
        ("accuracy", [1, 1, 1], ()),
        ("loss", [1, 2, 3, 4, 5, 6], ("--monitor", "loss")),
        ("large", [1, 2, 2, 4, 4, 4], ("--monitor", "loss", "--min-delta", 0.2)),  # 1, 0.5, 0.33, 0.25, 0.2, 0.17
        ("f1", [1, 1, 1], ("--monitor", "macro-f1")),
    ):
        plan([1.0] * 6, losses, bests)
        code, out, err = run_main(f"{framework}.train", *OPTIONS[:-1], name, "--epochs", 6, "--patience", 2, *argv)
        assert (code, err) == (0, "")
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        assert summary["epochs"] == len(bests)
        assert f"the weights are those of epoch {bests[-1]}, the best on the validation examples" in out
        assert links(tmp_path / name)["best"] == bests[-1] * STEPS
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        assert all(("macro_f1" in row) == (row["split"] != "train") for row in rows)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12),
    st.sampled_from(["accuracy", "loss"]),
    st.sampled_from([0.0, 0.25, 0.3]),
    st.integers(1, 4),
)
def test_the_rule_is_keras_s(epochs, monitor, min_delta, patience):
    """The oracle is Keras's EarlyStopping with restore_best_weights, written down from its documentation."""
    config = Config(epochs=len(epochs), monitor=monitor, min_delta=min_delta, patience=patience)
    best, found = BestEpoch(), 0
    for accuracy, loss in epochs:
        found += 1
        best = best.after(config, found, found, scored(accuracy / 4, loss / 4), None)
        if is_over(config, found, best):
            break
    sign, reference, waited, restored, number = (-1 if monitor == "loss" else 1), -np.inf, 0, 0, 0
    for number, (accuracy, loss) in enumerate(epochs, 1):
        current = sign * (loss if monitor == "loss" else accuracy) / 4
        waited += 1
        if current - min_delta > reference:
            reference, waited, restored = current, 0, number
        if waited >= patience:
            break
    assert (best.epoch, found) == (restored, number)


def test_outputs_that_are_not_finite_are_never_the_best():
    first = BestEpoch().after(Config(), 1, 1, scored(0.9, np.nan), None)
    assert first == BestEpoch()
    assert first.after(Config(monitor="loss"), 2, 2, scored(0.1, 5.0), None).epoch == 2


def test_the_best_of_an_earlier_version_is_that_of_its_accuracy():
    assert from_manifest({"epoch": 3, "step": 9, "rank": [0.5, -2.0]}, {}) == BestEpoch(3, 9, 0.5)
    assert from_manifest({"epoch": 0, "step": 0, "rank": None}, {}) == BestEpoch()
    assert from_manifest({"epoch": 3, "step": 9, "value": 0.5}, {}) == BestEpoch(3, 9, 0.5)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=20))
def test_the_macro_f1_is_scikit_learns(pairs):
    labels, predictions = (np.array(part) for part in zip(*pairs, strict=True))
    found = score(np.eye(5)[predictions], labels, "cross-entropy").macro_f1()
    assert found == pytest.approx(f1_score(labels, predictions, average="macro"), abs=1e-12)


def test_a_search_ranks_by_what_is_monitored(run_main, tmp_path):
    space = ("--tune", "lr=1e-5,1e-2", "--trials", 3, "--monitor", "loss")
    code, out, err = run_main("torchnets.train", *OPTIONS[:-1], "search", "--epochs", 1, *space)
    assert (code, err) == (0, "")
    found = json.loads((tmp_path / "search/trials.json").read_text())
    for row in found["trials"]:
        summary = json.loads((tmp_path / f"search/trial-{row['trial']:03}/summary.json").read_text())
        assert row["monitored"] == summary["validation"]["loss"]
    assert found["best"] == min(found["trials"], key=lambda row: row["monitored"])
    assert f"best is trial {found['best']['trial']}: " in out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--min-delta", "-0.1"], "--min-delta is -0.1, expected a finite number, 0 or above"),
        (["--min-delta", "nan"], "--min-delta is nan, expected a finite number, 0 or above"),
    ],
)
def test_a_wrong_min_delta_is_one_clear_line(argv, said, run_main, tmp_path):
    code, _, err = run_main("torchnets.train", *argv)
    assert (code, err) == (1, f"error: {said}\n")
    assert not list(tmp_path.iterdir())
