"""What a network that is given to `fit` is: a name, or a module with or without one."""

import ast
from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any, NamedTuple

from data import UserError
from data.registry import lookup, nearest
from experiment.own_network import Maker, Target, is_reference, parse_target
from experiment.registry import Entry, Models

TAG = "_jaxnets_name"  # the attribute by which a module that `build` has made is known


class Bound:
    """A backend with one more network, whose last state is kept."""

    def __init__(self, backend: Any, models: Mapping[str, Entry]):
        self._backend, self.MODELS, self.last = backend, models, None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def fit(self, *args: Any) -> Any:
        """Train as the backend does."""
        for state in self._backend.fit(*args):
            self.last = state
            yield state


class Named(NamedTuple):
    """A network by the name that a run saves, and whether it is an object of the program's."""

    name: str
    is_object: bool


def make(models: Models, name: str, num_classes: int | None, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return a module, and the name by which it can be made again.

    Raises:
        UserError: there is no such network, or it has no such option.
    """
    entry = lookup("model", name, models)
    target = parse_target(name) if is_reference(name) else Target("", name)
    parameters = _parameters(entry)
    for option in options:
        if parameters and option not in parameters:
            advice = nearest(option, [*parameters, "num_classes"]) or f" It takes: {', '.join(parameters)}"
            raise UserError(f"{name} has no option '{option}'.{advice}")
    if num_classes is not None and (type(num_classes) is not int or num_classes < 0):
        raise UserError(f"num_classes is {num_classes!r}, expected a whole number above 0, or 0 for features")
    classes = {} if num_classes is None else {"num_classes": num_classes}
    module = entry.build(**classes, **options)
    if all(_is_literal(value) for value in options.values()):
        return module, target._replace(keywords={**target.keywords, **options}).text
    return module, f":{target.name}"


def _parameters(entry: Entry) -> list[str]:
    found = signature(entry.build).parameters.values()
    if any(one.kind is Parameter.VAR_KEYWORD for one in found):
        return []
    return [one.name for one in found if one.name not in ("parent", "name", "num_classes")]


def _is_literal(value: Any) -> bool:
    try:
        return ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError, TypeError):
        return False


def name_of(model: Any) -> Named:
    """Return the name of what is given to `fit`."""
    if isinstance(model, str):
        return Named(model, False)
    return Named(getattr(model, TAG, f":{type(model).__name__}"), True)


def entry_of(models: Models, model: Any, name: str, wrap: Callable[[Any], Any], *, rebuild: bool) -> Entry:
    """Return the entry of a module that is given.

    Args:
        models: all networks.
        model: the module.
        name: as `name_of` says.
        wrap: makes a module of another origin one that is called as those of this package.
        rebuild: whether making a module draws from a generator that a training goes on with: it is then made, too.
    """
    if not hasattr(model, TAG) or name.startswith(":"):
        shape = getattr(model, "input_shape", ())
        return Entry(lambda **_: wrap(model), tuple(shape), 0, "", getattr(model, "head", ""), own=name.lstrip(":"))
    entry = models[name]
    make_anew = entry.build if isinstance(entry.build, Maker) else Maker(parse_target(name), entry.build)

    def build(**options: Any) -> Any:
        if rebuild:
            make_anew(**options)
        return wrap(model) if entry.input_shape == () or ":" in name else model

    return entry._replace(build=build, own=name)
