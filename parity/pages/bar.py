"""An error as a small bar on a log scale, with its bound marked and the number beside it."""

import math

LEAST, MOST = -17.0, 0.0  # exponents of the scale: rounding of float64 is 1e-16, a bug is 1e-3 and above
STYLE = """
.fig { display: inline-flex; align-items: center; gap: .4rem; white-space: nowrap }
.fig svg { width: 5.5rem; height: .55rem; flex: none } .fig .track { fill: var(--line); opacity: .6 }
.fig .fill { fill: var(--fill) } .fig .bound { fill: var(--text) } .fig.over .fill { fill: var(--bad) }
.fig.over b { color: var(--bad) } .fig b { font: 11.5px ui-monospace, Menlo, Consolas, monospace; min-width: 7ch }
.fig.over b { font-weight: 700 }
"""


def position(value: float) -> float:
    """Return where a value lies on the scale, in percent; what is not finite is at its end."""
    if not math.isfinite(value):
        return 100.0
    exponent = math.log10(value) if value > 0 else LEAST
    return round(100 * (min(max(exponent, LEAST), MOST) - LEAST) / (MOST - LEAST), 1)


def number(error: float) -> str:
    """Return an error in few characters: "0" for equal to the bit."""
    return "0" if error == 0 else f"{error:.1e}"


def bar(error: float, bound: float, what: str = "error") -> str:
    """Return the bar and the number. An error above its bound has another colour and a cross.

    Args:
        error: relative L2 norm of the difference.
        bound: what it may be; 0 marks no bound, and then only 0 is within it.
        what: is said before the number to those who do not see the bar.
    """
    over = not error <= bound
    said = f"{what} {number(error)}, bound {bound:.0e}"
    mark = f'<rect class="bound" x="{position(bound)}" width="1.2" height="9"/>' if bound > 0 else ""
    return (
        f'<span class="fig{" over" if over else ""}" title="{said}"><svg viewBox="0 0 100 9" '
        f'preserveAspectRatio="none" role="img" aria-label="{said}"><rect class="track" y="4" width="100" height="1"/>'
        f'<rect class="fill" y="1" width="{position(error)}" height="7"/>{mark}</svg>'
        f"<b>{number(error)}{' ✗' if over else ''}</b></span>"
    )
