"""The functions for Python programs: `build`, `fit`, `load` and `data.from_arrays`, in both frameworks."""

import asyncio
import importlib
import re
import signal
import threading
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from flax import linen

import data
import jaxnets
import torchnets
from data import DataError, UserError
from experiment.weights.conversion import belongs, variables_from_weights
from experiment.weights.safetensors_file import read_weights
from jaxnets.step import eval_step

PAGE = Path(__file__).resolve().parents[1] / "docs" / "library.md"
DIGITS = data.load("digits")
IMAGES, LABELS = (part[:120] for part in DIGITS.train)
QUICK = ("ann", "mlp", "simple_cnn")  # of features
FEW = {"epochs": 1, "batch_size": 32}

both = pytest.mark.parametrize("nets", [jaxnets, torchnets], ids=["jaxnets", "torchnets"])
slow_in_jax = pytest.mark.parametrize(
    "nets", [pytest.param(jaxnets, marks=pytest.mark.slow), torchnets], ids=["jaxnets", "torchnets"]
)


def exported(nets, variables) -> dict[str, np.ndarray]:
    return importlib.import_module(f"{nets.__name__}.loop").export(variables)


@pytest.mark.parametrize(  # whose other tests here are the quick ones of Flax
    "nets", [pytest.param(jaxnets, marks=pytest.mark.slow), torchnets], ids=["jaxnets", "torchnets"]
)
def test_the_page_is_true(nets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "page"}
    for code in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if nets is jaxnets or not code.startswith("# Flax"):
            exec(compile(code.replace("jaxnets", nets.__name__), str(PAGE), "exec"), names)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert names["features"] is not None


@slow_in_jax
def test_a_program_gets_the_bits_of_the_command_line(nets, run_main, tmp_path):
    options = {"epochs": 2, "batch_size": 200, "seed": 3, "augment": "crop", "ema": 0.5, "patience": 2}
    argv = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert run_main(f"{nets.__name__}.train", "--model", "ann", *argv, "--out", "run")[0] == 0
    expected = read_weights(tmp_path / "run" / "weights.safetensors")
    settings = jax.config.read("jax_enable_x64"), torch.get_default_dtype(), torch.get_rng_state()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    module = nets.build("ann", num_classes=10, seed=3)
    for model, dataset in (("ann", "digits"), (module, DIGITS)):
        result = nets.fit(model, dataset, **options)
        found = exported(nets, result.variables)
        assert all((found[name] == expected[name]).all() for name in expected)
    assert settings[:2] == (jax.config.read("jax_enable_x64"), torch.get_default_dtype())
    assert (settings[2] == torch.get_rng_state()).all()
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    saved = nets.load("run")
    assert saved.history == result.history
    assert (saved.logits(DIGITS.test.inputs) == result.logits(DIGITS.test.inputs)).all()


@both
def test_a_training_in_a_thread_in_a_running_loop_with_a_folder(nets, tmp_path, capfd):
    async def cell():
        return nets.fit("ann", (IMAGES, LABELS), out=tmp_path / "run", **FEW)

    found: list = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(cell())))
    thread.start()
    thread.join()
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "run" / "summary.json").exists()
    assert not (tmp_path / "run" / ".lock").exists()
    again = nets.fit("ann", (IMAGES, LABELS), verbose=True, **FEW)
    assert "epoch  1/1" in capfd.readouterr().out
    assert (again.logits(IMAGES) == found[0].logits(IMAGES)).all()
    with pytest.raises(UserError, match="were arrays of a Python program"):
        data.find(again.config.dataset)


class FlaxNet(linen.Module):
    @linen.compact
    def __call__(self, x, deterministic=True):
        x = linen.Dropout(0.5, deterministic=deterministic)(x.reshape(len(x), -1))
        return linen.Dense(10)(x)


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(64, 10)

    def forward(self, x, is_training):
        assert is_training is self.training
        return self.fc(torch.nn.functional.dropout(x.flatten(1), 0.5, is_training))


