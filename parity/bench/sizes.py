"""What is known of a network before it is run: sizes for the roofline, and what the plan has to know."""

from typing import Any

import numpy as np

from data.registry import lookup
from jaxnets import MODELS
from jaxnets.model_summary import summarize
from parity.bench.examples import config_of, make_loader, without_dropout
from parity.bench.plan import Setting
from parity.bench.roofline import Size


def about(setting: Setting) -> dict[str, Any]:
    """Return a network's `roofline.Size`, whether it convolves over images, and whether it has dropout.

    Raises:
        UserError: no such network or dataset, or the one does not fit the other.
    """
    entry, config = lookup("model", setting.name, MODELS), config_of(setting)
    if config.dataset:
        make_loader(entry, 0, config, MODELS)  # now, not after all that is done before
    model, layers = entry.build(), summarize(entry)
    trained = getattr(model, "is_trained", lambda _: True)
    moving = [layer for layer in layers if trained(layer.name.split("/")[0])]
    size = Size(
        flops=sum(layer.flops for layer in layers),
        trained_flops=sum(layer.flops for layer in moving),
        weights=sum(layer.parameters for layer in layers),
        trained_weights=sum(layer.parameters for layer in moving),
        activations=sum(int(np.prod(layer.shape)) for layer in layers if layer.kind != "Dropout"),
        inputs=int(np.prod(entry.input_shape)),
    )
    return {
        "size": size._asdict(),
        "images": any(layer.kind == "Conv" and len(layer.shape) == 3 for layer in layers),
        "dropout": without_dropout(entry, config, MODELS).build() != model,
        "trained": sorted({layer.name.split("/")[0] for layer in moving}),
    }
