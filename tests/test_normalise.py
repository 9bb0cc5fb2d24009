"""--normalize: inputs are normalised as the weights need, which a run keeps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiment.cli.command import load_framework
from experiment.config import Config, load_config
from experiment.loop.task import prepare
from experiment.weights.pretrained import settle
from tests.test_commands import FRAMEWORKS, accuracies

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_auto_takes(framework, tmp_path):
    models = load_framework(framework).MODELS
    for name, classes in (("imagenet.pth", 1000), ("five.pth", 5)):
        torch.save({"module.fc.bias": torch.zeros(classes)}, tmp_path / name)
    imagenet, five = (str(tmp_path / name) for name in ("imagenet.pth", "five.pth"))
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "data"),
        ({"weights": "torchvision"}, "imagenet"),
        ({"weights": "torchvision", "frontend": "logmel"}, "data"),
        ({"weights": "torchvision", "normalize": "data"}, "data"),
        ({"weights": imagenet}, "imagenet"),
        ({"weights": five}, "data"),
        ({"weights": five, "normalize": "imagenet"}, "imagenet"),
    )
    for options, expected in cases:
        assert settle(Config("resnet18", **options), models).normalize == expected, options
    assert settle(Config("mlp", weights=imagenet), models).normalize == "data"


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_a_run_keeps_imagenets_statistics_and_hands_them_on(framework, run_main):
    start = ("--model", "simple_cnn", "--epochs", 1, "--batch-size", 1000)
    code, out, err = run_main(f"{framework}.train", *start, "--normalize", "imagenet", "--out", "run")
    assert (code, err) == (0, "")
    assert "inputs are normalised by ImageNet's mean and deviation" in out
    inputs = json.loads(Path("run/summary.json").read_text())["inputs"]
    np.testing.assert_allclose((inputs["mean"], inputs["std"]), (MEAN, STD), rtol=1e-6)
    assert json.loads(Path("run/config.json").read_text())["normalize"] == "imagenet"
    table = accuracies(out[out.index("┏") : out.rindex("┘") + 1])
    assert accuracies(run_main(f"{framework}.evaluate", "run")[1]) == table
    models = load_framework(framework).MODELS
    assert settle(Config("simple_cnn", weights="run"), models).normalize == "imagenet"
    assert settle(Config("simple_cnn", weights="run/weights.safetensors"), models).normalize == "imagenet"
    code, _, err = run_main(f"{framework}.train", "--normalize", "imagenet")
    said = "--normalize imagenet is for pictures in colour; lenet5 takes images of 32x32x1"
    assert (code, err) == (1, f"error: {said}\n")


def test_runs_of_earlier_versions_keep_the_statistics_of_their_data(run_main):
    start = ("--model", "mlp", "--epochs", 1, "--batch-size", 500, "--out", "run")
    assert run_main("torchnets.train", *start)[0] == 0
    path = Path("run/config.json")
    values = json.loads(path.read_text())
    for name in ("normalize", "class_weights", "sampler", "probabilities"):
        del values[name]
    path.write_text(json.dumps(values | {"weights": "torchvision"}))
    config = load_config(path)
    assert (config.normalize, config.class_weights, config.sampler) == ("data", "none", "shuffle")
    models = load_framework("torchnets").MODELS
    assert settle(Config("resnet18", weights="run"), models).normalize == "data"
    assert settle(config, models | {"mlp": models["resnet18"]}).normalize == "data"
    assert prepare(config, models).dataset.mean[0] < 0.4
    path.write_text(json.dumps(values))
    assert run_main("torchnets.evaluate", "run")[0] == 0
    Path("run/summary.json").unlink()
    assert run_main("torchnets.train", "--resume", "run")[0] == 0
