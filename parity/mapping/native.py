"""The names under which a JAX model itself keeps its arrays, where they are not the paths of the checks."""

from typing import Any

from flax import nnx

from experiment.weights.layout import layer_path
from parity.sides.nnx_module import COLLECTIONS


def native_names(model: Any) -> dict[str, str]:
    """Return the leaves' paths to their names in a file; empty where both are the same.

    The state of an NNX module, as `nnx.replace_by_pure_dict` takes it, has neither collections nor joined numbers:
    "params/layers_0/kernel" is "layers/0/kernel".
    """
    if not isinstance(model, nnx.Module):
        return {}
    found = {}
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        known = (name for kind, name in COLLECTIONS.items() if isinstance(variable, kind))
        other = type(variable).__name__ if isinstance(variable, nnx.Variable) else "constants"
        found[f"{next(known, other)}/{layer_path('.'.join(map(str, path)))}"] = "/".join(map(str, path))
    return found
