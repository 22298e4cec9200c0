"""How images are prepared: as a checkpoint says, as was published, or at a size that somebody asks for."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from PIL import Image

from lucid_mlx.errors import InputError

Size = tuple[int, int]


@dataclass(frozen=True)
class ImageConfig:
    """How an image is resized, normalized and padded; the defaults are those of the models on the Hugging Face hub.

    Attributes:
        size: height and width to which every image is resized; None to go by the shortest edge.
        shortest_edge: what the shorter side is resized to, the longer one in proportion. If this and `size` are None,
            the image keeps its size.
        longest_edge: the most that the longer side may become; None for no limit.
        divisor: the sides become multiples of it.
        divide: how. "resize": to the next multiple, as transformers does. "pad": with zeros at the bottom and the
            right after normalization, as the original project does; then sides are rounded as detectron2 rounds them.
        pad_size: height and width to which every image is padded in the end, if not None.
        resample: one of Pillow's filters.
        mean, std: of red, green and blue, taken off and divided by after scaling.
        scale: what 8-bit values are multiplied with.
    """

    size: Size | None = (384, 384)
    shortest_edge: int | None = None
    longest_edge: int | None = None
    divisor: int = 32
    divide: Literal["resize", "pad"] = "resize"
    pad_size: Size | None = None
    resample: int = Image.Resampling.BILINEAR
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    scale: float = 1 / 255

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "ImageConfig":
        """Read the contents of a `preprocessor_config.json`, as transformers of any age wrote it, or `to_dict`.

        What it leaves out is as transformers' Mask2FormerImageProcessor has it.

        Raises:
            InputError: for values that are no sizes, no colors, or none of the known forms.
        """
        values: dict[str, Any] = {"size": None}
        if raw.get("do_resize", True):
            values |= _sizes(raw)
            values["resample"] = _whole("resample", raw.get("resample", cls.resample), least=0)
            if values["resample"] > max(Image.Resampling):
                raise InputError(
                    f"the image configuration's resample must be one of Pillow's filters, got {raw['resample']!r}"
                )
        if "pad_size_divisor" in raw:  # our mark of the original project's way; transformers passes over it
            values |= {"divide": "pad", "divisor": _divisor(raw, "pad_size_divisor")}
        else:
            values["divisor"] = _divisor(raw, "size_divisor", "size_divisibility")
        if raw.get("pad_size") is not None:
            values["pad_size"] = _height_and_width("pad_size", raw["pad_size"])
        if raw.get("do_rescale", True):
            values["scale"] = _number("rescale_factor", raw.get("rescale_factor", cls.scale))
        else:
            values["scale"] = 1.0
        if raw.get("do_normalize", True):
            values["mean"] = _color("image_mean", raw.get("image_mean", cls.mean))
            values["std"] = _color("image_std", raw.get("image_std", cls.std))
            if min(values["std"]) <= 0.0:
                raise InputError(f"the image configuration's image_std must be above 0, got {raw['image_std']!r}")
        else:
            values |= {"mean": (0.0,) * 3, "std": (1.0,) * 3}
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads, and transformers too; it resizes where "pad" would pad."""
        raw: dict[str, Any] = {"do_resize": True, "size_divisor": self.divisor}
        if self.size is not None:
            raw["size"] = {"height": self.size[0], "width": self.size[1]}
        elif self.shortest_edge is not None:
            raw["size"] = {"shortest_edge": self.shortest_edge}
            if self.longest_edge is not None:
                raw["size"]["longest_edge"] = self.longest_edge
        else:
            raw["do_resize"] = False
        if self.divide == "pad":
            raw["pad_size_divisor"] = self.divisor
        if self.pad_size is not None:
            raw["pad_size"] = {"height": self.pad_size[0], "width": self.pad_size[1]}
        return {
            **raw,
            "resample": int(self.resample),
            "do_rescale": True,
            "rescale_factor": self.scale,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }

    def content_size(self, height: int, width: int) -> Size:
        """Return the height and width to which an image of this size is resized."""
        if self.size is not None:
            new = self.size
        elif self.shortest_edge is None:
            return (height, width)
        else:
            rounded = _as_transformers if self.divide == "resize" else _as_detectron2
            short, long = rounded(min(height, width), max(height, width), self.shortest_edge, self.longest_edge)
            new = (short, long) if height <= width else (long, short)
        step = self.divisor if self.divide == "resize" else 1
        return (_up(new[0], step), _up(new[1], step))

    def input_size(self, height: int, width: int) -> Size:
        """Return the height and width of the network's input: the resized image, and what is padded.

        Raises:
            InputError: if the resized image is larger than `pad_size`.
        """
        content = self.content_size(height, width)
        if self.pad_size is not None:
            if content[0] > self.pad_size[0] or content[1] > self.pad_size[1]:
                raise InputError(
                    f"an image of {height}x{width} is resized to {content[0]}x{content[1]}, which is more than the "
                    f"image configuration's pad_size of {self.pad_size[0]}x{self.pad_size[1]} (height x width)"
                )
            return self.pad_size
        return (_up(content[0], self.divisor), _up(content[1], self.divisor)) if self.divide == "pad" else content


