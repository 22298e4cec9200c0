"""How far a video is: a bar in a terminal or a notebook, lines elsewhere."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

from lucid_mlx.utils.pace import Pace
from lucid_mlx.utils.text import echo, hide_bar

T = TypeVar("T")


def told(frames: Iterable[T], total: int | None, name: str) -> Iterator[T]:
    """Iterate over a video's frames, and tell how many are done, how many a second, and how much time is left.

    Args:
        frames: to iterate over.
        total: how many there are, as far as is known.
        name: of the video.

    Yields:
        The frames.
    """
    disable = hide_bar(True)
    if sys.stderr.isatty() or disable is False:
        yield from tqdm(frames, total=total, unit="frame", disable=disable)
        return
    pace = Pace(total or sys.maxsize, 0, 1)
    for number, frame in enumerate(frames, 1):
        yield frame
        if total and number > total:  # it was an estimate
            total, pace = None, Pace(sys.maxsize, number - 1, 1)
        pace.finish_step()
        if pace.line_is_due():
            left = pace.time_left() if total else ""
            of = f" of {total}" if total else ""
            line = f"{name}: frame {number}{of}, {pace.images_per_second():.1f} frames/s"
            echo(f"{line}, {left} left" if left and number < (total or 0) else line, err=True)
