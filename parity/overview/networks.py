"""What is known of each network: its checks in words, the error of every layer, and both trainings step by step."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from parity.overview.chart import Line, chart
from parity.overview.checks import failed, trajectories
from parity.overview.matrix import VERDICTS, anchor, bound_words, error_words, where_words
from parity.pages.bar import number, position

GOOD, BAD = '<td class="good">ok</td>', '<td class="bad">FAIL</td>'
WAYS = ("forward", "backward")
Layers = Sequence[Mapping[str, Any]]  # of NetworkErrors.to_json()
CHECKS = ("check", "worst", "bound", "", "where")
STEPS = ("step", "loss in PyTorch", "loss in Flax", "relative difference", "distance of the parameters")


def networks(reports: Sequence[Mapping[str, Any]], layers: Mapping[str, Any]) -> str:
    """Return a section for each network, closed at first."""
    buttons = (
        '<p class="screen"><button type="button" data-open="true">Open all</button> '
        '<button type="button" data-open="">Close all</button></p>'
    )
    return buttons + "".join(_network(report, layers.get(report["name"])) for report in reports)


def _network(report: Mapping[str, Any], layers: Mapping[str, Any] | None) -> str:
    name = html.escape(report["name"], quote=True)
    kind = "good" if report["verdict"] == "same" else "bad"
    verdict = VERDICTS.get(report["verdict"], html.escape(report["verdict"]))
    said = [f"{len(report['checks']) - len(failed(report))} of {len(report['checks'])} checks hold"]
    if layers:
        compared = [layer for layer in layers["layers"] if layer["forward"] or layer["backward"]]
        said.append(f"{len(compared)} layers, {_worst(compared)}")
    body = _checks(report) + (_layers(layers) if layers else "") + "".join(map(_steps, trajectories(report)))
    return (
        f'<details class="network" id="{anchor(report["name"])}" data-network="{name}"><summary><b>{name}</b> '
        f'<span class="{kind}">{verdict}</span> <span class="dim">{"; ".join(said)}</span></summary>{body}</details>'
    )


def _worst(layers: Layers) -> str:
    """Return the largest errors of all layers."""
    words = []
    for way in WAYS:
        errors = [float(layer[way]["error"]) for layer in layers if layer[way]]
        if errors:
            words.append(f"{way} at most {number(max(errors))}")
    return ", ".join(words)


def _checks(report: Mapping[str, Any]) -> str:
    """Return all checks, with the tensor that has the worst error; and what the report says of failures."""
    wrong = failed(report)
    rows = "".join(
        f"<tr><td>{html.escape(check['check'])}</td><td>{error_words(check['error'])}</td>"
        f"<td>{bound_words(check['bound'])}</td>"
        f"{BAD if check['check'] in wrong else GOOD}"
        f"<td>{html.escape(where_words(check))}</td></tr>"
        for check in report["checks"]
    )
    words = [f"{one['check']} fails at {one['layer']}: {one['diagnosis']}" for one in report.get("failures", ())]
    words += filter(None, [report.get("message")])
    paragraphs = "".join(f'<p class="bad">{html.escape(text)}</p>' for text in words)
    return f'{paragraphs}<div class="scroll"><table>{_heads(CHECKS)}<tbody>{rows}</tbody></table></div>'


def _heads(titles: Sequence[str]) -> str:
    cells = "".join(f'<th scope="col">{title}</th>' for title in titles)
    return f"<thead><tr>{cells}</tr></thead>"


def _layers(found: Mapping[str, Any]) -> str:
    """Return the errors of every layer, forward and backward, as bars on a log scale; the bound is marked on them."""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(layer["layer"])}</th>{"".join(_bar(layer[way], way) for way in WAYS)}</tr>'
        for layer in found["layers"]
        if layer["forward"] or layer["backward"]
    )
    alone = [layer["layer"] for layer in found["layers"] if not layer["forward"] and not layer["backward"]]
    without = f'<p class="dim">Layers of one side alone: {html.escape(", ".join(alone))}</p>' if alone else ""
    shape = "x".join(map(str, found["input_shape"]))
    return (
        f'<h3>Layer by layer</h3><p class="dim">float64, {found["examples"]} examples of {shape}: output in both '
        "modes; gradients at the output and of the parameters</p>"
        f'<div class="scroll"><table class="layers">{_heads(("layer", *WAYS))}<tbody>{rows}</tbody></table></div>'
        f"{without}"
    )


def _bar(figure: Mapping[str, Any] | None, way: str) -> str:
    """Return a cell: the error as a bar with its bound marked, and what it is of.

    The cells are many: this one takes a third of the characters of `parity.pages.bar`.
    """
    if figure is None:
        return "<td>-</td>"
    error, bound, what = float(figure["error"]), figure["bound"], html.escape(figure["what"])
    above = "" if error <= bound else ' class="above"'
    words = number(error) + ("" if error <= bound else f" ✗ above {bound:.0e}")
    bar = f'<i style="--w:{position(error)}%;--b:{position(bound)}%"></i>'
    return f'<td data-{way}="{error!r}"{above}>{bar}{words}<small>{what}</small></td>'


def _steps(check: Mapping[str, Any]) -> str:
    """Return a training of both sides: the losses, their difference, and a table of both."""
    steps, name = check["steps"], check["check"]
    differences = list(map(relative, steps["torch"], steps["jax"]))
    steps_from_1 = range(1, len(differences) + 1)
    losses = chart(
        "Loss of both frameworks",
        [
            Line("PyTorch", "torch", list(zip(steps_from_1, steps["torch"], strict=True)), mark="square", wide=True),
            Line(
                "Flax, from the same weights", "flax", list(zip(steps_from_1, steps["jax"], strict=True)), dash="5 4"
            ),
        ],
        "step",
        "loss",
    )
    apart = chart(
        "How far apart they are",
        [
            Line("losses", "first", list(zip(steps_from_1, differences, strict=True)), mark="square"),
            Line("all parameters", "second", list(zip(steps_from_1, steps["parameters"], strict=True)), dash="5 4"),
        ],
        "step",
        "relative difference",
        log=True,
        bound=check["bound"] or None,
    )
    rows = "".join(
        f"<tr><td>{at}</td>{''.join(f'<td>{_figure(value)}</td>' for value in row)}</tr>"
        for at, *row in zip(steps_from_1, steps["torch"], steps["jax"], differences, steps["parameters"], strict=True)
    )
    note = html.escape(check.get("note") or "")
    return (
        f"<h3>{html.escape(name[:1].upper() + name[1:])}</h3><p class='dim'>{note}</p>"
        f'<div class="charts">{losses}{apart}</div>'
        f'<div class="scroll"><table class="steps">{_heads(STEPS)}<tbody>{rows}</tbody></table></div>'
    )


def relative(ours: float | None, theirs: float | None) -> float | None:
    """Return the difference of two losses relative to PyTorch's; None if one is not finite, or PyTorch's is zero."""
    if ours is None or theirs is None or ours == 0:
        return 0.0 if ours == theirs else None
    return abs(theirs - ours) / abs(ours)


def _figure(value: float | None) -> str:
    """Return a figure with all its digits; a small one in three."""
    if value is None or not math.isfinite(value):
        return "-"
    return "0" if value == 0 else f"{value:.2e}" if abs(value) < 1e-6 else f"{value:.16g}"
