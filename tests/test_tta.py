"""Judging by several views of each image: the same in all libraries, and as PyTorch's own functions make them."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import jaxnets.compose
import torchnets
import torchnets.compose
from data.augment import views
from experiment.config import Config
from jaxnets.loop import create
from jaxnets.precision import cast
from parity.copy import to_torch
from parity.suite import build_small
from torchnets.tensors import as_tensor

SHARES: dict[Any, int] = {"none": 1, "flip": 2, "shift": 6}


@pytest.mark.parametrize("tta", SHARES)
def test_the_views_are_those_that_pytorch_makes(tta):
    x = np.random.default_rng(0).random((3, 7, 9, 2), np.float32)
    wide = torch.from_numpy(x).permute(0, 3, 1, 2)
    padded = torch.nn.functional.pad(wide, (1, 1, 1, 1), "reflect")
    moved = [wide] if tta != "shift" else [wide, padded[:, :, 2:, 2:], padded[:, :, :-2, :-2]]
    expected = [view for one in moved for view in ((one,) if tta == "none" else (one, one.flip(3)))]
    for own, xp in ((x, np), (jnp.asarray(x), jnp), (torch.from_numpy(x), torch)):
        found = views(own, tta, xp)
        assert len(found) == SHARES[tta]
        assert sum(share for share, _ in found) == 1
        for (_, view), theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(view), theirs.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("tta", SHARES)
def test_both_frameworks_say_the_same_and_a_swapped_image_counts_alike(tta):
    net, model, shape = build_small("lenet5", 0)
    entry = torchnets.MODELS["lenet5"]._replace(input_shape=shape, build=lambda **_: model)
    variables = create(entry, 10, 0)[1]
    weights = {name: w.double() if w.is_floating_point() else w for name, w in to_torch(variables, net).items()}
    x = np.random.default_rng(1).normal(size=(4, *shape))
    config = Config(tta=tta)
    judge = jax.jit(jaxnets.compose.evaluation(config), static_argnums=0)
    with jax.enable_x64(True):
        variables = cast(variables, np.float64)
        ours, swapped = (np.asarray(judge(model, variables, each)) for each in (x, x[:, :, ::-1]))
    with torch.no_grad():
        theirs = torchnets.compose.evaluation(config)(net.double(), weights, as_tensor(x))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
    assert np.allclose(swapped, ours, rtol=0, atol=1e-10) == (tta == "flip")  # the shifts are along one diagonal


@pytest.mark.parametrize("framework", ["jaxnets", "torchnets"])
def test_a_run_is_judged_and_evaluated_by_it(framework, run_main, tmp_path):
    options = "--model mlp --dataset digits --epochs 1 --tta flip --out run"
    code, out, err = run_main(f"{framework}.train", *options.split())
    assert (code, err) == (0, "")
    code, again, _ = run_main(f"{framework}.evaluate", "run")
    assert again.split("\n")[3].split() == out[out.index("split") :].split("\n")[2].split()
    code, plain, _ = run_main(f"{framework}.evaluate", "run", "--tta", "none")
    assert code == 0
    assert plain != again
    config = json.loads((tmp_path / "run/config.json").read_text())
    (tmp_path / "run/config.json").write_text(json.dumps(config | {"tta": "none"}))
    assert run_main(f"{framework}.evaluate", "run") == (0, plain, "")
    assert run_main(f"{framework}.evaluate", "run", "--tta", "flip") == (0, again, "")


def test_weights_are_evaluated_by_it(run_main, tmp_path):
    options = "--model mlp --dataset digits --epochs 1 --tta shift --out run"
    assert run_main("jaxnets.train", *options.split())[0] == 0
    weights = [str(tmp_path / "run/weights.safetensors"), "--model", "mlp", "--dataset", "digits"]
    which = (["run"], ["--weights", *weights, "--tta", "shift"])
    tables = [run_main("jaxnets.evaluate", *each)[1] for each in which]
    assert tables[0].split("split")[1] == tables[1].split("split")[1]


def test_sound_has_no_mirror(run_main):
    code, _, err = run_main("jaxnets.train", "--model", "m5", "--dataset", "tones", "--tta", "flip")
    assert (code, err) == (1, "error: --tta flip is for images, found waveforms; leave it out\n")