@pytest.mark.parametrize(("nets", "net"), [(jaxnets, FlaxNet), (torchnets, TorchNet)])
def test_a_module_of_a_program_is_trained_and_saved(nets, net, tmp_path):
    module = net()
    result = nets.fit(module, (IMAGES, LABELS), **FEW, lr=0.05)
    assert result.module is module
    assert result.scores["train"].accuracy > 0.15
    before = exported(nets, result.variables)
    more = nets.fit(module, (IMAGES, LABELS), variables=result.variables, **FEW, lr=1e-9)
    after = exported(nets, more.variables)
    assert all(np.allclose(before[name], after[name], atol=1e-6) for name in before)
    assert (exported(nets, result.variables)[name] == before[name] for name in before)
    folder = result.save(tmp_path / "run")
    with pytest.raises(UserError, match=rf"{net.__name__} was an object of a Python program; say where it is"):
        nets.load(folder)
    again = nets.load(folder, model=f"{__file__}:{net.__name__}")
    assert (again.predict(IMAGES) == result.predict(IMAGES)).all()


def test_a_pytorch_module_goes_on_from_its_own_weights():
    module = torchnets.build("ann", num_classes=10)
    torchnets.fit(module, (IMAGES, LABELS), **FEW, lr=0.05)
    trained = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    result = torchnets.fit(module, (IMAGES, LABELS), epochs=0)
    assert all((result.variables[name] == trained[name]).all() for name in trained)


FAULTS = {
    "epoch": ({"epoch": 3}, "fit has no option 'epoch'. Did you mean 'epochs'?"),
    "type": ({"epochs": "3"}, "option 'epochs' is '3', expected a whole number"),
    "range": ({"lr": -1.0}, "lr is -1.0, expected a finite number above 0"),
    "command": ({"seeds": 3}, "fit takes no 'seeds': call fit with each seed"),
    "batch": ({"batch_size": 1000}, "batch_size is 1000, but there are only"),
    "folder": ({"tensorboard": True}, "name one with out="),
    "finite": ({"lr": 1e30, "epochs": 3}, "is not finite"),
}


@both
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_option_is_one_line(nets, fault):
    options, said = FAULTS[fault]
    with pytest.raises(UserError, match=re.escape(said)) as error:
        nets.fit("mlp", (IMAGES, LABELS), **(FEW | options))
    assert "\n" not in str(error.value)


@both
def test_a_wrong_network_or_input_is_one_line(nets):
    other = {jaxnets: torchnets, torchnets: jaxnets}[nets]
    for model, said in (
        (nets.build("ann", num_classes=5), r"ann returns \(2, 5\) .*expected \(2, 10\)"),
        (nets.build("ann", num_classes=0), r"ann returns \(2, 64\) "),
        (other.build("ann"), "fit: found .*ANN, expected a (flax.linen|torch.nn).Module"),
        (FlaxNet if nets is jaxnets else TorchNet, "found the class .*, expected a module of it"),
        ("an", "unknown model 'an'. Did you mean 'ann'"),
        ("m5", "m5 takes audio, arrays has images"),
    ):
        with pytest.raises(UserError, match=said):
            nets.fit(model, (IMAGES, LABELS), **FEW)
    result = nets.fit("ann", (IMAGES, LABELS), epochs=0)
    for examples, said in (
        (IMAGES[0], r"expected \(N, 8, 8, 1\), found one example; give x\[None\]"),
        (IMAGES[:, :7], r"expected \(N, 8, 8, 1\) uint8 as in training, found \(120, 7, 8, 1\)"),
        (IMAGES / 255, r"uint8 as in training, found .* float32"),
        (IMAGES[:0], "at least one example"),
    ):
        with pytest.raises(DataError, match=said):
            result.predict(examples)
    with pytest.raises(DataError, match="expected 0 to 9"):
        result.evaluate(IMAGES, LABELS + 5)
    with pytest.raises(UserError, match=r"no option 'num_class'. Did you mean 'num_classes'"):
        nets.build("ann", num_class=3)


ARRAYS = {
    "flat": ((IMAGES.reshape(120, -1), LABELS), r"found \(120, 64\); give each example a shape"),
    "channels first": ((np.zeros((120, 3, 8, 8)), LABELS), r"expected channels last, found \(120, 3, 8, 8\)"),
    "one class": ((IMAGES, LABELS * 0), "found only the class 0, expected at least two"),
    "one example": ((IMAGES[:1], LABELS[:1] + 1), "1 example is too few"),
    "years": ((IMAGES, LABELS + 1990), "found 10 numbers from 1990 to 1999; number the classes from 0"),
    "a regression": ((IMAGES, LABELS + 0.5), "expected whole numbers"),
    "another length": ((IMAGES, LABELS[:-1]), "found 120 inputs and 119 labels"),
}


