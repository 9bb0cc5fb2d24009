"""A rate that is computed in float32: its rounding is no difference, but nothing else is excused by it."""

import numpy as np

from parity.training.roles import Roles
from parity.training.stages import Compared
from parity.training.steps import TorchStep
from parity.training.update_numbers import Numbers, all_numbers
from parity.training.update_rules import fit, own
from parity.training.update_words import clipped_alike

ROUNDED = 4e-7  # a few roundings of float32
EXCUSED = 1e-6  # of a step, in which a rate of float32 may be its only difference


def with_single_rate(number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles) -> Compared:
    """Return a step's comparison without what the rounding of the rate alone has made of the parameters.

    The step must be PyTorch's rule exactly, with another rate: so an epsilon, or 1e-6 in clipping, is still seen.
    """
    one = compared[number]
    bad = [row for row in one.found if row.stage == "update" and not row.ok]
    params = [row for row in bad if row.tensor in roles.params]
    if not bad or len(params) < len(bad) or any(not row.error <= EXCUSED for row in params):
        return one
    rules = all_numbers(number, compared, steps, roles)
    if not rules or not all(map(_rounded, rules)) or not clipped_alike(one, steps[number], roles):
        return one
    rows = [
        row._replace(bound=max(row.bound, float(np.nextafter(row.error, 1)))) if any(row is p for p in params) else row
        for row in one.found
    ]
    return one._replace(found=rows)


def _rounded(given: Numbers) -> bool:
    """Tell whether a step is PyTorch's but for the rounding of its rate."""
    found = fit(given, own(given))
    if found is None:
        return False
    rate = float(given.settings[0]["lr"])
    wanted = rate * max(given.decays) if given.decoupled else 0.0
    near = abs(found.rate - rate) <= ROUNDED * abs(rate)
    decays = all(min(abs(d), abs(d - wanted)) <= ROUNDED * max(wanted, rate) for d in (found.weights, found.others))
    return near and decays and not (found.after and max(found.weights, found.others) > ROUNDED)
