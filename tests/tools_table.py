"""The rows of the table in docs/interoperability.md."""

import re
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    tool: str
    call: str
    formats: str
    tested: str
    test: str


def _rows():
    page = (Path(__file__).parents[1] / "docs" / "interoperability.md").read_text(encoding="utf-8")
    for line in re.findall(r"^\|.*\|$", page, re.M)[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        yield Row(*cells[:4], cells[4].strip("`"))


ROWS = tuple(_rows())


def package_versions():
    """The packages of the table and their versions, each once."""
    found = [match.groups() for row in ROWS if (match := re.match(r"([a-z][\w-]+) (\d[\d.]*)", row.tested))]
    return sorted(set(found))
