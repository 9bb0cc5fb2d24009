"""Functions from the user's files, as they are: "my_torch.py:training"."""

import functools
from collections.abc import Callable
from typing import Any

from data.errors import UserError
from parity.sides.target import _call, named


def load_function(target: str) -> Callable[..., Any]:
    """Return the function that a target names; with arguments, "my.py:training(rate=0.1)", one that gives them.

    Raises:
        UserError: the file or the name is wrong; one line.
    """
    value = named(target)
    _, args, kwargs = _call(target, target.partition(":")[2])
    if not callable(value):
        raise UserError(f"{target} is {type(value).__name__}: expected a function")
    return value if args is None else functools.partial(value, *args, **kwargs)
