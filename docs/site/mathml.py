"""A renderer of formulas as MathML, which browsers draw without a script: MathJax would be loaded from a network."""

from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml


def _formula(latex: str, *, block: bool) -> str:
    return latex2mathml.tex2mathml(latex, as_block=block)


def inline(translator: Any, node: nodes.Element) -> None:
    """Write a formula within a line."""
    translator.body.append(_formula(node.astext(), block=False))
    raise nodes.SkipNode


def display(translator: Any, node: nodes.Element) -> None:
    """Write a formula of its own line."""
    translator.body.append(f'<div class="formula">{_formula(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
