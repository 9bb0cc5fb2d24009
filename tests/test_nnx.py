"""The networks of `jaxnets.nnx`, found by looking into the folder: each is PyTorch's and Linen's; its step, too."""

import ast
import importlib
import pkgutil
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx

import jaxnets
import jaxnets.nnx
import jaxnets.step
import parity
import torchnets
import torchnets.step
from benchmarks import dispatch
from data import Batch
from experiment.weights.layout import layer_path
from jaxnets.nnx.step import init_state, split_step, train_step
from parity import to_flax
from parity.copy import flatten, unflatten
from parity.ports import check_port
from tests.quick import slow_unless

FOLDER = Path(jaxnets.nnx.__file__).parent
FILES = {file.name: f"jaxnets.nnx.{file.name}" for file in pkgutil.iter_modules([str(FOLDER)])}
MODULES = {name: importlib.import_module(path) for name, path in FILES.items()}
ENTRIES = {name: entry for module in MODULES.values() for name, entry in getattr(module, "MODELS", {}).items()}
# One of each class: what torchvision has too, and what is for waveforms, is the same code.
CHECKED = [n for n, e in ENTRIES.items() if len(e.input_shape) == 3 and (not e.torchvision or e.num_frozen)]
QUICK = ("ann",)
NOISY = ("ann", "fashion_cnn", "resnet50_transfer")  # have dropout unless told otherwise
names = pytest.mark.parametrize("name", slow_unless(lambda name: name in QUICK, CHECKED))
TRAINED = [name for name in CHECKED if not ENTRIES[name].num_frozen]  # whole: `jaxnets.nnx.step` freezes nothing
trained = pytest.mark.parametrize("name", slow_unless(lambda name: name in QUICK, TRAINED))


def options(name: str) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The options and the input's shape of a network in its small size."""
    entry = torchnets.MODELS[name]
    return {**entry.small.options, **entry.small.quick}, entry.small.input_shape or entry.input_shape


def without_noise(name: str) -> dict[str, Any]:
    chosen, _ = options(name)
    return chosen | ({"dropout": 0.0} if name in NOISY else {})


def build(name: str, **chosen: Any) -> Any:
    with jax.enable_x64(True):
        return ENTRIES[name].build(**chosen, rngs=nnx.Rngs(0))


def inputs(shape: tuple[int, ...], count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *shape))


def test_six_networks_are_there_with_the_figures_of_their_twins():
    assert {"lenet5", "ann", "fashion_cnn", "quizdnn", "resnet18_cifar", "inception"} <= ENTRIES.keys()
    for name, entry in ENTRIES.items():
        assert entry._replace(build=None) == jaxnets.MODELS[name]._replace(build=None), name


@pytest.mark.parametrize("name", [name for name in FILES if (FOLDER.parent / "models" / f"{name}.py").exists()])
def test_a_file_has_the_layers_of_its_twins_in_their_order(name):
    files = (FOLDER / f"{name}.py", FOLDER.parent / "models" / f"{name}.py")
    ours, theirs = (layers(ast.parse(file.read_text())) for file in files)
    assert ours == theirs
    assert any(ours.values())
    torch_file = FOLDER.parents[1] / "torchnets" / "models" / f"{name}.py"
    assert ours.keys() == layers(ast.parse(torch_file.read_text())).keys()