@pytest.mark.parametrize("fault", ARRAYS)
def test_wrong_arrays_are_one_line(fault):
    arrays, said = ARRAYS[fault]
    with pytest.raises(DataError, match=said):
        data.from_arrays(*arrays)


def test_arrays_become_a_dataset():
    names = np.array(["owl", "cat", "dog"])
    found = data.from_arrays(IMAGES, names[LABELS % 3], validation=(IMAGES[:5], names[LABELS[:5] % 3]))
    assert found.classes == ("cat", "dog", "owl")
    assert len(found.train.labels) + len(found.test.labels) == 120
    assert 18 <= len(found.test.labels) <= 30
    assert found.validation is not None
    assert [found.classes[label] for label in found.validation.labels] == names[LABELS[:5] % 3].tolist()
    one_hot = data.from_arrays(torch.from_numpy(IMAGES), jax.numpy.eye(10)[LABELS], test=(IMAGES, LABELS))
    assert (one_hot.train.labels == LABELS).all()
    with pytest.raises(DataError, match=r"test: expected a pair"):
        data.from_arrays(IMAGES, LABELS, test=IMAGES)  # type: ignore[arg-type]


def test_a_loader_is_iterated_in_another_order_each_time():
    loader = data.Loader(DIGITS.train, DIGITS.mean, DIGITS.std, 100, seed=1)
    first, second = ([labels for _, labels in loader] for _ in range(2))
    assert len(first) == len(second) == len(loader) == 15
    for epoch, found in enumerate((first, second)):
        assert (np.concatenate(found) == np.concatenate([batch.labels for batch in loader.epoch(epoch)])).all()
    assert (np.concatenate(first) != np.concatenate(second)).any()


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in torchnets.MODELS]
)
def test_features_are_the_same_in_both_frameworks_and_in_front_of_the_head(name):
    entry, ours = torchnets.MODELS[name], jaxnets.MODELS[name]
    options = [{**one.small.options, **one.small.quick} | {"num_classes": 0} for one in (entry, ours)]
    shape = entry.small.input_shape or entry.input_shape
    shape = (2000, 1) if len(shape) == 2 else shape
    whole = entry.build(**options[0] | {"num_classes": 3}).eval()
    own = {key: value for key, value in whole.state_dict().items() if not belongs(key, entry.head)}
    body, flax_body = torchnets.build(name, **options[0]).eval(), jaxnets.build(name, **options[1])
    body.load_state_dict(own)
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    template = jax.eval_shape(flax_body.init, jax.random.key(0), x)
    variables = variables_from_weights({key: value.numpy() for key, value in own.items()}, template)
    with torch.no_grad():
        inputs = torch.from_numpy(x).movedim(-1, 1)
        features = body(inputs)
        logits = whole.get_submodule(entry.head)(features)
        np.testing.assert_allclose(logits, whole(inputs), atol=1e-6)
    found = jax.jit(eval_step, static_argnums=0)(flax_body, variables, x)
    np.testing.assert_allclose(found, features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 28, 28, 1), r"5x5 does not fit into inputs \(1, 4, 4, 16\)"),
        ((1, 36, 36, 1), "takes 120 features is given 480"),
        ((1, 32, 32, 3), "takes 1 channels is given 3"),
    ],
)
def test_inputs_of_another_shape_are_named(shape, said):
    with pytest.raises(ValueError, match=said):
        jaxnets.build("lenet5").init(jax.random.key(0), np.zeros(shape, np.float32))
    with pytest.raises(RuntimeError, match=r"[Kk]ernel size|shapes cannot be multiplied|channels"):
        torchnets.build("lenet5")(torch.zeros(shape).movedim(-1, 1))


def test_both_have_the_same_functions():
    for name in ("build", "fit", "load"):
        ours, theirs = (getattr(nets, name) for nets in (jaxnets, torchnets))
        assert list(ours.__annotations__)[:-1] == list(theirs.__annotations__)[:-1]
    assert {"fit", "build", "load", "MODELS"} <= set(dir(jaxnets)) & set(dir(torchnets))


def test_what_may_be_wrong_with_the_data_is_a_warning():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        jaxnets.fit("ann", data.from_arrays(IMAGES, LABELS, test=(IMAGES, LABELS)), epochs=0)
    assert any("test examples are equal to train examples" in str(one.message) for one in found)
