"""Clips: many frames of which some values stay in memory until all are there."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import mlx.core as mx

from lucid_mlx import backends
from lucid_mlx.errors import InputError

Frame = TypeVar("Frame")


def computed_in_turn(function: Callable[[Frame], list[mx.array]], frames: Iterable[Frame]) -> list[mx.array]:
    """Apply a function to one frame after the other, so that what it needs in between is there for one frame alone.

    Inside of `mx.compile`, where nothing can be computed ahead, the results stay lazy.

    Args:
        function: from a frame to arrays of the shapes (1, ...).
        frames: what to call it with.

    Returns:
        Its results for all frames, each joined along the first axis.
    """
    results = []
    for frame in frames:
        results.append(function(frame))
        try:
            mx.eval(results[-1])
        except ValueError as error:
            if "transformations" not in str(error):
                raise
    return [mx.concatenate(list(arrays)) for arrays in zip(*results, strict=True)]


def frames_that_fit(frame_bytes: int) -> int:
    """Return how many frames of a clip fit into memory, if each of them takes so many bytes."""
    return backends.memory_size() // frame_bytes


def check_clip(frames: int, frame_bytes: int, height: int, width: int) -> None:
    """Check that a clip fits into memory, before anything is computed.

    Args:
        frames: of all clips together.
        frame_bytes: what is in memory of each frame at the most.
        height: of a frame, in pixels.
        width: of a frame, in pixels.

    Raises:
        InputError: if it is more than the machine has.
    """
    most = frames_that_fit(frame_bytes)
    if frames > most:
        fewer = (
            f"{most} would fit; give fewer frames, or smaller ones" if most else "not one would fit; give smaller ones"
        )
        raise InputError(
            f"{frames} {'frames' if frames > 1 else 'frame'} of {width}x{height} pixels at once "
            f"{'take' if frames > 1 else 'takes'} about {_gigabytes(frames * frame_bytes)} of memory, and there are "
            f"{_gigabytes(backends.memory_size())}: {fewer}"
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"