def parse_size(text: str, image_config: ImageConfig) -> ImageConfig:
    """Return a image configuration that differs in its size alone.

    Args:
        text: "512", a square; "640x480", width and height; "800/1333", the shortest side and the longest one's limit.
        image_config: the one to change; whether it pads or resizes to its divisor stays.

    Raises:
        InputError: if the text is none of these.
    """
    match = re.fullmatch(r"(?P<first>[0-9]{1,5})(?:(?P<sign>[xX/])(?P<second>[0-9]{1,5}))?", text.strip())
    first, second = (int(match["first"]), int(match["second"] or match["first"])) if match else (0, 0)
    if match is None or not (first and second):
        raise InputError(
            f"{text!r} is no size; expected 512 (a square), 640x480 (width x height), or 800/1333 (the shortest side "
            "and the most that the longest may be)"
        )
    if match["sign"] != "/":
        return replace(image_config, size=(second, first), shortest_edge=None, longest_edge=None, pad_size=None)
    if first > second:
        raise InputError(f"{text!r} allows the longest side less than the shortest; did you mean {second}/{first}?")
    return replace(image_config, size=None, shortest_edge=first, longest_edge=second, pad_size=None)


# INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST in the configurations of facebookresearch/Mask2Former; those of COCO have
# detectron2's defaults.
_TEST_SIZES = {
    "coco_panoptic": (800, 1333),
    "coco_instance": (800, 1333),
    "ade20k_panoptic": (640, 2560),
    "ade20k_instance": (640, 2560),
    "cityscapes_semantic": (1024, 2048),
    "cityscapes_panoptic": (1024, 2048),
    "cityscapes_instance": (1024, 2048),
    "mapillary_vistas_semantic": (2048, 2048),
    "mapillary_vistas_panoptic": (2048, 2048),
}
_TEST_SIZES_OF_ADE20K_SEMANTIC = {
    "resnet_50": (512, 2048),
    "resnet_101": (512, 2048),
    "swin_tiny": (512, 2048),
    "swin_small": (512, 2048),
    "swin_base": (640, 2560),
    "swin_large": (640, 2560),
}


def published_image_config(dataset: str, backbone: str | None) -> ImageConfig | None:
    """Return the image configuration with which the original project measured the accuracy that it published.

    Args:
        dataset: one of `lucid_mlx.datasets.DATASETS`.
        backbone: such as "swin_tiny" or "resnet_50"; None if it is not known.

    Returns:
        None where nothing was published.
    """
    by_backbone = dataset == "ade20k_semantic"
    sizes = _TEST_SIZES_OF_ADE20K_SEMANTIC.get(backbone or "") if by_backbone else _TEST_SIZES.get(dataset)
    return (
        None if sizes is None else ImageConfig(size=None, shortest_edge=sizes[0], longest_edge=sizes[1], divide="pad")
    )


def _up(side: int, step: int) -> int:
    return max(-(-side // step), 1) * step


def _as_transformers(short: int, long: int, shortest: int, longest: int | None) -> Size:
    """Round as image_transforms.get_size_with_aspect_ratio: an image whose shorter side fits already stays as it is."""
    exact: float = shortest
    if longest is not None and long / short * exact > longest:
        exact = longest * short / long
    rounded = round(exact)
    return (short, long) if short == rounded else (rounded, int(exact * long / short))


def _as_detectron2(short: int, long: int, shortest: int, longest: int | None) -> Size:
    """Round as data/transforms/augmentation_impl.ResizeShortestEdge."""
    sides = (float(shortest), shortest / short * long)
    if longest is not None and sides[1] > longest:
        limit = longest / sides[1]
        sides = (sides[0] * limit, sides[1] * limit)
    return (int(sides[0] + 0.5), int(sides[1] + 0.5))


def _sizes(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Read `size`: a mapping, (height, width), or the shortest edge alone, which has `max_size` beside it."""
    size = raw.get("size")
    if isinstance(size, list | tuple):
        return {"size": _height_and_width("size", size)}
    limit = raw.get("max_size", raw.get("_max_size"))
    if not isinstance(size, Mapping):
        size = {"shortest_edge": 800 if size is None else size, "longest_edge": 1333 if limit is None else limit}
    if {"height", "width"} <= size.keys():
        return {"size": _height_and_width("size", size)}
    if "shortest_edge" not in size:
        raise InputError(
            f"the image configuration's size must have height and width, or shortest_edge; got {size!r:.80}"
        )
    longest = size.get("longest_edge", limit)
    return {
        "shortest_edge": _whole("shortest_edge", size["shortest_edge"]),
        "longest_edge": None if longest is None else _whole("longest_edge", longest),
    }


def _height_and_width(name: str, value: Any) -> Size:
    if isinstance(value, list | tuple) and len(value) == 2:
        value = dict(zip(("height", "width"), value, strict=True))
    if not isinstance(value, Mapping) or not {"height", "width"} <= value.keys():
        raise InputError(f"the image configuration's {name} must have height and width, got {value!r:.80}")
    return (_whole("height", value["height"]), _whole("width", value["width"]))


def _divisor(raw: Mapping[str, Any], *names: str) -> int:
    """Read the first of the names that is there; 0 means that any size will do."""
    name = next((name for name in names if name in raw), names[0])
    return _whole(name, raw.get(name, ImageConfig.divisor), least=0) or 1


def _whole(name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(
            f"the image configuration's {name} must be a whole number of at least {least}, got {value!r:.40}"
        )
    return int(value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"the image configuration's {name} must be a number, got {value!r:.40}")
    return float(value)


def _color(name: str, value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, list | tuple) else [value] * 3
    if len(values) != 3:
        raise InputError(f"the image configuration's {name} must be one number or three, got {value!r:.40}")
    return tuple(_number(name, part) for part in values)
