"""Training and evaluating through the command lines of both frameworks."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import jaxnets
from data import DATASETS
from parity import suite
from tests.audio_files import write_fsdd
from tests.idx_files import write_tree
from tests.image_files import write_cifar_binary

FRAMEWORKS = ("jaxnets", "torchnets")
ROOT = Path(__file__).parents[1]
FILES = {
    "checkpoints",
    "config.json",
    "metrics.jsonl",
    "summary.json",
    "curves.png",
    "confusion.png",
    "weights.safetensors",
}


def other(framework: str) -> str:
    return FRAMEWORKS[framework == "jaxnets"]


def start(*argv: object, **kwargs) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *map(str, argv)], env=environment, **pipes, **kwargs)


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_run_folder_is_whole_and_either_framework_evaluates_it(framework, run_main, tmp_path):
    argv = ("--model", "ann", "--epochs", 2, "--seed", 5, "--out", "run")
    code, out, err = run_main(f"{framework}.train", *argv)
    assert (code, err) == (0, "")
    assert "images of 8x8x1 are resized to 28x28x1" in out
    assert out.count("are resized") == 1
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == FILES
    summary = json.loads((run / "summary.json").read_text())
    assert summary["framework"] == framework
    assert (summary["model"], summary["dataset"], summary["parameters"]) == ("ann", "digits", 109_770)
    assert summary["examples_per_second"] > 0
    assert {"device", "versions"} <= summary.keys()
    assert summary["versions"]["numpy"] == np.__version__
    for split in ("train", "validation", "test"):
        assert 0.3 < summary[split]["accuracy"] <= 1
        assert summary[split]["loss"] > 0
    assert list(summary["test"]["per_class"]) == list("0123456789")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["split"]) for row in rows] == [
        (epoch, split) for epoch in (1, 2) for split in ("train", "validation", "test")
    ]
    assert rows[-1]["accuracy"] == summary["test"]["accuracy"]  # the last epoch's weights are the ones kept
    for name in ("curves.png", "confusion.png"):
        with Image.open(run / name) as image:
            assert min(image.size) >= 400
            assert len(np.unique(np.asarray(image.convert("L")))) > 20  # something is drawn
    table = out[out.index("┏") : out.rindex("┘") + 1]
    for evaluator in FRAMEWORKS:
        code, out, err = run_main(f"{evaluator}.evaluate", "run")
        assert (code, err) == (0, "")
        assert accuracies(out) == accuracies(table), evaluator


def accuracies(table: str) -> list[str]:
    """The percentages and counts of a printed table, of each split, then of each class; not the rounded losses."""
    words = [word for word in table.split() if re.fullmatch(r"[\d,]+|[\d.]+%", word)]
    assert len(words) >= 3 * 3 + 10 * 2
    return words


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_a_config_file_repeats_a_run_exactly(framework, run_main, tmp_path):
    options = ("--model", "ann", "--epochs", 1, "--optimizer", "nesterov", "--lr", 0.05, "--l1", 1e-5, "--seed", 11)
    assert run_main(f"{framework}.train", *options, "--out", "a")[0] == 0
    assert run_main(f"{framework}.train", "--config", "a/config.json", "--out", "b")[0] == 0
    assert (tmp_path / "a/metrics.jsonl").read_text() == (tmp_path / "b/metrics.jsonl").read_text()
    assert (tmp_path / "a/weights.safetensors").read_bytes() == (tmp_path / "b/weights.safetensors").read_bytes()
    assert (tmp_path / "a/config.json").read_text() == (tmp_path / "b/config.json").read_text()
    assert run_main(f"{framework}.train", "--config=a/config.json", "--seed", 12, "--out", "c")[0] == 0
    assert json.loads((tmp_path / "c/config.json").read_text())["seed"] == 12  # an option beside the file wins


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_network_learns_the_real_mnist(framework, real_data, run_main, tmp_path):
    options = ("--model", "mlp", "--dataset", "mnist", "--data-dir", real_data, "--epochs", 2, "--batch-size", 128)
    code, out, err = run_main(f"{framework}.train", *options, "--out", "run")
    assert (code, err) == (0, "")
    assert "54,000 train, 6,000 validation, 10,000 test" in out
    assert json.loads((tmp_path / "run/summary.json").read_text())["test"]["accuracy"] > 0.96
    table = out[out.index("┏") : out.rindex("┘") + 1]
    code, out, err = run_main(f"{other(framework)}.evaluate", "run")
    assert accuracies(out) == accuracies(table)  # to the last of 70,000 images


BAD_OPTIONS = [
    (["--model", "lenet"], ["unknown model 'lenet'", "Did you mean 'lenet5'", ", ".join(suite.names())]),
    (["--dataset", "mnits"], ["unknown dataset 'mnits'", "Did you mean 'mnist'", ", ".join(DATASETS)]),
    (["--epochs", "-1"], ["--epochs is -1", "at least 0"]),
    (["--batch-size", "-3"], ["--batch-size is -3", "at least 1"]),
    (["--batch-size", "2000"], ["--batch-size is 2000", "1,293 training examples"]),
    (["--batch-size", "1", "--model", "ann"], ["--batch-size is 1", "BatchNorm", "at least 2"]),
    (["--lr", "0"], ["--lr is 0.0", "above 0"]),
    (["--lr", "nan"], ["--lr is nan", "finite"]),
    (["--momentum", "1"], ["--momentum is 1.0", "below 1"]),
    (["--weight-decay", "-1"], ["--weight-decay is -1.0", "0 or above"]),
    (["--l1", "inf"], ["--l1 is inf", "finite"]),
    (["--seed", "-1"], ["--seed is -1", "from 0"]),
    (["--optimizer", "sdg"], ["'sdg'", "--optimizer", "'sgd', 'momentum'"]),
    (["--schedule", "linaer"], ["'linaer'", "--schedule", "'onecycle'"]),
    (["--epochs", "many"], ["--epochs", "'many'"]),
    (["--epoch", "3"], ["--epoch", "--epochs"]),
    (["--dataset", "mnist", "--data-dir", "nowhere"], ["nowhere/MNIST/raw", "python -m data download mnist"]),
    (["--config", "nowhere.json"], ["nowhere.json", "cannot be read"]),
]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("options", "said"), BAD_OPTIONS, ids=lambda value: " ".join(value) if "--" in value[0] else ""
)
def test_a_bad_option_is_one_clear_line_and_leaves_nothing(framework, options, said, run_main, tmp_path):
    code, _, err = run_main(f"{framework}.train", *options)
    assert code != 0
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for words in said:
        assert words in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object of options, found list"),
        ('{"modle": "ann"}', "unknown option 'modle'. Did you mean 'model'"),
        ('{"epochs": 1.5}', "option 'epochs' is 1.5, expected a whole number"),
        ('{"lr": "fast"}', "option 'lr' is 'fast', expected a number"),
        ('{"loss": "mse"}', "option 'loss' is 'mse', expected one of cross-entropy, bce"),
        ('{"lr": -1}', "--lr is -1, expected a finite number above 0"),
    ],
)
def test_a_bad_config_file_is_one_clear_line(content, said, run_main, tmp_path):
    (tmp_path / "config.json").write_text(content)
    code, _, err = run_main("jaxnets.train", "--config", "config.json")
    assert code == 1
    assert err.startswith("error: config.json: ")
    assert said in err
    assert err.count("\n") == 1


CORRUPT = {
    # dataset: (how its folder is made, the file, what is left of it, the network, what must be said)
    "mnist": (write_tree, "train-images-idx3-ubyte", -1, "lenet5", "promises 47040 bytes, found only 47039"),
    "fsdd": (write_fsdd, "7_ada_5.wav", 60, "m5", "7_ada_5.wav: its header promises"),
    "cifar10": (write_cifar_binary, "data_batch_3.bin", 0, "simple_cnn", "found 0"),
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("dataset", CORRUPT)
def test_a_corrupt_data_file_stops_the_command_before_a_folder_is_made(framework, dataset, run_main, tmp_path):
    make, name, kept, model, said = CORRUPT[dataset]
    path = make(tmp_path / "data") / name
    path.write_bytes(path.read_bytes()[:kept])
    options = ("--dataset", dataset, "--data-dir", "data", "--model", model)
    code, _, err = run_main(f"{framework}.train", *options)
    assert code == 1
    assert err.count("\n") == 1
    assert said in err
    path.unlink()  # half-filled
    code, _, err = run_main(f"{framework}.train", *options)
    assert code == 1
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_network_that_cannot_take_the_datasets_kind_says_both(run_main, monkeypatch):
    audio = jaxnets.MODELS["lenet5"]._replace(input_shape=(2000, 1))
    monkeypatch.setattr("jaxnets.loop.MODELS", jaxnets.MODELS | {"audio": audio})
    code, _, err = run_main("jaxnets.train", "--model", "audio")
    assert code == 1
    assert err == "error: audio takes audio, digits has images; choose another network, see --list-models\n"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_existing_folder_is_never_overwritten(framework, run_main, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "weights.safetensors").write_text("dear to me")
    code, _, err = run_main(f"{framework}.train", "--epochs", 1, "--out", "run")
    assert code == 1
    assert err == "error: run exists already and is never overwritten; name another folder with --out\n"
    assert [path.read_text() for path in (tmp_path / "run").iterdir()] == ["dear to me"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_listing_and_dry_runs_write_nothing(framework, run_main, tmp_path):
    code, out, _ = run_main(f"{framework}.train", "--list-models")
    assert code == 0
    for name, entry in jaxnets.MODELS.items():
        assert any(line.split()[0] == name and f"{entry.num_params:,}" in line for line in out.splitlines())
    code, out, _ = run_main(f"{framework}.train", "--list-datasets")
    assert [line.split()[0] for line in out.splitlines()] == list(DATASETS)
    code, out, _ = run_main(f"{framework}.train", "--dry-run", "--lr", 0.5)
    assert code == 0
    assert "61,706 parameters" in out
    assert '"lr": 0.5' in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_bad_runs_are_refused_by_the_evaluator(framework, run_main, tmp_path):
    code, _, err = run_main(f"{framework}.evaluate", "nowhere")
    assert (code, err) == (1, "error: nowhere: no such run folder\n")
    assert run_main("torchnets.train", "--epochs", 1, "--model", "mlp", "--out", "run")[0] == 0
    weights = tmp_path / "run" / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    code, _, err = run_main(f"{framework}.evaluate", "run")
    assert code == 1
    assert "run/weights.safetensors: not a whole safetensors file" in err
    tensors = safetensors.numpy.load(whole)
    tensors["fc.0.weight"] = tensors["fc.0.weight"].T.copy()
    del tensors["head.bias"]
    weights.write_bytes(safetensors.numpy.save(tensors))
    code, _, err = run_main(f"{framework}.evaluate", "run")
    assert code == 1
    assert err.count("\n") == 1
    assert "2 tensors do not match" in err


BLOCK = """
import importlib, runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {forbidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def start_without(forbidden: list[str], code: str, **kwargs) -> subprocess.Popen:
    """Run code in a Python in which packages are not installed."""
    return start("-c", BLOCK.format(forbidden=forbidden) + code, **kwargs)


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        (
            ["data", "data.__main__", "parity.copy", "parity", "experiment.cli.train"],
            ["torch", "jax", "flax", "optax"],
        ),
        (["jaxnets.train", "torchnets.train"], ["torch", "jax", "flax", "matplotlib"]),  # what --help would wait for
        (["jaxnets.loop", "jaxnets.train", "jaxnets.evaluate"], ["torch", "torchnets"]),
        (["torchnets.loop", "torchnets.train", "torchnets.evaluate"], ["jax", "flax", "optax", "jaxnets"]),
    ],
)
def test_no_framework_is_imported_where_it_does_not_belong(modules, forbidden):
    process = start_without(forbidden, f"for name in {modules!r}: importlib.import_module(name)")
    _, err = process.communicate()
    assert process.returncode == 0, err


