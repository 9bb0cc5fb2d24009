"""Ensembles as one program are for JAX only: PyTorch's modules hold their state themselves."""

from data import UserError
from experiment.config import Config


def trains_together(config: Config, _count: int, _parameters: int) -> bool:
    """Return whether several trainings are one program: they never are.

    Raises:
        UserError: it is asked for.
    """
    if config.together == "yes":
        raise UserError("--together yes is for jaxnets.train; PyTorch's modules are trained one after the other")
    return False
