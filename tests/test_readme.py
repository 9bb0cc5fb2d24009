"""The table of networks in docs/networks.md agrees with the registries; a new network need not be in it."""

import re
from pathlib import Path

import pytest

import torchnets

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "networks.md").read_text()
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| \W?\w+\W? \| [\dx]+ \||\| \W?\w+\W? \| any length", line)]


def test_the_table_is_found():
    assert len(ROWS) > 25


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_table_is_true(row):
    found = re.fullmatch(r"\| `(\w+)` \| (.+?) \| ([\d,]+)(?: and ([\d,]+) frozen)? \| .+ \|", row)
    assert found, row
    entry = torchnets.MODELS[found[1]]
    shape = entry.input_shape
    assert found[2] == (f"any length x{shape[1]}" if len(shape) == 2 else "x".join(map(str, shape)))
    assert int(found[3].replace(",", "")) == entry.num_params
    assert int((found[4] or "0").replace(",", "")) == entry.num_frozen
