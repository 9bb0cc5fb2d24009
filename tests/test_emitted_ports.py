"""What `convert` writes for the ports of tests/ports: the emitted function, and files in every format."""

import importlib.util
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx, serialization
from safetensors.numpy import load_file

from experiment.weights.conversion import leaves
from parity.mapping.emit import emit
from parity.ports import check_port
from tests.ports import NAMES, named, pair


def emitted(source: str, folder: Path):
    """Import a function that was emitted."""
    file = folder / "convert_net.py"
    file.write_text(source)
    spec = importlib.util.spec_from_file_location("convert_net", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.convert_net


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_emitted_function_converts_the_port(name, tmp_path):
    torch_file, jax_file = pair(name)
    jax_inputs = torch_file.jax_inputs() if hasattr(torch_file, "jax_inputs") else None
    port = check_port(torch_file.make(), jax_file.make(), torch_file.inputs(), jax_inputs, purpose="inference")
    assert port.ok, port.report.failures
    torch.manual_seed(5)
    state = {key: tensor.numpy() for key, tensor in torch_file.make().state_dict().items()}
    ours = dict(leaves(emitted(emit(port.mapping, "convert_net"), tmp_path)(state)))
    true = {path: np.asarray(array) for path, array in jax_file.weights(state).items()}
    true = named(true, port.mapping.leaves)
    assert true.keys() <= ours.keys() | port.mapping.kept_leaves.keys()
    for path in true.keys() & ours.keys():
        np.testing.assert_allclose(ours[path], true[path], rtol=1e-6, err_msg=path)


TORCH = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.fc = torch.nn.Embedding(7, 4), torch.nn.Linear(4, 3)

    def forward(self, ids):
        return self.fc(torch.tanh(self.emb(ids)))
"""
JAX = """
import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx

class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.emb, self.fc = nnx.Embed(7, 4, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, ids):
        return self.fc(jnp.tanh(self.emb(ids)))

class Eqx(eqx.Module):
    emb: eqx.nn.Embedding
    fc: eqx.nn.Linear

    def __init__(self, key):
        self.emb, self.fc = eqx.nn.Embedding(7, 4, key=key), eqx.nn.Linear(4, 3, key=key)

    def __call__(self, ids):
        return jax.vmap(self.fc)(jnp.tanh(jax.vmap(self.emb)(ids)))
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A pair of files, weights, and what PyTorch computes with them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_torch.py").write_text(TORCH)
    (tmp_path / "my_jax.py").write_text(JAX)
    space: dict = {}
    exec(TORCH, space)
    net, ids = space["Net"](), np.random.default_rng(0).integers(0, 7, (2, 5))
    torch.save(net.state_dict(), "net.pth")
    return ids, net(torch.from_numpy(ids)).detach().numpy()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["safetensors", "msgpack", "orbax"])
def test_what_is_written_works_in_an_nnx_module(suffix, files, convert):
    ids, expected = files
    arguments = ["my_torch.py:Net", "my_jax.py:Nnx", "--input", "int:2,5:7", "--weights", "net.pth", f"net.{suffix}"]
    code, out, err = convert(*arguments, "--emit", "convert_net.py")
    assert (code, err) == (0, "")
    assert "convert_net() in convert_net.py" in out
    space: dict = {}
    exec(JAX, space)
    model = space["Nnx"](nnx.Rngs(0))
    state = nnx.state(model)
    if suffix == "safetensors":
        tree: dict = {}
        for path, array in load_file("net.safetensors").items():
            *above, name = path.split("/")
            node = tree
            for part in above:
                node = node.setdefault(part, {})
            node[name] = array
    elif suffix == "msgpack":
        tree = dict(serialization.msgpack_restore(Path("net.msgpack").read_bytes()))
    else:
        import orbax.checkpoint

        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            tree = dict(checkpointer.restore(Path("net.orbax").absolute()))
    nnx.replace_by_pure_dict(state, tree)
    nnx.update(model, state)
    np.testing.assert_allclose(np.asarray(model(ids)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_what_is_written_works_in_an_equinox_module(files, convert):
    ids, expected = files
    arguments = ["my_torch.py:Net", "my_jax.py:Eqx", "--input", "int:2,5:7", "--weights", "net.pth", "net.safetensors"]
    code, _, err = convert(*arguments)
    assert (code, err) == (0, "")
    space: dict = {}
    exec(JAX, space)
    model = space["Eqx"](jax.random.key(0))
    arrays = load_file("net.safetensors")
    model = eqx.tree_at(
        lambda m: [m.emb.weight, m.fc.weight, m.fc.bias],
        model,
        [jnp.asarray(arrays[f"params/{name}"]) for name in ("emb/weight", "fc/weight", "fc/bias")],
    )
    np.testing.assert_allclose(np.asarray(jax.vmap(model)(ids)), expected, rtol=1e-4, atol=1e-5)
