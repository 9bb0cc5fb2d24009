"""What the README says of the networks is what the registries hold; a new network need not be in its table."""

import re
from pathlib import Path

import pytest

import torchnets

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
ROWS = [
    line for line in README.splitlines() if re.match(r"\| \W?\w+\W? \| [\dx]+ \||\| \W?\w+\W? \| any length", line)
]


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
