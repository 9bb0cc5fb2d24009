"""Several trainings in one program: each is the training that it would have been alone."""

import json
import signal

import numpy as np
import pytest

from experiment.runs import checkpoint
from tests.test_resume import interrupt

OPTIONS = ("--precision", "float64", "--optimizer", "momentum", "--lr", 0.01, "--seed", 3, "--seeds", 2)
# All that is random, or kept from step to step; the masks of dropout are drawn from each training's own key.
RANDOM = ("--augment", "affine", "--mixup", 0.2, "--ema", 0.9, "--dropout", 0.2, "--weight-decay", 0.01, "--l1", 1e-5)


@pytest.mark.parametrize(
    "more",
    [
        ("--model", "ann", "--epochs", 2, "--batch-size", 256, *RANDOM),
        pytest.param(
            ("--model", "mlp", "--epochs", 2, "--batch-size", 16, "--data-on", "device", "--augment", "crop"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("--model", "mlp", "--epochs", 5, "--patience", 1, "--augment-on", "device", "--on-nan", "skip"),
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.slow
def test_each_training_is_the_one_that_it_would_have_been_alone(more, run_main, tmp_path):
    for name, together in (("at-once", "yes"), ("in-turn", "no")):
        code, _, err = run_main("jaxnets.train", *OPTIONS, *more, "--together", together, "--out", name)
        assert (code, err) == (0, "")
    folders = sorted(path.name for path in (tmp_path / "in-turn").iterdir())
    assert folders == sorted(path.name for path in (tmp_path / "at-once").iterdir())
    for seed in (3, 4):
        ours, alone = (tmp_path / name / f"seed-{seed}" for name in ("at-once", "in-turn"))
        assert sorted(path.name for path in ours.rglob("*")) == sorted(path.name for path in alone.rglob("*"))
        assert (ours / "config.json").read_text() == (alone / "config.json").read_text()
        found, expected = (checkpoint.newest(folder)[0] for folder in (ours, alone))
        assert found
        assert expected
        for states in ((found.state, expected.state), (found.best, expected.best)):
            assert states[0].keys() == states[1].keys()
            for name, array in states[0].items():
                np.testing.assert_allclose(array, states[1][name], rtol=0, atol=1e-10, err_msg=name)
        rows = [
            [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            for folder in (ours, alone)
        ]
        for row, other in zip(*rows, strict=True):
            assert row == pytest.approx(other, abs=1e-10)
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("at-once", "in-turn")]
    for split in ("train", "validation", "test"):
        assert summaries[0][split] == summaries[1][split]


@pytest.mark.slow
def test_trials_of_a_search_are_trained_together_each_with_its_own_numbers(run_main, tmp_path):
    options = ("--model", "mlp", "--epochs", 1, *OPTIONS[:2], "--optimizer", "nesterov", "--seed", 3, "--trials", 2)
    space = ("--tune", "lr=0.001..0.1", "momentum=0.5,0.9", "weight_decay=0..0.01")
    code, _, err = run_main("jaxnets.train", *options, *space, "--together", "yes", "--out", "at-once")
    assert (code, err) == (0, "")
    trials = json.loads((tmp_path / "at-once/trials.json").read_text())["trials"]
    assert [trial["trial"] for trial in trials] == [1, 2]
    assert len({trial["options"]["lr"] for trial in trials}) == 2
    for trial in trials:
        folder = f"trial-{trial['trial']:03}"
        own = [word for name, value in trial["options"].items() for word in (f"--{name.replace('_', '-')}", value)]
        assert run_main("jaxnets.train", *options[:-2], *own, "--out", folder)[0] == 0
        ours, alone = (checkpoint.newest(tmp_path / name)[0] for name in (f"at-once/{folder}", folder))
        assert ours
        assert alone
        for name, array in ours.state.items():
            np.testing.assert_allclose(array, alone.state[name], rtol=0, atol=1e-10, err_msg=name)
        configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in (f"at-once/{folder}", folder)]
        assert configs[0] == configs[1]
        summary = json.loads((tmp_path / folder / "summary.json").read_text())
        assert summary["test"]["accuracy"] == trial["test"]


def test_a_signal_saves_all_and_each_can_be_gone_on_with(run_main, tmp_path):
    options = ("--model", "mlp", "--epochs", 3, *OPTIONS, "--checkpoint-every", "1000epochs")
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, signal.SIGTERM, 30)
        code, _, err = run_main("jaxnets.train", *options, "--together", "yes", "--out", "runs")
    assert code == 128 + signal.SIGTERM
    assert err.count("interrupted after ") == err.count("\n") == 2
    assert run_main("jaxnets.train", "--resume", "runs/seed-4")[0] == 0
    assert run_main("jaxnets.train", *options[:-4], "--seed", 4, "--out", "alone")[0] == 0
    found, expected = (checkpoint.newest(tmp_path / name)[0] for name in ("runs/seed-4", "alone"))
    assert found
    assert expected
    for name, array in found.state.items():
        np.testing.assert_allclose(array, expected.state[name], rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize(
    ("framework", "options", "said"),
    [
        ("torchnets", ("--seeds", 2), "--together yes is for jaxnets.train; PyTorch's modules are trained one after"),
        ("jaxnets", (), "--together yes trains the runs of --seeds at once, without --workers; give --seeds 3 or so"),
        (
            "jaxnets",
            ("--tune", "lr=0.1..1", "batch_size=32,64"),
            "--together yes can tune lr, momentum, weight_decay; other options need a program each, found batch_size",
        ),
        ("jaxnets", ("--seeds", 2, "--workers", 1), "--together yes trains the runs of --seeds at once, without"),
    ],
)
def test_what_cannot_be_trained_together_is_said(framework, options, said, run_main, tmp_path):
    code, _, err = run_main(f"{framework}.train", *options, "--together", "yes", "--out", "runs")
    assert code == 1
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())
