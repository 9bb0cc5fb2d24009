"""What is done with finished runs: their networks classify files, and they are laid side by side."""

import json
import re
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

import jaxnets
import jaxnets.loop as jax_fit
import torchnets
import torchnets.loop as torch_fit
from data import DATASETS, Split, load
from experiment.loop.metrics import probabilities

FRAMEWORKS = ("jaxnets", "torchnets")


def other(framework: str) -> str:
    return FRAMEWORKS[framework == "jaxnets"]


def likeliest(out: str) -> dict[str, str]:
    """What each file is taken for, by its name."""
    return {line.split()[0]: line.split()[1] for line in out.splitlines()}


def write_wav(path: Path, samples: np.ndarray, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_pictures_are_classified_as_the_test_set_was(framework, run_main, tmp_path):
    """The test set's own pictures, as files: as many are right as the run says, by both frameworks."""
    argv = ("--model", "mlp", "--epochs", 4, "--batch-size", 32, "--out", "run")
    assert run_main(f"{framework}.train", *argv)[0] == 0
    test = load("digits").test
    names = []
    for at, (pixels, label) in enumerate(zip(test.inputs[:200], test.labels[:200], strict=True)):
        names.append(f"{at}-{label}.png")
        Image.fromarray(pixels[..., 0]).convert("RGB" if at % 2 else "L").save(tmp_path / names[-1])
    outputs = [run_main(f"{side}.predict", "run", *names)[1] for side in (framework, other(framework))]
    found = [likeliest(out) for out in outputs]
    assert list(found[0]) == names
    assert found[0] == found[1]
    right = np.mean([name.split("-")[1][0] == label for name, label in found[0].items()])
    accuracy = json.loads((tmp_path / "run/summary.json").read_text())["test"]["accuracy"]
    assert right > 0.8
    assert abs(right - accuracy) < 0.05  # 200 of 360
    shares = [float(share) for share in re.findall(r"([\d.]+)%", outputs[0].splitlines()[0])]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("frontend", ["none", "logmel"])
@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_sounds_are_classified_as_the_examples_were(few, frontend, run_main, monkeypatch, tmp_path):
    """As files, a test set of 24 comes to exactly what the run says; of 600, 24 come to about as much."""
    tones = load("tones")
    if few:
        splits = {
            "train": Split(*(part[:300] for part in tones.train)),
            "test": Split(*(part[:24] for part in tones.test)),
        }
        tones = tones._replace(**splits)
        monkeypatch.setitem(DATASETS, "tones", DATASETS["tones"]._replace(load=lambda _: tones))
    model, epochs = ("m5", 2) if frontend == "none" else ("lenet5", 5)
    argv = ("--model", model, "--dataset", "tones", "--frontend", frontend, "--epochs", epochs, "--batch-size", 64)
    assert run_main("torchnets.train", *argv, "--out", "run")[0] == 0
    names = []
    for at in range(24):
        names.append(f"{at}-{tones.classes[tones.test.labels[at]]}.wav".replace("*", "star"))
        write_wav(tmp_path / names[-1], tones.test.inputs[at, :, 0], tones.rate or 0)
    code, out, err = run_main("torchnets.predict", "run", *names)
    assert (code, err) == (0, "")
    found = [label.replace("*", "star") for label in likeliest(out).values()]
    right = np.mean(
        [name.split("-")[1].removesuffix(".wav") == label for name, label in zip(names, found, strict=True)]
    )
    accuracy = json.loads((tmp_path / "run/summary.json").read_text())["test"]["accuracy"]
    if few:
        assert right == pytest.approx(accuracy)
    else:
        assert accuracy > 0.7
        assert right > accuracy - 0.25


def test_probabilities_are_of_all_classes_together_or_each_by_itself():
    logits = np.array([[1000.0, 0, -1000], [0, 0, 0]])
    np.testing.assert_allclose(probabilities(logits, "cross-entropy"), [[1, 0, 0], [1 / 3] * 3])
    np.testing.assert_allclose(probabilities(logits, "bce"), [[1, 0.5, 0], [0.5] * 3])


@pytest.fixture
def finished(run_main, tmp_path):
    assert run_main("torchnets.train", "--model", "mlp", "--epochs", 1, "--out", "run")[0] == 0
    return tmp_path / "run"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_cannot_be_classified_is_one_clear_line(framework, finished, run_main, tmp_path):
    predict = f"{framework}.predict"
    (tmp_path / "notes.txt").write_text("no picture")
    for argv, said in (
        (["run"], "no file to classify is named"),
        (["nowhere", "a.png"], "nowhere: no such run folder"),
        (["run", "a.png"], "a.png: cannot be read (No such file or directory)"),
        (["run", "notes.txt"], "notes.txt: expected a PNG or JPEG picture, found something else"),
    ):
        code, out, err = run_main(predict, *argv)
        assert (code, out) == (1, "")
        assert err.startswith(f"error: {said}")
        assert err.count("\n") == 1
    summary = json.loads((finished / "summary.json").read_text())
    del summary["inputs"]
    (finished / "summary.json").write_text(json.dumps(summary))
    assert "run/summary.json: does not say what the inputs were" in run_main(predict, "run", "a.png")[2]


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_runs_are_compared_in_a_table_a_list_and_a_picture(framework, run_main, tmp_path):
    argv = ("--model", "mlp", "--epochs", 2, "--lr", 0.001, "--out", "slow")
    assert run_main("torchnets.train", *argv)[0] == 0
    code, out, err = run_main(f"{framework}.compare", "run", "slow", "--out", "both.png")
    assert (code, err) == (0, "")
    for name in ("run", "slow"):
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        row = next(line for line in out.splitlines() if line.startswith(f"│ {name} "))
        assert f"{summary['test']['accuracy']:.2%}" in row
        assert f"{summary['validation']['accuracy']:.2%}" in row
    assert "--lr: 0.003, 0.001" in out
    assert "--optimizer" not in out
    with Image.open(tmp_path / "both.png") as image:
        assert min(image.size) >= 400
    before = (tmp_path / "both.png").read_bytes()
    code, _, err = run_main(f"{framework}.compare", "run", "--out", "both.png")
    assert (code, err) == (1, "error: both.png exists already and is never overwritten; name another file\n")
    assert (tmp_path / "both.png").read_bytes() == before
    (tmp_path / "slow/summary.json").unlink()
    assert "slow/summary.json: cannot be read" in run_main(f"{framework}.compare", "run", "slow")[2]
    assert run_main(f"{framework}.compare")[0] == 1


def test_a_run_is_predicted_with_after_its_dataset_has_gone(finished, run_main, tmp_path):
    """The run folder says all: nothing is read from the dataset."""
    config = json.loads((finished / "config.json").read_text())
    (finished / "config.json").write_text(json.dumps(config | {"dataset": "gone"}))
    Image.fromarray(load("digits").test.inputs[0, ..., 0]).save(tmp_path / "a.png")
    assert run_main("jaxnets.predict", "run", "a.png")[0] == 0
    assert len(safetensors.numpy.load_file(finished / "weights.safetensors")) > 0


@pytest.mark.parametrize("name", jaxnets.MODELS)
def test_the_summary_counts_what_pytorch_counts(name):
    ours, theirs = (side.summarize(side.MODELS[name]) for side in (jax_fit, torch_fit))
    assert [layer._replace(name="", kind="") for layer in ours] == [
        layer._replace(name="", kind="") for layer in theirs
    ]
    assert [layer.name.replace("/", ".") for layer in ours] == [
        re.sub(r"\.(\d+)", r"_\1", layer.name) for layer in theirs
    ]
    entry = jaxnets.MODELS[name]
    assert sum(layer.parameters for layer in ours) == entry.num_params + entry.num_frozen
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        torchnets.MODELS[name].build().eval()(torch.zeros(1, *entry.input_shape).movedim(-1, 1))
    assert sum(layer.flops for layer in ours) == counter.get_total_flops()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_summary_is_printed_and_nothing_else_is_done(framework, run_main, tmp_path):
    code, out, err = run_main(f"{framework}.train", "--model", "lenet5", "--summary", "--dataset", "mnist")
    assert (code, err) == (0, "")
    assert re.search(r"conv2 .* Conv\w* .* 10x10x16 .* 2,416 .* 480,000", out)
    assert re.search(r"all .* 61,706 ", out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_a_search_finds_the_best_by_validation_and_keeps_every_trial(framework, run_main, tmp_path):
    space = ("--tune", "lr=1e-5..1e-2", "batch-size=32,64", "--trials", 3)
    code, out, err = run_main(f"{framework}.train", "--model", "mlp", "--epochs", 1, *space, "--out", "search")
    assert (code, err) == (0, "")
    found = json.loads((tmp_path / "search/trials.json").read_text())
    assert [row["trial"] for row in found["trials"]] == [1, 2, 3]
    assert found["best"] == max(found["trials"], key=lambda row: row["validation"])
    for row in found["trials"]:
        folder = tmp_path / f"search/trial-{row['trial']:03}"
        config = json.loads((folder / "config.json").read_text())
        assert (config["lr"], config["batch_size"]) == (row["options"]["lr"], row["options"]["batch_size"])
        assert 1e-5 <= config["lr"] <= 1e-2
        assert config["batch_size"] in (32, 64)
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["validation"]["accuracy"] == row["validation"]
    assert f"best is trial {found['best']['trial']}: --lr {found['best']['options']['lr']:.4g} --batch-size" in out
    with Image.open(tmp_path / "search/trials.png") as image:
        assert min(image.size) >= 400


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--tune", "lr=1..0.1"], "--tune lr=1..0.1: expected the smaller number first, and a larger one"),
        (["--tune", "lrr=1..2"], "--tune lrr=1..2: unknown option 'lrr'. Did you mean 'lr'?"),
        (["--tune", "lr=fast,slow"], "--tune lr=fast,slow: expected a number in it, found 'fast,slow'"),
        (["--tune", "loss=bce,mse"], "--tune loss=bce,mse: found 'mse', expected one of cross-entropy, bce"),
        (["--tune", "lr=0..1"], "--lr is 0.0, expected a finite number above 0"),
        (["--tune", "lr=0.1..1", "--seeds", "2"], "--tune trains each trial once; leave out --seeds"),
    ],
)
def test_a_search_of_nothing_is_one_clear_line(argv, said, run_main, tmp_path):
    code, _, err = run_main("torchnets.train", *argv)
    assert code == 1
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_optuna_a_search_says_which_extra_to_install(run_main, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = run_main("torchnets.train", "--tune", "lr=0.1..1")
    assert code == 1
    assert err.startswith("error: --tune needs optuna, which is an extra: pip install 'jaxnets[tune]'")
    assert list(tmp_path.iterdir()) == []
