"""Check a built site: nothing is loaded from a network, and every link within it leads to a page and an anchor.

python docs/site/check.py build/site
"""

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}  # tag: attribute


class Page(HTMLParser):
    """The links, loaded resources and anchors of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag links to, loads or names."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if target := values.get(LOADED.get(tag, "")):
            self.loaded.append(target)

    def faults(self) -> list[str]:
        """Return a line for each fault."""
        found = [f"{self.path}: loads {url}" for url in self.loaded if urlsplit(url).scheme in ("http", "https")]
        found += [f"{self.path}: loads {url}" for url in self.loaded if url.startswith("//")]
        for link in [*self.links, *self.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (self.path.parent / unquote(parts.path)).resolve() if parts.path else self.path
            if not target.exists():
                found.append(f"{self.path}: no file {link}")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in page(target).anchors:
                found.append(f"{self.path}: no anchor {link}")
        return found


@cache
def page(path: Path) -> Page:
    """Return a page, read once."""
    return Page(path)


def faults(site: Path) -> list[str]:
    """Return a line for each fault of a site; style sheets must not load anything from a network, either."""
    found = [fault for path in sorted(site.resolve().rglob("*.html")) for fault in page(path).faults()]
    for path in sorted(site.rglob("*.css")):
        if any(word in path.read_text(encoding="utf-8") for word in ("url(http", "url(//", "@import")):
            found.append(f"{path}: loads from a network")
    return found


if __name__ == "__main__":
    problems = faults(Path(sys.argv[1]))
    print("\n".join(problems) or f"{sys.argv[1]}: {len(list(Path(sys.argv[1]).rglob('*.html')))} pages, no faults")
    sys.exit(bool(problems))
