"""From pixels to what the network reads, by a checkpoint's own recipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from PIL import Image

from lucid_mlx.errors import InputError

Size = tuple[int, int]


@dataclass(frozen=True)
class Recipe:
    """How an image is resized and normalised; the defaults are those of the published checkpoints.

    Either `size` (height, width) or `shortest_edge` with `longest_edge` is set. Sides are rounded up to a
    multiple of `divisor`, by resizing.
    """

    size: Size | None = (384, 384)
    shortest_edge: int | None = None
    longest_edge: int | None = None
    divisor: int = 32
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    scale: float = 1 / 255

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Recipe":
        """Read the contents of a Hugging Face `preprocessor_config.json`; an empty one means the defaults.

        Raises:
            InputError: if the size is none of the known forms.
        """
        recipe = cls(
            divisor=int(raw.get("size_divisor", 32)) or 1,
            mean=tuple(raw.get("image_mean", cls.mean)),
            std=tuple(raw.get("image_std", cls.std)),
            scale=float(raw.get("rescale_factor", cls.scale)),
        )
        size = raw.get("size")
        if size is None:
            return recipe
        if isinstance(size, int):
            size = {"shortest_edge": size, "longest_edge": raw.get("max_size", raw.get("_max_size"))}
        if not isinstance(size, Mapping) or not ({"height", "width"} <= size.keys() or "shortest_edge" in size):
            raise InputError(f"the recipe's size must have height and width, or shortest_edge; got {size!r}")
        values = {**recipe.__dict__}
        if "shortest_edge" in size:
            values |= {
                "size": None,
                "shortest_edge": size["shortest_edge"],
                "longest_edge": size.get("longest_edge"),
            }
        else:
            values["size"] = (int(size["height"]), int(size["width"]))
        return cls(**values)

    def output_size(self, height: int, width: int) -> Size:
        """Return the height and width to which an image of this size is resized."""
        if self.size is not None:
            new = self.size
        else:
            assert self.shortest_edge is not None
            short, long = min(height, width), max(height, width)
            new_short, new_long = self.shortest_edge, int(self.shortest_edge * long / short)
            if self.longest_edge is not None and new_long > self.longest_edge:
                new_short, new_long = int(self.longest_edge * new_short / new_long), self.longest_edge
            new = (new_short, new_long) if height <= width else (new_long, new_short)
        return (self._round(new[0]), self._round(new[1]))

    def _round(self, side: int) -> int:
        return max(-(-side // self.divisor), 1) * self.divisor


def preprocess(image: np.ndarray, recipe: Recipe) -> mx.array:
    """Resize and normalise an image.

    Args:
        image: (H, W, 3) uint8, RGB.
        recipe: how.

    Returns:
        (1, height, width, 3) float32.
    """
    height, width = recipe.output_size(*image.shape[:2])
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    pixels = mx.array(np.asarray(resized)).astype(mx.float32) * recipe.scale
    return ((pixels - mx.array(recipe.mean)) / mx.array(recipe.std))[None]
