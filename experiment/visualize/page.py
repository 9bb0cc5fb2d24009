"""The page of an album: index.html, which needs no network and no file but the pictures beside it."""

import html
import struct
from collections.abc import Sequence

import numpy as np

from experiment.runs.pictures import draw as draw_quietly
from experiment.visualize.album import SECTIONS, Findings, Picture, pictures

STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --page: #fff; --code: #f6f8fa; --line: #d0d7de; --dim: #59636e;
  --link: #0550ae }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --page: #0d1117; --code: #161b22; --line: #30363d;
  --dim: #9198a1; --link: #79c0ff } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); margin: 0 auto;
  max-width: 72rem; padding: 1rem 1.5rem }
h1 { font-size: 1.4rem; overflow-wrap: anywhere } h2 { font-size: 1.15rem; margin: 2rem 0 .2rem }
a { color: var(--link) } p { margin: .2rem 0 .6rem } .dim { color: var(--dim) }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem }
figure { margin: 1rem 0 1.4rem } figcaption { margin: 0 0 .4rem; overflow-wrap: anywhere }
.pane { overflow-x: auto; border: 1px solid var(--line); border-radius: .4rem; background: #fff; width: fit-content;
  max-width: 100% }
.pane a { display: block; width: max-content } .pane img { display: block; max-width: none; height: auto }
table { border-collapse: collapse; margin: .5rem 0 } .wide { overflow-x: auto }
td, th { padding: .2rem 1rem .2rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap }
td.n { text-align: right; font-variant-numeric: tabular-nums }
code { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: var(--code);
  padding: .1rem .3rem; border-radius: .3rem }
@media (max-width: 600px) { body { padding: .7rem } }
@media print { figure { break-inside: avoid } .pane img, .pane a { max-width: 100% } nav { display: none } }
"""


def draw(found: Findings, notes: Sequence[str]) -> dict[str, bytes]:
    """Return the files of an album by name: its pictures, and the page; `notes`: see `page`."""
    album = pictures(found)
    files = {picture.file: draw_quietly(picture.draw) for picture in album}
    sizes = [struct.unpack(">II", content[16:24]) for content in files.values()]  # of a PNG
    return {**files, "index.html": page(found, album, sizes, notes).encode("utf-8", "backslashreplace")}


def page(found: Findings, pictures: Sequence[Picture], sizes: Sequence[tuple[int, ...]], notes: Sequence[str]) -> str:
    """Return the page.

    Args:
        found: what is drawn.
        pictures: in order.
        sizes: of the pictures, (width, height) in pixels.
        notes: what is not there, and why; a line each.
    """
    title = html.escape(f"{found.network}: {found.source}")
    parts = dict.fromkeys(SECTIONS, "")
    for picture, size in zip(pictures, sizes, strict=True):
        parts[picture.section] += _figure(picture, size)
    if found.kernels:
        parts["Filters"] += _layers(found)
    given = [section for section, content in parts.items() if content]
    links = "".join(f'<a href="#{section.lower()}">{section}</a>' for section in given)
    body = "".join(
        f'<h2 id="{section.lower()}">{section}</h2><p class="dim">{html.escape(SECTIONS[section])}</p>{parts[section]}'
        for section in given
    )
    more = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>{title}</h1><p>{html.escape(_summary(found))}</p>{more}<nav>{links}</nav><main>{body}</main>"
        "</body></html>\n"
    )


def _summary(found: Findings) -> str:
    true = f", true class {found.true}" if found.true is not None else ""
    return (
        f"Predicted {found.predicted} with a probability of {found.shares.max():.1%}{true}. All values are computed "
        "in float64 and rounded to six digits before they are drawn, so both frameworks draw equal pictures."
    )


def _figure(picture: Picture, size: tuple[int, ...]) -> str:
    file, text = html.escape(picture.file), html.escape(picture.alternative)
    width, height = size
    return (
        f'<figure id="{file.removesuffix(".png")}"><figcaption>{html.escape(picture.caption)}</figcaption>'
        f'<div class="pane" tabindex="0"><a href="{file}"><img src="{file}" alt="{text}" width="{width}" '
        f'height="{height}"></a></div></figure>\n'
    )


def _layers(found: Findings) -> str:
    """Return the table of all layers with weights."""
    rows = "".join(
        f"<tr><td><code>{html.escape(name)}</code></td><td>{kernel.kind}</td>"
        f"<td>{'x'.join(map(str, kernel.values.shape[:-2])) or '-'}</td>"
        f'<td class="n">{kernel.values.shape[-2]:,}</td><td class="n">{kernel.values.shape[-1]:,}</td>'
        f'<td class="n">{kernel.values.size:,}</td><td class="n">{float(np.abs(kernel.values).max()):.3f}</td></tr>'
        for name, kernel in found.kernels.items()
    )
    heads = "".join(
        f"<th>{word}</th>" for word in ("layer", "kind", "kernel", "inputs", "outputs", "weights", "largest magnitude")
    )
    return (
        "<p>All layers with weights; <code>--layer NAME</code> draws those of another.</p>"
        f'<div class="wide"><table><tr>{heads}</tr>{rows}</table></div>'
    )
