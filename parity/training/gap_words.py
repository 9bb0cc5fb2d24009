"""Words for an update by a rule that is not known here: what parts both sides' steps is a rate or a decay."""

import numpy as np

from parity.report.compare import norm
from parity.training.leaf_words import listed
from parity.training.roles import Roles
from parity.training.stages import ROUNDING, Compared
from parity.training.steps import TorchStep
from parity.training.update_rules import STEPS

SAME = 1e-7  # of what parts both sides, that may be left over


def gap_words(number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles) -> str:
    """Say that each step is PyTorch's times a number, or has another decay beside; "" if neither is all."""
    found = []
    for one, step in list(zip(compared, steps, strict=True))[number:]:
        if any(row.stage == "update" and row.tensor in roles.params and not row.ok for row in one.found):
            found.append((one, step))
    found = found[:STEPS]
    return (_rate(found, roles) or _decay(found, roles)) if found else ""


def _rows(one: Compared, roles: Roles) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Return each parameter with its value before the step, PyTorch's behind it and JAX's."""
    found = []
    for row in one.found:
        if row.stage == "update" and row.tensor in roles.params:
            before, ours, theirs = (np.asarray(a, np.float64) for a in (one.before[row.tensor], row.torch, row.jax))
            if before.shape == ours.shape == theirs.shape:
                found.append((row.tensor, before, ours, theirs))
    return found


def _rate(found: list[tuple[Compared, TorchStep]], roles: Roles) -> str:
    factors = []
    for one, _ in found:
        rows = _rows(one, roles)
        ours = np.concatenate([np.ravel(t - b) for _, b, t, _ in rows])
        theirs = np.concatenate([np.ravel(j - b) for _, b, _, j in rows])
        size = float(ours @ ours)
        factor = float(ours @ theirs) / size if size else 0.0
        rounding = ROUNDING * sum(norm(b) for _, b, _, _ in rows)
        if not factor or norm(theirs - factor * ours) > SAME * norm(theirs - ours) + rounding:
            return ""
        factors.append(f"{factor:.6g}")
    same = f"times {factors[0]}" if len(set(factors)) == 1 else f"times {', '.join(factors)}, one step after another"
    return f"every parameter's step is PyTorch's {same}: another rate"


def _decay(found: list[tuple[Compared, TorchStep]], roles: Roles) -> str:
    """Return words if what parts both sides is a multiple of each parameter, as a decoupled decay is."""
    words = set()
    for one, step in found:
        decays: dict[tuple[str, str], list[str]] = {}
        for leaf, before, ours, theirs in _rows(one, roles):
            group = step.groups.get(roles.params[leaf].sources[0])
            rate = float(group.settings.get("lr") or 0) if group is not None else 0.0
            if group is None or not rate:
                return ""
            gap, size = ours - theirs, float(np.vdot(before, before))
            share = float(np.vdot(before, gap)) / size if size else 0.0
            if norm(gap - share * before) > SAME * norm(gap) + ROUNDING * norm(before):
                return ""
            own = float(group.settings.get("weight_decay") or 0)
            if abs(share) > 1e-9:
                decays.setdefault((f"{own + share / rate:.5g}", f"{own:g}"), []).append(leaf)
        if not decays:
            return ""
        parts = [f"the decay of {listed(leaves)} is {a} where PyTorch's is {b}" for (a, b), leaves in decays.items()]
        words.add("; ".join(parts) if len(decays) < 3 else "")
    return words.pop() if len(words) == 1 else ""