@pytest.mark.parametrize(
    ("module", "argv"),
    [("torchnets.train", []), ("torchnets.evaluate", ["{run}"]), ("parity", ["check"])],
)
def test_without_torch_a_command_says_which_extra_to_install(module, argv, tmp_path, run_main):
    if "{run}" in argv:
        assert run_main("jaxnets.train", "--epochs", 1, "--model", "mlp", "--out", "run")[0] == 0
    words = [word.format(run=tmp_path / "run") for word in argv]
    code = f"sys.argv = ['x', *{words!r}]; runpy.run_module({module!r}, run_name='__main__')"
    process = start_without(["torch"], code, cwd=tmp_path)
    _, err = process.communicate()
    assert process.returncode == 1
    assert err.count("\n") == 1
    assert "pip install 'jaxnets[torch]'" in err


def test_help_needs_no_framework_and_shows_every_option():
    code = "sys.argv = ['x', '--help']; runpy.run_module('torchnets.train', run_name='__main__')"
    process = start_without(["jax", "torch"], code)
    out, err = process.communicate()
    assert process.returncode == 0, err
    for option in (
        "model",
        "dataset",
        "data-dir",
        "frontend",
        "epochs",
        "batch-size",
        "optimizer",
        "lr",
        "momentum",
        "weight-decay",
    ):
        assert f"--{option} " in out
    for option in ("l1", "schedule", "loss", "seed", "out", "config", "list-models", "list-datasets", "dry-run"):
        assert f"--{option} " in out


def test_the_data_command_lists_refuses_and_explains(tmp_path):
    process = start("-m", "data", "list")
    assert "fashion_mnist" in process.communicate()[0]
    process = start("-m", "data", "download", "mnits", "--data-dir", tmp_path)
    assert "error: unknown dataset 'mnits'. Did you mean 'mnist'?" in process.communicate()[1]
    assert process.returncode == 1
    process = start("-m", "data", "download", "digits")
    assert "embedded" in process.communicate()[0]
    assert process.returncode == 0
