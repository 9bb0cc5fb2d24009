"""The skeleton of a page."""

import html

from parity.pages.style import STYLE


def page(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """Return a whole page; it needs no network and no other file.

    Args:
        title: of the window, as plain text.
        body: HTML.
        style: what the page adds to the style sheet that all pages share.
        script: JavaScript, run at the end.
    """
    end = f"<script>{script}</script>" if script else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<style>{STYLE}{style}</style></head>\n<body>{body}{end}</body></html>\n"
    )
