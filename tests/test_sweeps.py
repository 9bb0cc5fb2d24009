"""Sweeps, --seeds and --tune: they outlive trainings that fail, and their folders are resumed as such."""

import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from data import Loader
from experiment.config import Config
from experiment.loop import runner
from experiment.runs import folder as run_folder
from tests.quick import slow_unless
from tests.test_commands import FRAMEWORKS

QUICK = ("--model", "mlp", "--epochs", 2, "--batch-size", 500, "--schedule", "constant", "--optimizer", "sgd")
WAYS = slow_unless(lambda *way: way != ("jaxnets", "no"), [("jaxnets", "no"), ("jaxnets", "yes"), ("torchnets", "no")])


def at_loading(monkeypatch, call) -> None:
    """Call `call(loader, epoch, number, batch)` with each training batch."""
    plain = Loader.epoch

    def epoch(self, epoch=0, start=0):
        for number, batch in enumerate(plain(self, epoch, start), start):
            if self.seed is not None:
                call(self, epoch, number, batch)
            yield batch

    monkeypatch.setattr(Loader, "epoch", epoch)


def read(path: Path):
    return json.loads(path.read_text())


@pytest.mark.parametrize(("framework", "together"), WAYS)
def test_seeds_outlive_one_that_fails_and_the_means_are_over_the_others(
    framework, together, run_main, monkeypatch, tmp_path
):
    def poison(loader, epoch, number, batch):
        if (loader.seed, epoch, number) == (4, 1, 1):
            batch.inputs[0, 0, 0] = np.nan

    at_loading(monkeypatch, poison)
    sweep = ("--seed", 3, "--seeds", 3, "--together", together)
    code, out, err = run_main(f"{framework}.train", *QUICK, *sweep, "--out", "sweep")
    assert (code, err) == (0, "")
    summary = read(tmp_path / "sweep/summary.json")
    assert summary["seeds"] == [3, 5]
    ((seed, why),) = [failure.values() for failure in summary["failed"]]
    assert seed == 4
    assert why.startswith("step 5 (epoch 2, batch 2, training examples ")
    assert read(tmp_path / "sweep/seed-4/failed.json")["error"] == why
    assert f"1 of 3 trainings failed, and 2 ended:\n  seed 4: {why}\n" in out
    own = [read(tmp_path / f"sweep/seed-{seed}/summary.json")["test"]["accuracy"] for seed in (3, 5)]
    assert summary["test"]["accuracies"] == own
    assert summary["test"]["accuracy"] == pytest.approx(np.mean(own))
    assert summary["test"]["deviation"] == pytest.approx(np.std(own, ddof=1))
    code, out, err = run_main(f"{framework}.train", *QUICK, "--seed", 5, "--out", "alone")
    losses = [read(tmp_path / name / "summary.json")["test"]["loss"] for name in ("alone", "sweep/seed-5")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    code, out, err = run_main(f"{framework}.train", "--resume", "sweep")
    assert (code, out, err) == (0, "sweep has finished: nothing to go on with\n", "")


@pytest.mark.parametrize(("framework", "together"), WAYS)
def test_a_search_outlives_its_bad_trials(framework, together, run_main, tmp_path):
    space = ("--tune", "lr=0.01,1e25", "--trials", 4, "--together", together)
    code, out, err = run_main(f"{framework}.train", *QUICK, *space, "--out", "search")
    assert (code, err) == (0, "")
    found = read(tmp_path / "search/trials.json")
    assert [row["trial"] for row in found["trials"]] == [1, 2, 3, 4]
    failed = [row for row in found["trials"] if row["validation"] is None]
    assert failed == [row for row in found["trials"] if row["options"]["lr"] == 1e25] != []
    assert all("is not finite" in row["failed"] for row in failed)
    assert found["best"] == max((row for row in found["trials"] if row not in failed), key=lambda r: r["validation"])
    assert f"{len(failed)} of 4 trainings failed, and {4 - len(failed)} ended:\n" in out
    assert (tmp_path / "search/trials.png").stat().st_size > 1000


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_options_that_are_refused_in_one_trial_are_a_failure_of_that_trial(framework, run_main, tmp_path):
    code, out, err = run_main(
        f"{framework}.train", *QUICK, "--tune", "batch_size=500,2000", "--trials", 3, "--out", "search"
    )
    assert (code, err) == (0, "")
    rows = read(tmp_path / "search/trials.json")["trials"]
    why = {500: None, 2000: "--batch-size is 2000, but there are only 1,293 training examples"}
    assert [row.get("failed") for row in rows] == [why[row["options"]["batch_size"]] for row in rows]
    assert {row["options"]["batch_size"] for row in rows} == {500, 2000}
    assert "of 3 trainings failed" in out


@pytest.mark.parametrize(
    ("framework", "sweep"),
    slow_unless(
        lambda framework, sweep: (framework, sweep[0]) != ("jaxnets", "--tune"),
        [(f, sweep) for f in FRAMEWORKS for sweep in (("--seeds", 2), ("--tune", "lr=1e24,1e25", "--trials", 2))],
    ),
)
def test_a_sweep_of_which_all_fail_is_an_error_and_is_no_run(framework, sweep, run_main, tmp_path):
    argv = (f"{framework}.train", *QUICK, "--lr", 1e25, *sweep, "--out", "sweep")
    code, _, err = run_main(*argv)
    assert code == 1
    assert err.startswith("error: all 2 trainings failed; ")
    assert err.count("\n") == 1
    before = {path: path.lstat().st_mtime_ns for path in (tmp_path / "sweep").rglob("*") if path.is_file()}
    code, _, again = run_main(f"{framework}.train", "--resume", "sweep")
    assert (code, again) == (1, err)
    after = {path: path.lstat().st_mtime_ns for path in (tmp_path / "sweep").rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before.get(path)} <= {tmp_path / "sweep/trials.json"}


@pytest.mark.parametrize(("framework", "together"), WAYS)
def test_a_training_without_memory_does_not_end_the_others(framework, together, run_main, monkeypatch, tmp_path):
    train = runner.train

    def full(session, variables):
        if session.config.seed == 1:
            raise MemoryError
        return train(session, variables)

    def full_together(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 8 bytes")

    monkeypatch.setattr(runner, "train", full)
    monkeypatch.setattr(runner, "train_together", full_together)
    options = ("--seeds", 3, "--together", together, "--out", "sweep")
    code, out, err = run_main(f"{framework}.train", *QUICK, *options)
    assert code == 0
    assert all(line.endswith("no checkpoint was saved yet; starts at the beginning") for line in err.splitlines())
    assert ("they cannot be trained together (RuntimeError: RESOURCE_EXHAUSTED: Out of memory)" in out) == (
        together == "yes"
    )
    summary = read(tmp_path / "sweep/summary.json")
    assert summary["seeds"] == [0, 2]
    assert summary["failed"] == [{"seed": 1, "error": "MemoryError"}]
    assert "full" in read(tmp_path / "sweep/seed-1/failed.json")["traceback"]


def results(sweep: Path) -> dict[str, object]:
    """All that a sweep has come to, but what the clock says."""
    found: dict[str, object] = {}
    for path in sorted(sweep.rglob("*")):
        if path.name in ("weights.safetensors", "metrics.jsonl", "trials.json", "config.json"):
            found[str(path.relative_to(sweep))] = path.read_bytes()
        if path.name == "summary.json":
            found[str(path.relative_to(sweep))] = [read(path)[split] for split in ("train", "validation", "test")]
    return found


@pytest.mark.parametrize(
    ("framework", "together", "sweep"),
    slow_unless(
        lambda framework, together, _sweep: framework == "torchnets" or together == "yes",
        [
            *((framework, "no", "seeds") for framework in FRAMEWORKS),
            *((framework, "no", "tune") for framework in FRAMEWORKS),
            ("jaxnets", "yes", "tune"),
        ],
    ),
)
def test_an_interrupted_sweep_is_resumed_as_a_sweep(framework, together, sweep, run_main, monkeypatch, tmp_path):
    options = {"seeds": ("--seeds", 3), "tune": ("--tune", "lr=0.001..0.1", "momentum=0.5,0.9", "--trials", 3)}[sweep]
    train = (f"{framework}.train", *QUICK, *options, "--together", together)
    assert run_main(*train, "--out", "whole")[0] == 0
    interrupted: list[int] = []
    seen = {"epochs": 0}

    def interrupt(_loader, _epoch, number, _batch):
        seen["epochs"] += number == 0
        if seen["epochs"] >= 4 and number == 1 and not interrupted:  # in the midst of the second, or of all
            interrupted.append(1)
            os.kill(os.getpid(), signal.SIGINT)

    at_loading(monkeypatch, interrupt)
    code, out, err = run_main(*train, "--out", "sweep")
    assert code == 130
    assert "--resume sweep goes on with all of the trainings" in out
    assert err.count("interrupted after ") == (3 if together == "yes" else 1)
    first = tmp_path / "sweep" / ("seed-0" if sweep == "seeds" else "trial-001")
    kept = {} if together == "yes" else {path: path.stat().st_mtime_ns for path in first.iterdir()}
    assert not (tmp_path / "sweep/summary.json").exists()
    # As a job that is started again, the second time from another folder's view of it.
    again = (*train, "--out", "sweep", "--resume", "auto") if sweep == "seeds" else (train[0], "--resume", "sweep")
    code, out, err = run_main(*again)
    assert (code, err) == (0, "")
    assert "goes on from sweep/" in out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    if together == "no":
        assert results(tmp_path / "sweep") == results(tmp_path / "whole")
    else:
        rows, expected = (read(tmp_path / name / "trials.json")["trials"] for name in ("sweep", "whole"))
        assert [row["options"] for row in rows] == [row["options"] for row in expected]
        assert [row["validation"] for row in rows] == pytest.approx([row["validation"] for row in expected], abs=0.02)
    assert run_main(train[0], "--resume", "sweep")[1] == "sweep has finished: nothing to go on with\n"


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory) -> Path:
    """A folder with sweeps as they are and as earlier versions left them, each with a finished and a missing part."""
    from experiment.cli import train

    root, here = tmp_path_factory.mktemp("sweeps"), Path.cwd()
    os.chdir(root)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("curves", "confusion"):
                patch.setattr(f"experiment.runs.plots.{name}", lambda *_: b"")
            for name, options in (("seeds", ("--seeds", 2)), ("search", ("--tune", "lr=0.01,0.02", "--trials", 2))):
                patch.setattr("sys.argv", ["train", *map(str, (*QUICK, *options, "--out", name))])
                with pytest.raises(SystemExit) as stop:
                    train.main("torchnets")
                assert not stop.value.code
    finally:
        os.chdir(here)
    for name in ("seeds", "search"):
        old = shutil.copytree(root / name, root / f"old-{name}", symlinks=True)
        for path in old.rglob("config.json"):
            saved = {key: value for key, value in read(path).items() if key not in ("kind", "framework", "sweep")}
            path.write_text(json.dumps({key: saved[key] for key in saved if key not in ("tensorboard", "profile")}))
    shutil.rmtree(root / "seeds/seed-1")
    shutil.rmtree(root / "old-seeds/seed-1")
    for name in ("summary.json", "failed.json"):
        (root / "seeds" / name).unlink(missing_ok=True)
        (root / "old-seeds" / name).unlink(missing_ok=True)
    return root


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", ["seeds", "search", "old-seeds", "old-search"])
def test_a_sweeps_folder_is_no_run_and_what_to_give_instead_is_said(framework, name, sweeps, run_main):
    sweep = sweeps / name
    what = "the trainings of --seeds" if "seeds" in name else "the search of --tune"
    best = sweep / f"trial-{read(sweep / 'trials.json')['best']['trial']:03}" if "search" in name else ""
    instead = f"its best run is {best}" if best else f"give one of its runs: {sweep}/seed-0"
    line = f"error: {sweep}: holds {what}, it is not a run; {instead}\n"
    assert run_main(f"{framework}.evaluate", sweep)[::2] == (1, line)
    assert run_main(f"{framework}.predict", sweep, "a.png")[::2] == (1, line)
    assert run_main(f"{framework}.compare", sweep)[::2] == (1, line)
    assert run_main(f"{framework}.train", "--model", "mlp", "--weights", sweep)[::2] == (1, line)


def test_a_sweep_of_an_earlier_version_is_resumed_if_its_options_are_given(sweeps, run_main, tmp_path):
    for name in ("old-seeds", "old-search"):
        shutil.copytree(sweeps / name, tmp_path / name, symlinks=True)
    code, _, err = run_main("torchnets.train", "--resume", "old-seeds")
    assert code == 1
    assert err.endswith("old-seeds: saved by an earlier version, which kept no --seeds; give what it had\n")
    before = (tmp_path / "old-seeds/seed-0/weights.safetensors").stat().st_mtime_ns
    code, _, err = run_main("torchnets.train", "--resume", "old-seeds", "--seeds", 2)
    assert (code, err) == (0, "")
    assert read(tmp_path / "old-seeds/summary.json")["seeds"] == [0, 1]
    assert (tmp_path / "old-seeds/seed-0/weights.safetensors").stat().st_mtime_ns == before
    space = ("--tune", "lr=0.01,0.02", "--trials", 3)
    code, _, err = run_main("torchnets.train", "--resume", "old-search", *space)
    assert (code, err) == (0, "")
    rows = read(tmp_path / "old-search/trials.json")["trials"]
    assert rows[:2] == read(sweeps / "search/trials.json")["trials"]
    assert len(rows) == 3


def test_a_trial_whose_options_the_search_would_not_choose_again_is_kept(sweeps, run_main, tmp_path):
    shutil.copytree(sweeps / "search", tmp_path / "search", symlinks=True)
    config = tmp_path / "search/trial-001/config.json"
    other = {0.01: 0.02, 0.02: 0.01}[read(config)["lr"]]
    config.write_text(json.dumps(read(config) | {"lr": other}))  # as another version of Optuna would have it
    (tmp_path / "search/trials.json").unlink()
    assert run_main("torchnets.train", "--resume", "search")[0] == 0
    assert read(tmp_path / "search/trials.json")["trials"][0]["options"] == {"lr": other}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seeds", 3), "not the same training: seeds was 2, is 3"),
        (("--lr", 1), "not the same training: lr was 0.003, is 1"),
        (("--tune", "lr=1..2"), "--tune trains each trial once; leave out --seeds"),
        (("--out", "elsewhere"), "leave out --out elsewhere"),
    ],
)
def test_another_sweep_is_not_gone_on_with(options, said, sweeps, run_main):
    before = {path: path.lstat().st_mtime_ns for path in sweeps.rglob("*")}
    code, _, err = run_main("torchnets.train", "--resume", sweeps / "seeds", *options)
    assert code == 1
    assert said in err
    assert err.count("\n") == 1
    code, _, err = run_main("jaxnets.train", "--resume", sweeps / "seeds")
    assert (code, err) == (1, f"error: --resume {sweeps / 'seeds'}: framework was torchnets, is jaxnets\n")
    assert {path: path.lstat().st_mtime_ns for path in sweeps.rglob("*")} == before


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    "content", ["{}", '{"architectures": ["Bert"], "model_type": "bert"}', '{"model": "mlp"}', "[]", "{", '"run"']
)
def test_a_folder_of_something_else_is_not_taken_for_a_run(framework, content, run_main, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/config.json").write_text(content)
    for command, *argv in (
        ("train", "--resume", "theirs"),
        ("train", "--resume", "auto", "--out", "theirs"),
        ("train", "--weights", "theirs"),
        ("evaluate", "theirs"),
        ("predict", "theirs", "a.png"),
        ("compare", "theirs"),
    ):
        code, _, err = run_main(f"{framework}.{command}", *argv)
        assert code == 1
        assert err.startswith(("error: theirs", "error: --resume theirs")), command
        assert err.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["theirs", "config.json"]


def test_default_names_never_collide(run_main, monkeypatch, tmp_path):
    class Frozen:
        @staticmethod
        def now() -> datetime:
            return datetime(2026, 12, 31, 23, 59, 59)

    monkeypatch.setattr(run_folder, "datetime", Frozen)
    for options in ((), ("--seeds", 2), ("--tune", "lr=0.01,0.02", "--trials", 1)):
        code, _, err = run_main("torchnets.train", *QUICK, *options)
        assert (code, err) == (0, "")
    name = "20261231-235959-mlp-digits-torchnets"
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [name, f"{name}-2", f"{name}-3"]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: run_folder.make_folder(Config(model="ann"), "jaxnets"), range(24)))
    assert len(set(made)) == 24
    assert all((path / "config.json").is_file() for path in made)
    # The newest that has not finished is the last of them, after the ones of one digit.
    shutil.rmtree(tmp_path / "runs" / f"{name}-2/seed-1")
    shutil.rmtree(tmp_path / "runs" / f"{name}-3/trial-001")
    code, out, _ = run_main("torchnets.train", "--resume", "auto")
    assert code == 0
    assert f"all in runs/{name}-3\n" in out
    assert run_main("torchnets.train", "--resume", "auto")[0] == 0
    assert read(tmp_path / "runs" / f"{name}-2/summary.json")["seeds"] == [0, 1]
