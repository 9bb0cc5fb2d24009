"""A network of the user's own: `my_net.py:Net`, `package.module:Net` or, with arguments, `my_net.py:Net(width=64)`.

Nothing of the user's code is evaluated but the file itself: arguments are literals.
"""

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, NamedTuple

from data.errors import UserError
from data.registry import nearest
from experiment.own_source import Loaded, load, where

FORMS = "my_net.py:Net, package.module:Net or my_net.py:Net(width=64)"
TARGET = re.compile(
    r"(?:(?P<source>.*?\.py|[^\W\d]\w*(?:\.\w+)*)?(?P<colon>:))?(?P<name>[^\W\d]\w*(?:\.\w+)*)(?P<call>\(.*\))?",
    re.DOTALL,
)
# What people call the number of classes and of channels, and the modes of a module in training (True) or not.
CLASSES = ("num_classes", "n_classes", "num_labels", "nclass", "classes")
CHANNELS = ("in_channels", "in_chans", "num_channels")
TRAINING_WORDS = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}


class Target(NamedTuple):
    """What the name of a network says."""

    source: str  # "my_net.py" or "package.module"; "" for a registered network
    name: str
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = {}
    is_object: bool = False  # ":Net" stands for an object that a program has made

    @property
    def short(self) -> str:
        """The name with its arguments, without the source."""
        words = [*map(repr, self.arguments), *(f"{name}={value!r}" for name, value in self.keywords.items())]
        return f"{self.name}({', '.join(words)})" if words else self.name

    @property
    def text(self) -> str:
        """The whole name, the path of a file absolute."""
        source = str(Path(self.source).expanduser().resolve()) if self.source.endswith(".py") else self.source
        return f"{source}:{self.short}" if source or self.is_object else self.short


def is_reference(text: str) -> bool:
    """Return whether a network's name is more than that of a registered one."""
    return ":" in text or "(" in text or text.endswith(".py")


def is_own(text: str) -> bool:
    """Return whether a name is that of a network of the user's own."""
    return is_reference(text) and (parse_target(text).source != "" or text.startswith(":"))


def parse_target(text: str) -> Target:
    """Parse the name of a network.

    Raises:
        UserError: it is not of one of the forms, or an argument is not a literal.
    """
    found = None if text.endswith(".py") else TARGET.fullmatch(text.strip())
    if not found or (found["colon"] and not found["source"] and not text.startswith(":")):
        if text.endswith(".py"):
            raise UserError(f"{text}: say which network in it, as in {text}:Net")
        raise UserError(f"'{text}' names no network; expected a registered name, {FORMS}")
    arguments, keywords = _literals(found["call"] or "()", text)
    return Target(
        found["source"] or "", found["name"], arguments, keywords, bool(found["colon"] and not found["source"])
    )


