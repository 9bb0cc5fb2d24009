"""The planted bugs: tables of Markdown in benchmarks/results, read row by row."""

import re
from pathlib import Path

from parity.overview.sources import RESULTS, Figures, shown

FILES = ("planted-bugs.md", "planted-ports.md", "planted-trainings.md")
CELLS = re.compile(r"(?<!\\)\|")
STRONG = re.compile(r"\*\*(\w[^*]*)\*\*")
RULE = re.compile(r"^\|[\s|:-]+\|$")


def read_planted() -> tuple[list[Figures], list[str]]:
    """Return the tables that are there, and a line for each that is not."""
    paths = [RESULTS / name for name in FILES]
    tables = [read_table(path) for path in paths if path.is_file()]
    missing = [shown(path) for path in paths if not path.is_file()]
    return tables, [f"planted bugs: no {', '.join(missing)} here"] if missing else []


def read_table(path: Path) -> Figures:
    """Return the title, the paragraphs and the rows of a page with one table."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    table = [line for line in lines if line.startswith("|")]
    head, *rows = [_cells(line) for line in table if not RULE.match(line)]
    rest = "\n".join(line for line in lines if not line.startswith(("|", "#")))
    about = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", rest) if paragraph.strip()]
    title = next(line.lstrip("# ") for line in lines if line.startswith("#"))
    return {"source": {"file": shown(path)}, "title": title, "about": about, "columns": head, "rows": rows}


def _cells(line: str) -> list[str]:
    return [STRONG.sub(r"\1", cell.strip().replace(r"\|", "|")) for cell in CELLS.split(line)[1:-1]]
