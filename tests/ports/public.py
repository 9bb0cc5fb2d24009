"""Find which of these public pairs are right, by their packages' own conversion of weights, in float64.

`python -m tests.ports.public [NAME ...]` prints the relative errors of outputs and of
gradients: as the code stands, and with float64 where it says float32.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import transformers
from diffusers.models import modeling_flax_pytorch_utils as diffusers_conversion
from flax.traverse_util import flatten_dict
from transformers import modeling_flax_pytorch_utils as transformers_conversion

from tests.ports.verify import compare

Arrays = dict[str, np.ndarray]
FOLDER = Path(__file__).parents[2] / "benchmarks" / "ports"


def hugging_face(name: str) -> Callable[[Arrays, Any], Arrays]:
    """The conversion of transformers for one of its classes."""
    prefix = getattr(transformers, name).base_model_prefix

    def convert(state: Arrays, tree: Any) -> Arrays:
        params = tree if "batch_stats" in tree else tree["params"]
        model = SimpleNamespace(params=params, base_model_prefix=prefix)
        found = transformers_conversion.convert_pytorch_state_dict_to_flax(dict(state), model)
        return _present(found if "batch_stats" in tree else {"params": found}, tree)

    return convert


def diffusers(state: Arrays, tree: Any) -> Arrays:
    """The conversion of diffusers."""
    tensors = {name: SimpleNamespace(numpy=lambda array=array: array) for name, array in state.items()}
    model = SimpleNamespace(init_weights=lambda _: tree["params"])
    return _present({"params": diffusers_conversion.convert_pytorch_state_dict_to_flax(tensors, model)}, tree)


def equinox_attention(state: Arrays, tree: Any) -> Arrays:
    """PyTorch's separate projections, its three biases in one."""
    del tree
    biases = np.split(state["attention.in_proj_bias"], 3)
    found = {
        "output_proj/weight": state["attention.out_proj.weight"],
        "output_proj/bias": state["attention.out_proj.bias"],
    }
    for name, bias in zip(("query", "key", "value"), biases, strict=True):
        found[f"{name}_proj/weight"] = state[f"attention.{name[0]}_proj_weight"]
        found[f"{name}_proj/bias"] = bias
    return found


def nothing(state: Arrays, tree: Any) -> Arrays:
    """No weights."""
    del state, tree
    return {}


def _present(found: Mapping[str, Any], tree: Any) -> Arrays:
    """What the model has; a state_dict has tied and fixed tensors beside."""
    leaves = flatten_dict(tree, sep="/")
    return {name: np.asarray(a) for name, a in flatten_dict(found, sep="/").items() if name in leaves}


CONVERSIONS: dict[str, Callable[[Arrays, Any], Arrays]] = {
    "gpt2": hugging_face("FlaxGPT2LMHeadModel"),
    "llama": hugging_face("FlaxLlamaForCausalLM"),
    "gptj": hugging_face("FlaxGPTJForCausalLM"),
    "electra": hugging_face("FlaxElectraModel"),
    "clip": hugging_face("FlaxCLIPModel"),
    "whisper": hugging_face("FlaxWhisperForConditionalGeneration"),
    "wav2vec2": hugging_face("FlaxWav2Vec2ForCTC"),
    "dinov2": hugging_face("FlaxDinov2Model"),
    "beit": hugging_face("FlaxBeitModel"),
    "opt": hugging_face("FlaxOPTForCausalLM"),
    "mistral": hugging_face("FlaxMistralForCausalLM"),
    "albert": hugging_face("FlaxAlbertModel"),
    "bloom": hugging_face("FlaxBloomForCausalLM"),
    "controlnet": diffusers,
    "resblocks": diffusers,
    "eqx_attention": equinox_attention,
    "memory_efficient": nothing,
    "memory_ragged": nothing,
}


if __name__ == "__main__":
    for pair in sys.argv[1:] or CONVERSIONS:
        for exact in (False, True):
            errors = compare(pair, FOLDER, exact, conversion=CONVERSIONS[pair])
            print(pair, "float64 throughout" if exact else "as it stands", errors, flush=True)