def layers(tree: ast.Module) -> dict[str, list[str]]:
    """The attributes of each class that are layers, in the order in which they are made."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            targets = [t for n in ast.walk(node) if isinstance(n, ast.Assign | ast.AnnAssign) for t in targets_of(n)]
            found[node.name] = [ast.unparse(t) for t in sorted(targets, key=lambda t: (t.lineno, t.col_offset))]
            found[node.name] = [t for t in found[node.name] if t not in SETTINGS and t.startswith("self.")]
    return found


SETTINGS = ("self.dims", "self.small_images", "self.frozen")  # arguments that the pass needs, attributes in Linen


def targets_of(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [t for target in targets for t in (target.elts if isinstance(target, ast.Tuple) else [target])]


def test_nnx_does_not_import_equinox():
    for name in [*FILES, "__init__"]:
        tree = ast.parse((FOLDER / f"{name}.py").read_text())
        imported = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not [text for text in imported if "equinox" in text or "eqx" in text]


@pytest.mark.usefixtures("without_compiled")
@names
def test_nnx_is_the_pytorch_network(name):
    torch.manual_seed(0)
    chosen, shape = options(name)
    module = torchnets.MODELS[name].build(**chosen)
    report = parity.check(module, ENTRIES[name].build(**chosen, rngs=nnx.Rngs(0)), inputs(shape), same_names=True)
    assert report.ok, report.failures
    assert {r.check for r in report.results} >= {"forward, train", "gradients", "BatchNorm statistics", "dropout"}


@pytest.mark.slow
@trained
def test_nnx_is_the_linen_network(name):
    chosen, (_, shape) = without_noise(name), options(name)
    port = check_port(jaxnets.MODELS[name].build(**chosen), build(name, **chosen), inputs(shape))
    assert port.ok, port.report.failures
    assert {r.check for r in port.report.results} >= {"weights", "forward, eval", "forward, train", "gradients, train"}
    assert all(rule.sources == (path,) for path, rule in port.mapping.rules.items())  # the same names
    assert port.mapping.rules.keys() >= port.pair.jax.trained


@pytest.mark.slow
@trained
def test_a_training_step_is_the_one_of_linen_and_pytorch(name):
    """Two steps of momentum in float64, from equal weights: new weights, statistics and loss, in four ways."""
    chosen, (_, shape) = without_noise(name), options(name)
    torch.manual_seed(0)
    module = torchnets.MODELS[name].build(**chosen).double()
    with jax.enable_x64(True):
        weights = {path: jnp.asarray(array) for path, array in flatten(to_flax(module.state_dict())).items()}
        labels = np.arange(4) % 10
        batch = Batch(inputs(shape), labels)
        found = {
            "Linen": linen_steps(jaxnets.MODELS[name].build(**chosen), weights, batch),
            "nnx.jit": nnx_steps(build(name, **chosen), weights, batch),
            "nnx.split": split_steps(build(name, **chosen), weights, batch),
        }
    images = torch.from_numpy(np.moveaxis(inputs(shape), -1, 1).copy())
    optimizer, metrics = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9), dict[str, Any]()
    for _ in range(2):
        metrics = torchnets.step.train_step(module, optimizer, (images, torch.from_numpy(labels)))
    after = flatten(to_flax(module.state_dict()))
    for way, (theirs, loss) in found.items():
        assert loss == pytest.approx(metrics["loss"].item(), rel=1e-10), way
        assert theirs.keys() == after.keys(), way
        for path in after:
            np.testing.assert_allclose(theirs[path], after[path], rtol=1e-9, atol=1e-10, err_msg=f"{way} {path}")


def momentum() -> optax.GradientTransformation:
    return optax.sgd(0.1, momentum=0.9)


def linen_steps(model: Any, weights: dict[str, Any], batch: Batch) -> tuple[dict[str, np.ndarray], float]:
    tx = momentum()
    state = jaxnets.step.init_state(tx, unflatten(weights), 0)
    step, metrics = jax.jit(partial(jaxnets.step.train_step, model, tx)), dict[str, Any]()
    for _ in range(2):
        state, metrics = step(state, batch)
    return flatten(state.variables), float(metrics["loss"])


def nnx_steps(model: nnx.Module, weights: dict[str, Any], batch: Batch) -> tuple[dict[str, np.ndarray], float]:
    put(model, weights)
    optimizer = nnx.Optimizer(model, momentum(), wrt=nnx.Param)
    step, metrics = nnx.jit(train_step), dict[str, Any]()
    for _ in range(2):
        metrics = step(model, optimizer, batch)
    return {path: np.asarray(variable[...]) for path, variable in variables(model).items()}, float(metrics["loss"])


def split_steps(model: nnx.Module, weights: dict[str, Any], batch: Batch) -> tuple[dict[str, np.ndarray], float]:
    put(model, weights)
    tx = momentum()
    graph, state = init_state(tx, model)
    step, metrics = jax.jit(partial(split_step, graph, tx)), dict[str, Any]()
    for _ in range(2):
        state, metrics = step(state, batch)
    after: Any = nnx.merge(graph, state.params, state.rest)
    return {path: np.asarray(variable[...]) for path, variable in variables(after).items()}, float(metrics["loss"])


def put(model: nnx.Module, weights: dict[str, Any]) -> None:
    """Give a module these weights and statistics, all of them."""
    found = variables(model)
    assert found.keys() == weights.keys()
    for path, variable in found.items():
        variable.set_value(weights[path])


def variables(model: nnx.Module) -> dict[str, Any]:
    """The variables of a module by Linen's path."""
    kinds = {nnx.Param: "params", nnx.BatchStat: "batch_stats"}
    return {
        f"{kinds[type(variable)]}/{layer_path('.'.join(map(str, path)))}": variable
        for path, variable in nnx.to_flat_state(nnx.state(model))
        if type(variable) in kinds
    }


def test_dropout_draws_anew_and_batch_norm_refuses_one_value():
    model = ENTRIES["ann"].build(rngs=nnx.Rngs(0))
    x = jnp.asarray(inputs((28, 28, 1)), jnp.float32)
    model.train()
    assert not np.array_equal(model(x), model(x))
    model.eval()
    assert np.array_equal(model(x), model(x))
    model.train()
    with pytest.raises(ValueError, match="larger batch"):
        model(x[:1])
    assert ENTRIES["ann"].build(num_classes=0, rngs=nnx.Rngs(0))(x).shape == (4, 64)  # the features


def test_a_row_of_the_dispatch_figures_is_measured_by_itself():
    def row(batch, step_ms):
        return {"network": "ann", "batch": batch, "way": "linen", "step_ms": step_ms}

    old = {"command": "all", "rows": [row(2, 1.0), row(64, 2.0)]}
    found = dispatch.merged(old, {"command": "one"}, [row(64, 3.0)])
    assert found["rows"] == [row(2, 1.0), row(64, 3.0)]
    assert (found["command"], found["later"]) == ("all", [{"command": "one", "measured": ["ann, batch 64"]}])
