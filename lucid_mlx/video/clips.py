"""Whole clips: how many frames go through the network at once."""

from lucid_mlx.models import Mask2Former
from lucid_mlx.models.vision.mask2former.clip_size import values_per_frame
from lucid_mlx.ops import frames_that_fit


def most_frames(model: Mask2Former, height: int, width: int) -> int:
    """Return how many frames `Mask2Former.forward_clip` takes at once before memory is short.

    Args:
        model: the network.
        height: of its input, in pixels.
        width: of its input, in pixels.

    Returns:
        The number of frames, 0 if not even one fits.
    """
    return frames_that_fit(values_per_frame(model.config, height, width) * model.dtype.size)
