"""The benchmarks that train recipes: what they say of a run, and the network that is pre-trained."""

import json

import pytest

from benchmarks import curves, recipes, transfer


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_figures_say_which_options_are_not_the_recipes_own(seeds, run_main, tmp_path):
    options = ("--recipe", "ann-fashion", "--dataset", "digits", "--epochs", 1, "--seeds", seeds, "--tf32")
    assert run_main("torchnets.train", *options, "--out", "ann-fashion-torchnets")[0] == 0
    found = recipes.row(tmp_path / "ann-fashion-torchnets")
    assert (found["recipe"], found["framework"], found["seeds"]) == ("ann-fashion", "torchnets", list(range(seeds)))
    assert found["options"] == {"dataset": "digits", "epochs": 1, "tf32": True}


def test_resnet50_is_pretrained_and_then_both_heads_are_trained(run_main, tmp_path):
    folder, names = tmp_path / "runs", []
    for out, options in transfer.trainings(folder, 2, []):
        names.append(out.name)
        framework = out.name.rpartition("-")[2]
        ours = [option for option in options if option not in ("--weights", str(folder / names[0]), "--new-head")]
        code, said, err = run_main(f"{framework}.train", *ours, "--dataset", "digits", "--dry-run")
        assert (code, err) == (0, "")
        assert "repeated to 48x48x3" in said
    assert names == ["resnet50-cifar10-torchnets", *(f"{transfer.RECIPE}-{f}" for f in transfer.FRAMEWORKS)]


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
