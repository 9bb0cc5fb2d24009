"""The first layer that whitens: its outputs do not go together, and both frameworks start with the same one."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import jaxnets
import torchnets
from data import Dataset, Split
from data.loader import normalise
from experiment.loop.whitening import EPSILON, filters, whitened
from tests.image_files import write_cifar_binary


def images(count: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    rough = rng.normal(size=(count, 9, 9, 3)) @ rng.normal(size=(3, 3))  # neighbours and colours go together
    return (rough[:, :-1, :-1] + rough[:, 1:, :-1] + 2 * rough[:, 1:, 1:]).astype(np.float32)


def test_patches_come_out_with_one_variance_and_in_directions_that_do_not_go_together():
    x, kernel = images(), filters(images(), 2)
    assert kernel.shape == (24, 3, 2, 2)
    np.testing.assert_array_equal(kernel[:12], -kernel[12:])
    wide = torch.from_numpy(x).double().permute(0, 3, 1, 2)
    out = torch.nn.functional.conv2d(wide, torch.from_numpy(kernel)).movedim(1, -1).reshape(-1, 24)[:, :12].numpy()
    together = out.T @ out / len(out)
    np.testing.assert_allclose(together - np.diag(np.diag(together)), 0, atol=1e-10)
    patches = torch.nn.functional.unfold(wide, 2).movedim(1, -1).reshape(-1, 12).numpy()
    variances = np.linalg.eigvalsh(patches.T @ patches / len(patches))
    np.testing.assert_allclose(np.diag(together), variances / (variances + EPSILON), rtol=0, atol=1e-10)


def test_a_direction_without_variance_is_not_blown_up():
    grey = np.repeat(images()[..., :1], 3, axis=-1)
    assert np.abs(filters(grey, 2)).max() <= EPSILON**-0.5


@pytest.mark.slow
def test_both_trainers_start_with_it_and_never_train_it(run_main, monkeypatch, tmp_path):
    for package in (jaxnets, torchnets):
        entry = package.MODELS["airbench"]
        monkeypatch.setitem(package.MODELS, "airbench", entry._replace(build=partial(entry.build, width=8)))
    write_cifar_binary(tmp_path / "data")
    options = "--recipe cifar10-speedrun --data-dir data --epochs 1 --batch-size 30"
    kernels = []
    for framework in ("jaxnets", "torchnets"):
        code, _, err = run_main(f"{framework}.train", *options.split(), "--precision", "float32", "--out", framework)
        assert (code, err) == (0, "")
        kernels.append(first_layer(tmp_path / framework))
    np.testing.assert_array_equal(kernels[0], kernels[1])
    code, out, _ = run_main("torchnets.train", *options.split(), "--weights", "jaxnets", "--dry-run")
    assert code == 0
    assert "weights: " in out  # which bring their own


def first_layer(run: Path) -> np.ndarray:
    found = load_file(run / "weights.safetensors")
    if "whiten.weight" in found:
        return found["whiten.weight"]
    return found["params/whiten/kernel"].transpose(3, 2, 0, 1)


def test_it_is_of_the_training_examples_in_either_layout():
    rng = np.random.default_rng(1)
    split = Split(rng.integers(0, 256, (50, 8, 8, 3), np.uint8), np.zeros(50, np.int32))
    mean, std = split.inputs.mean((0, 1, 2)) / 255, split.inputs.std((0, 1, 2)) / 255
    dataset = Dataset(split, split, ("a",), mean, std)
    theirs = whitened({"whiten.weight": np.zeros((24, 3, 2, 2), np.float32)}, "whiten", dataset, split)
    ours = whitened({"params/whiten/kernel": np.zeros((2, 2, 3, 24), np.float32)}, "whiten", dataset, split)
    np.testing.assert_array_equal(ours["params/whiten/kernel"], theirs["whiten.weight"].transpose(2, 3, 1, 0))
    expected = filters(normalise(split.inputs, mean, std, 255), 2).astype(np.float32)
    np.testing.assert_array_equal(theirs["whiten.weight"], expected)
