"""What notebooks show of an object: a small picture and a table, in HTML."""

import base64
import html
from collections.abc import Sequence
from typing import Any

from PIL import Image

from lucid_mlx.results.segment import Segment
from lucid_mlx.utils.files import encode_image
from lucid_mlx.utils.text import printable

MAX_ROWS = 20
MAX_SIDE = 800  # of the picture, in pixels


def segments_html(title: str, picture: Image.Image, segments: Sequence[Segment], pixels: int) -> str:
    """Return a result as HTML.

    Args:
        title: a line above.
        picture: of the segments; it is made smaller in place.
        segments: the rows of the table.
        pixels: of the photo, for the segments' fractions of it.

    Returns:
        The HTML.
    """
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    data = base64.b64encode(encode_image(picture, "PNG")).decode()
    rows = [
        (one.id, one.label, "" if one.score is None else f"{one.score:.2f}", f"{one.area / pixels:.1%}", one.box)
        for one in segments[:MAX_ROWS]
    ]
    more = f"<p>and {len(segments) - MAX_ROWS} more</p>" if len(segments) > MAX_ROWS else ""
    head = ("id", "label", "score", "of the photo", "box (left, top, right, bottom)")
    return (
        f"<p>{_escaped(title)}</p>"
        f'<img alt="{_escaped(title)}" src="data:image/png;base64,{data}">'
        f"{table(rows, head) if rows else ''}{more}"
    )


def table(rows: Sequence[Sequence[Any]], head: Sequence[str] = ()) -> str:
    """Return a table as HTML.

    Args:
        rows: its rows.
        head: names of the columns; none if empty.

    Returns:
        The HTML, in which values are text.
    """
    top = f"<thead><tr>{''.join(f'<th>{_escaped(name)}</th>' for name in head)}</tr></thead>" if head else ""
    body = "".join(f"<tr>{''.join(f'<td>{_escaped(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table>{top}<tbody>{body}</tbody></table>"


def _escaped(value: Any) -> str:
    return html.escape(printable(str(value)))