def _literals(call: str, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    expected = "expected literals such as 64, 0.5, 'relu', True or (1, 2)"
    try:
        tree = ast.parse(f"f{call}", mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise UserError(f"{text}: the arguments {call} cannot be read; {expected}") from None
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise UserError(f"{text}: the arguments {call} cannot be read; {expected}")
    positional = tuple(_literal(value, text, expected) for value in tree.args)
    keywords: dict[str, Any] = {}
    for word in tree.keywords:
        if word.arg is None:
            raise UserError(f"{text}: found ** in the arguments; {expected}")
        keywords[word.arg] = _literal(word.value, text, expected)
    return positional, keywords


def _literal(tree: ast.expr, text: str, expected: str) -> Any:
    try:
        return ast.literal_eval(tree)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise UserError(f"{text}: the argument {ast.unparse(tree)} is no literal; {expected}") from None


def find(target: Target) -> tuple[Any, Loaded]:
    """Return what a target names, and the module that it is in.

    Raises:
        UserError: there is no such file, module or name, or it cannot be imported.
    """
    if target.is_object:
        raise UserError(
            f"the network {target.short} was an object of a Python program; say where it is, such as "
            f"--model my_net.py:{target.name}"
        )
    loaded = load(target.source, target.text)
    value: Any = loaded.module
    for part in target.name.split("."):
        if not hasattr(value, part):
            raise UserError(f"{target.text}: {target.source} has no '{target.name}'.{nearest(part, vars(value))}")
        value = getattr(value, part)
    return value, loaded


def training_words(parameters: Iterable[str], *, train: bool) -> dict[str, Any]:
    """Return those of the keywords that put a module into training or evaluation mode."""
    return {word: train is means for word, means in TRAINING_WORDS.items() if word in parameters}


class Maker:
    """Makes a network of the user's own; the `build` of its `Entry`."""

    def __init__(self, target: Target, value: Any, adapt: Callable[..., Any] | None = None):
        """Make what `target` names.

        Args:
            target: with the arguments.
            value: what it names: a class, a function, or a module.
            adapt: a framework's function (target, value, make) that returns its module; by default `make()`.
        """
        self._target, self._value, self._adapt = target, value, adapt
        self.__signature__ = _signature(value)  # `inspect.signature` returns it

    def __call__(self, **options: Any) -> Any:
        """Call what the target names with its own arguments, and those of `options` that it takes.

        Raises:
            UserError: it cannot be called.
        """
        make = partial(self._make, options)
        return self._adapt(self._target, self._value, make) if self._adapt else make()

    def _make(self, options: Mapping[str, Any]) -> Any:
        found = self.__signature__.parameters
        positional = list(found)[: len(self._target.arguments)]
        given = {
            name: value
            for name, value in (_known(options, found) | _required_modes(found)).items()
            if name not in positional
        } | dict(self._target.keywords)
        count = {"num_classes": options["num_classes"]} if "num_classes" in options else {}
        tries = [given]
        if any(one.kind is Parameter.VAR_KEYWORD for one in found.values()) and not given.keys() & set(CLASSES):
            tries = [given | count, given]  # its `**kwargs` may be those of a network
        for keywords in tries:
            try:
                return self._value(*self._target.arguments, **keywords)
            except TypeError as error:
                if keywords is tries[-1]:
                    raise self._fails(error) from None
            except Exception as error:  # whatever the user's code raises
                raise self._fails(error) from None
        raise AssertionError

    def _fails(self, error: Exception) -> UserError:
        return UserError(f"{self._target.text} cannot be made, {where(error)}")


def _known(options: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return the options by the names that parameters have for them."""
    known = {}
    for name, value in options.items():
        others = {"num_classes": CLASSES, "in_channels": CHANNELS}.get(name, (name,))
        known |= {other: value for other in others if other in parameters}
    return known


def _required_modes(parameters: Mapping[str, Parameter]) -> dict[str, bool]:
    """Return the modes of evaluation that have to be given as a module is made."""
    modes = training_words(parameters, train=False)
    return {name: mode for name, mode in modes.items() if parameters[name].default is Parameter.empty}


def _signature(value: Any) -> Signature:
    try:
        found = signature(value)
    except (TypeError, ValueError):
        return Signature()
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD)
    return Signature([one for one in found.parameters.values() if one.kind in kinds])


def check_output(name: str, found: Any, inputs: Sequence[int], num_classes: int) -> None:
    """Check that a network returns a row of logits for each of two examples.

    Raises:
        UserError: it does not; names what came out and what was expected.
    """
    expected = f"expected ({inputs[0]}, {num_classes}): for each example a logit of each of the {num_classes} classes"
    shape = getattr(found, "shape", None)
    if shape is None:
        parts = tuple(found.values() if isinstance(found, Mapping) else found) if _holds(found) else ()
        inside = f" of {', '.join(_described(part) for part in parts[:4])}" if parts else ""
        raise UserError(f"{name} returns a {type(found).__name__}{inside}, {expected}")
    if tuple(shape) == (inputs[0], num_classes):
        return
    advice = ""
    if len(shape) == 2 and shape[0] == inputs[0]:
        advice = f"; make it with num_classes={num_classes}"
        if ":" in name:
            advice = "; give it an argument num_classes, which is then the number of classes of the dataset"
    raise UserError(f"{name} returns {tuple(shape)} for inputs {tuple(inputs)}, {expected}{advice}")


def _holds(found: Any) -> bool:
    return isinstance(found, (tuple, list, Mapping))


def _described(part: Any) -> str:
    return str(tuple(part.shape)) if hasattr(part, "shape") else type(part).__name__
