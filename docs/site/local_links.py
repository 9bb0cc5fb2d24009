"""Links to a file of the repository lead to a page of the site that shows the file, with its lines numbered."""

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import find_lexer_class_for_filename, get_lexer_for_filename
from sphinx import addnodes

LARGEST = 200_000  # bytes of a page; longer files are copied as they are


def lead_to_pages(app: Any, doctree: nodes.document) -> None:
    """Replace links to files that are no documents by links to pages that show them."""
    for node in [*doctree.findall(addnodes.download_reference), *doctree.findall(addnodes.pending_xref)]:
        path = _file(app, node)
        # Pictures have no lexer: they are copied, too.
        text = find_lexer_class_for_filename(path) is not None
        if text and (Path(app.srcdir) / path).stat().st_size <= LARGEST:
            _shown(app.env).setdefault(app.env.docname, set()).add(path)
            link = nodes.reference("", "", *node.children, internal=True, refuri="")
            link["file"] = path
            node.replace_self(link)


def _file(app: Any, node: nodes.Element) -> str:
    """Return the file that a node links to, or nothing: MyST makes it a download, or, of a program, a document."""
    if isinstance(node, addnodes.download_reference):
        return app.env.relfn2path(node["reftarget"], app.env.docname)[0]
    path = f"{node['reftarget']}.py"
    program = node.get("refdomain") == "doc" and node["reftarget"] not in app.env.found_docs
    return path if program and (Path(app.srcdir) / path).is_file() else ""


def _shown(env: Any) -> dict[str, set[str]]:
    """Return the files that each document links to."""
    return env.__dict__.setdefault("jaxnets_shown", {})


def resolve(app: Any, doctree: nodes.document, docname: str) -> None:
    """Give each link to a file the address of its page, relative to the page that it is on."""
    for node in doctree.findall(nodes.reference):
        if "file" in node:
            node["refuri"] = app.builder.get_relative_uri(docname, _page(node["file"]))


def pages(app: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for each file that is linked to."""
    for path in sorted({path for paths in _shown(app.env).values() for path in paths}):
        text = (Path(app.srcdir) / path).read_text(encoding="utf-8", errors="replace")
        formatter = HtmlFormatter(linenos="inline", lineanchors="line", anchorlinenos=True, wrapcode=True)
        body = highlight(text, get_lexer_for_filename(path), formatter)
        title = f'<h1 class="file">{html.escape(path)}</h1>'
        yield _page(path), {"title": html.escape(path), "body": title + body}, "page.html"


def _page(path: str) -> str:
    return f"files/{path}"


def forget(_app: Any, env: Any, docname: str) -> None:
    """Forget the files that a page linked to, before it is read again."""
    _shown(env).pop(docname, None)


def merge(_app: Any, env: Any, docnames: Any, other: Any) -> None:
    """Add what another process has read."""
    _shown(env).update({name: files for name, files in _shown(other).items() if name in docnames})


def setup(app: Any) -> dict[str, bool]:
    """Register the steps."""
    app.connect("doctree-read", lead_to_pages, priority=100)  # before Sphinx copies downloads
    app.connect("doctree-resolved", resolve)
    app.connect("html-collect-pages", pages)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
