"""The two parts of a frozen network: what makes features of inputs, and the head, which alone is trained."""

import dataclasses
from typing import Any

from jaxnets.step import Model, Variables


@dataclasses.dataclass(frozen=True)
class Part:
    """A network that calls one of its methods, with the variables of the whole."""

    model: Model
    method: str

    def apply(self, variables: Variables, inputs: Any, **options: Any) -> Any:
        """Apply the method; features (N, 1, 1, channels) are what the loader keeps, `head` takes (N, channels)."""
        inputs = inputs.reshape(len(inputs), -1) if self.method == "head" else inputs
        return self.model.apply(variables, inputs, method=self.method, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "model"), name)  # `is_trained`


def parts(model: Model) -> tuple[Model, Model] | None:
    """Return the part of a network that is frozen, and its head; None if more than the head is trained."""
    if not getattr(model, "frozen", False):
        return None
    return Part(model, "features"), Part(model, "head")
