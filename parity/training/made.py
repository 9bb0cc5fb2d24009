"""What the function of a training returns."""

from collections.abc import Callable
from typing import Any

from data.errors import UserError
from parity.sides.faults import explained


def made_by(make: Callable[[], Any], side: str) -> Any:
    """Call the function of a training.

    Args:
        make: the user's.
        side: "PyTorch" or "JAX".

    Raises:
        UserError: it raises; one line.
    """
    try:
        return make()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"the {side} training cannot be made: {explained(error)}") from error
