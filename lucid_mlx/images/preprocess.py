"""From pixels to what the network reads, by a checkpoint's own recipe."""

import math
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

    Either `size` (height, width) is set, or `shortest_edge`, which `longest_edge` may limit; if neither is, the image
    keeps its size. Sides are then rounded up to a multiple of `divisor`, by resizing.
    """

    size: Size | None = (384, 384)
    shortest_edge: int | None = None
    longest_edge: int | None = None
    divisor: int = 32
    resample: int = Image.Resampling.BILINEAR
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    scale: float = 1 / 255

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Recipe":
        """Read the contents of a Hugging Face `preprocessor_config.json`; what it leaves out has the defaults.

        Raises:
            InputError: for values that are no sizes, no colours, or none of the known forms.
        """
        values: dict[str, Any] = {}
        if not raw.get("do_resize", True):
            values |= {"size": None, "divisor": 1}
        else:
            values |= _sizes(raw)
            values["divisor"] = _whole("size_divisor", raw.get("size_divisor", cls.divisor), least=0) or 1
            values["resample"] = _whole("resample", raw.get("resample", cls.resample), least=0)
            if values["resample"] > max(Image.Resampling):
                raise InputError(f"the recipe's resample must be one of Pillow's filters, got {raw['resample']!r}")
        values["scale"] = _number("rescale_factor", raw.get("rescale_factor", cls.scale))
        values["mean"] = _colour("image_mean", raw.get("image_mean", cls.mean))
        values["std"] = _colour("image_std", raw.get("image_std", cls.std))
        if not raw.get("do_rescale", True):
            values["scale"] = 1.0
        if not raw.get("do_normalize", True):
            values |= {"mean": (0.0,) * 3, "std": (1.0,) * 3}
        if min(values["std"]) <= 0.0:
            raise InputError(f"the recipe's image_std must be above 0, got {raw['image_std']!r}")
        return cls(**values)

    def output_size(self, height: int, width: int) -> Size:
        """Return the height and width to which an image of this size is resized (transformers' rules)."""
        if self.size is not None:
            new = self.size
        elif self.shortest_edge is None:
            new = (height, width)
        else:
            short, long = min(height, width), max(height, width)
            exact: float = self.shortest_edge
            if self.longest_edge is not None and long / short * exact > self.longest_edge:
                exact = self.longest_edge * short / long
            sides = (round(exact), int(exact * long / short))
            if short == sides[0]:
                sides = (short, long)
            new = sides if height <= width else (sides[1], sides[0])
        return (self._round(new[0]), self._round(new[1]))

    def _round(self, side: int) -> int:
        return max(-(-side // self.divisor), 1) * self.divisor


def _sizes(raw: Mapping[str, Any]) -> dict[str, Any]:
    size = raw.get("size")
    if size is None:
        return {}
    if not isinstance(size, Mapping):
        size = {"shortest_edge": size, "longest_edge": raw.get("max_size", raw.get("_max_size"))}
    if {"height", "width"} <= size.keys():
        return {"size": (_whole("height", size["height"]), _whole("width", size["width"]))}
    if "shortest_edge" not in size:
        raise InputError(f"the recipe's size must have height and width, or shortest_edge; got {size!r:.80}")
    longest = size.get("longest_edge", raw.get("max_size"))
    return {
        "size": None,
        "shortest_edge": _whole("shortest_edge", size["shortest_edge"]),
        "longest_edge": None if longest is None else _whole("longest_edge", longest),
    }


def _whole(name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"the recipe's {name} must be a whole number of at least {least}, got {value!r:.40}")
    return int(value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"the recipe's {name} must be a number, got {value!r:.40}")
    return float(value)


def _colour(name: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise InputError(f"the recipe's {name} must be three numbers, got {value!r:.40}")
    return tuple(_number(name, part) for part in value)


def preprocess(image: np.ndarray, recipe: Recipe) -> mx.array:
    """Resize and normalise an image.

    Args:
        image: (H, W, 3) uint8, RGB.
        recipe: how.

    Returns:
        (1, height, width, 3) float32.
    """
    height, width = recipe.output_size(*image.shape[:2])
    resized = Image.fromarray(image).resize((width, height), Image.Resampling(recipe.resample))
    pixels = mx.array(np.asarray(resized)).astype(mx.float32) * recipe.scale
    return ((pixels - mx.array(recipe.mean)) / mx.array(recipe.std))[None]
