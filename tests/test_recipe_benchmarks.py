"""The benchmarks that train recipes: what they say of a run, and the network that is pre-trained."""

import json
from functools import partial

import pytest

from benchmarks import curves, recipes, transfer
from experiment.runs.checkpoint import newest
from torchnets import MODELS


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_figures_say_which_options_are_not_the_recipes_own(seeds, run_main, tmp_path):
    options = ("--recipe", "ann-fashion", "--dataset", "digits", "--epochs", 1, "--seeds", seeds, "--tf32")
    assert run_main("torchnets.train", *options, "--out", "ann-fashion-torchnets")[0] == 0
    found = recipes.row(tmp_path / "ann-fashion-torchnets")
    assert (found["recipe"], found["framework"], found["seeds"]) == ("ann-fashion", "torchnets", list(range(seeds)))
    assert found["options"] == {"dataset": "digits", "epochs": 1, "tf32": True}


def test_resnet50_is_pretrained_on_small_images(tmp_path, monkeypatch):
    entry = MODELS["resnet50"]
    narrow = partial(entry.build, width=8, **entry.small.quick)
    monkeypatch.setitem(MODELS, "resnet50", entry._replace(build=narrow))
    monkeypatch.setattr("sys.argv", ["transfer"])
    out = tmp_path / "run"
    transfer.pretrain(["--model", "resnet50", "--epochs", "1", "--batch-size", "512", "--out", str(out)])
    assert json.loads((out / "summary.json").read_text())["epochs"] == 1
    assert MODELS["resnet50"].input_shape == MODELS["resnet50_transfer"].input_shape
    assert newest(out)[0]
    with pytest.raises(SystemExit):  # a failed training is no end of the benchmark
        transfer.pretrain(["--model", "resnet50", "--epochs", "-1"])


def test_the_picture_has_the_longest_training_with_the_recipe_s_own_options(tmp_path, monkeypatch):
    def run(name, framework, epochs, finished, **more):
        accuracy = {"train": [0.5] * epochs, "test": [0.6] * epochs}
        return {
            "run": name,
            "framework": framework,
            "epochs": epochs,
            "finished": finished,
            "accuracy": accuracy,
            **more,
        }

    ended, halted = run("a", "jaxnets", 3, True), run("a", "torchnets", 2, False)
    others = [run("a", "jaxnets", 9, True, options={"lr": 0.1}), run("a", "torchnets", 1, False)]
    runs = [ended, halted, *others, run("b", "jaxnets", 1, False)]
    assert curves.shown(runs) == {"a": {"jaxnets": ended, "torchnets": halted}}
    (tmp_path / "runs.json").write_text(json.dumps({"runs": runs}))
    picture = tmp_path / "curves.png"
    monkeypatch.setattr("sys.argv", ["curves", str(picture), "--json", str(tmp_path / "runs.json")])
    curves.main()
    assert picture.read_bytes().startswith(b"\x89PNG")
