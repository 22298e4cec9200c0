"""Segments as a table: CSV, and pandas."""

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lucid_mlx.results.segment import Segment
from lucid_mlx.utils.optional_dependency import require

if TYPE_CHECKING:
    import pandas

COLUMNS = ("image", "id", "label_id", "label", "score", "area", "left", "top", "right", "bottom")


def rows(segments: Sequence[Segment], name: str | None) -> list[tuple[Any, ...]]:
    """Return a row of `COLUMNS` for each segment.

    Args:
        segments: the segments.
        name: of the photo, if it has one.

    Returns:
        The rows.
    """
    return [(name, one.id, one.label_id, one.label, one.score, one.area, *one.box) for one in segments]


def to_csv(segments: Sequence[Segment], name: str | None, header: bool = True) -> str:
    """Return segments as comma-separated values.

    Args:
        segments: the segments.
        name: of the photo, if it has one.
        header: begin with the names of the columns.

    Returns:
        The text, a line for each segment; a value that is missing is empty.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    writer.writerows(rows(segments, name))
    return text.getvalue()


def to_pandas(segments: Sequence[Segment], name: str | None) -> "pandas.DataFrame":
    """Return segments as a DataFrame.

    Args:
        segments: the segments.
        name: of the photo, if it has one.

    Returns:
        A row for each segment; a score that is missing is NaN.

    Raises:
        InputError: if pandas is not installed.
    """
    require("pandas", "exports")
    import pandas

    numbers = {column: "int64" for column in COLUMNS if column not in ("image", "label", "score")}
    frame = pandas.DataFrame(rows(segments, name), columns=list(COLUMNS))
    return frame.astype({**numbers, "score": "float64"})
