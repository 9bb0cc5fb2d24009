"""Ports as people write them: pairs of files NAME_torch.py and NAME_jax.py, found by their names.

A PyTorch file has `make()` and `inputs()` (numpy: an array, a tuple, or a dict by name), and `jax_inputs()` where the
JAX side is given something else. A JAX file has `make()` and `weights(state)`, the true conversion, by hand, of
PyTorch's state_dict (numpy) to {path of the leaf: array}. Constants that a JAX file may have:

- `LAYOUT = "channels last"`: the second axis of each floating-point input of three or more axes is the last there;
- `ONE_EXAMPLE = True`: it takes one example, and `jax.vmap` makes a batch;
- `RELATIVE = 1e-6`: it computes in float32 somewhere, so outputs agree to that.
"""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent
NAMES = tuple(sorted(path.stem.removesuffix("_torch") for path in FOLDER.glob("*_torch.py")))


def load(path: Path) -> ModuleType:
    """Import one file by its path, anew each time, so that an edited copy is another module."""
    name = f"port_{path.parent.name}_{path.stem}".replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def pair(name: str, folder: Path = FOLDER) -> tuple[ModuleType, ModuleType]:
    """The two files of a pair."""
    return load(folder / f"{name}_torch.py"), load(folder / f"{name}_jax.py")


def named(weights: dict, leaves) -> dict:
    """The true weights by the checker's paths: "params/layers_0/gate" of an NNX module's "layers/0/gate"."""
    forms = {path: (path, f"params/{path}", re.sub(r"/(\d+)", r"_\1", f"params/{path}")) for path in weights}
    return {next((form for form in forms[path] if form in leaves), path): array for path, array in weights.items()}
