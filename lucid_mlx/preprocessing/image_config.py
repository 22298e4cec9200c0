"""How images are prepared: from a checkpoint's own settings, from the published ones, or at a requested size."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import Range, check_values, field_problems

Size = tuple[int, int]

MAX_SIDE = 8192  # to which an image is resized or padded
MAX_INPUT_PIXELS = MAX_SIDE**2
MAX_LONG_SIDE = 2 * MAX_SIDE  # of an image that is resized by its shorter side: resizing maps takes the square of it

# What a field, or each of a list, may be at least and at most.
RANGES: dict[str, Range] = {
    "size": (1, MAX_SIDE),
    "shortest_edge": (1, MAX_SIDE),
    "longest_edge": (1, 1_000_000),
    "size_divisor": (1, 1024),
    "pad_size": (1, MAX_SIDE),
    "resample": (0, max(Image.Resampling)),
    "mean": (-1_000_000, 1_000_000),
    "std": (1e-6, 1_000_000),
    "rescale_factor": (-1_000_000, 1_000_000),
}


@dataclass(frozen=True)
class ImageConfig:
    """How an image is resized, normalized and padded. The defaults are those of the models on the Hugging Face hub.

    Attributes:
        size: (height, width) to which every image is resized, or None to resize by `shortest_edge`.
        shortest_edge: length of the shorter side after resizing; the aspect ratio is kept. If this and `size` are
            None, the image is not resized.
        longest_edge: the longer side is never resized to more than this; None for no limit.
        size_divisor: the sides of the network's input are multiples of this.
        divisor_mode: how they become multiples. "resize" resizes to the next multiple, as transformers does. "pad"
            pads with zeros at the bottom and at the right after normalization, as the original project does; the
            resized sides are then rounded as in detectron2.
        pad_size: (height, width) to which every image is padded in the end, or None.
        resample: one of Pillow's resampling filters.
        mean: mean of the red, green and blue channel; it is subtracted after rescaling.
        std: standard deviation of the red, green and blue channel; the result is divided by it.
        rescale_factor: factor for the 8-bit values.

    Raises:
        InputError: if a value has the wrong type or is out of range.
    """

    size: Size | None = (384, 384)
    shortest_edge: int | None = None
    longest_edge: int | None = None
    size_divisor: int = 32
    divisor_mode: Literal["resize", "pad"] = "resize"
    pad_size: Size | None = None
    resample: int = Image.Resampling.BILINEAR
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    rescale_factor: float = 1 / 255

    def __post_init__(self) -> None:
        if problems := field_problems(self, RANGES):
            raise InputError(f"the image configuration's {problems[0]}")
        for name, length in (("size", 2), ("pad_size", 2), ("mean", 3), ("std", 3)):
            value = getattr(self, name)
            if value is not None and len(value) != length:
                raise InputError(f"the image configuration's {name} must have {length} numbers, got {shown(value)}")

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "ImageConfig":
        """Read the contents of a `preprocessor_config.json`.

        Missing values get the defaults of transformers' Mask2FormerImageProcessor.

        Args:
            raw: the parsed JSON, written by any version of transformers or by `to_dict`.

        Returns:
            The image configuration.

        Raises:
            InputError: if a value has the wrong type or is out of range.
        """
        if not isinstance(raw, Mapping):
            raise InputError(f"the image configuration must be a dictionary, got {shown(raw)}")
        switches = ("do_resize", "do_rescale", "do_normalize")
        check_values(*((f"the image configuration's {name}", raw.get(name), bool | None) for name in switches))
        values: dict[str, Any] = {"size": None}
        if raw.get("do_resize", True):
            values |= _sizes(raw)
            values["resample"] = raw.get("resample", cls.resample)
        if "pad_size_divisor" in raw:  # our own key for the original project's padding; transformers ignores it
            values |= {"divisor_mode": "pad", "size_divisor": _size_divisor(raw, "pad_size_divisor")}
        else:
            values["size_divisor"] = _size_divisor(raw, "size_divisor", "size_divisibility")
        if raw.get("pad_size") is not None:
            values["pad_size"] = _height_and_width("pad_size", raw["pad_size"])
        if raw.get("do_rescale", True):
            values["rescale_factor"] = raw.get("rescale_factor", cls.rescale_factor)
        else:
            values["rescale_factor"] = 1.0
        if raw.get("do_normalize", True):
            values["mean"] = _channels(raw.get("image_mean", cls.mean))
            values["std"] = _channels(raw.get("image_std", cls.std))
        else:
            values |= {"mean": (0.0,) * 3, "std": (1.0,) * 3}
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the data of a `preprocessor_config.json`. Transformers resizes to the divisor in both modes."""
        raw: dict[str, Any] = {"do_resize": True, "size_divisor": self.size_divisor}
        if self.size is not None:
            raw["size"] = {"height": self.size[0], "width": self.size[1]}
        elif self.shortest_edge is not None:
            raw["size"] = {"shortest_edge": self.shortest_edge}
            if self.longest_edge is not None:
                raw["size"]["longest_edge"] = self.longest_edge
        else:
            raw["do_resize"] = False
        if self.divisor_mode == "pad":
            raw["pad_size_divisor"] = self.size_divisor
        if self.pad_size is not None:
            raw["pad_size"] = {"height": self.pad_size[0], "width": self.pad_size[1]}
        return {
            **raw,
            "resample": int(self.resample),
            "do_rescale": True,
            "rescale_factor": self.rescale_factor,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }

    def content_size(self, height: int, width: int) -> Size:
        """Return the size to which an image is resized, before padding.

        Args:
            height: of the image, in pixels.
            width: of the image, in pixels.

        Returns:
            (height, width) after resizing.
        """
        if self.size is not None:
            resized = self.size
        elif self.shortest_edge is None:
            return (height, width)
        else:
            resized_sides = _transformers_sides if self.divisor_mode == "resize" else _detectron2_sides
            short, long = resized_sides(min(height, width), max(height, width), self.shortest_edge, self.longest_edge)
            resized = (short, long) if height <= width else (long, short)
        divisor = self.size_divisor if self.divisor_mode == "resize" else 1
        return (_round_up(resized[0], divisor), _round_up(resized[1], divisor))

    def input_size(self, height: int, width: int) -> Size:
        """Return the size of the network's input: the resized image and its padding.

        Args:
            height: of the image, in pixels.
            width: of the image, in pixels.

        Returns:
            (height, width) of the input.

        Raises:
            InputError: if the resized image is larger than `pad_size`, or than a network can take.
        """
        content = self.content_size(height, width)
        if content[0] * content[1] > MAX_INPUT_PIXELS or max(content) > MAX_LONG_SIDE:
            raise InputError(
                f"an image of {height}x{width} is resized to {content[0]}x{content[1]} (height x width); expected at "
                f"most {MAX_INPUT_PIXELS} pixels, and {MAX_LONG_SIDE} on a side: give a smaller size, such as 1024, or "
                "a limit of the longer side, such as 800/1333"
            )
        if self.pad_size is not None:
            if content[0] > self.pad_size[0] or content[1] > self.pad_size[1]:
                raise InputError(
                    f"an image of {height}x{width} is resized to {content[0]}x{content[1]}, which is more than the "
                    f"image configuration's pad_size of {self.pad_size[0]}x{self.pad_size[1]} (height x width)"
                )
            return self.pad_size
        if self.divisor_mode == "resize":
            return content
        return (_round_up(content[0], self.size_divisor), _round_up(content[1], self.size_divisor))


def parse_size(text: str, image_config: ImageConfig) -> ImageConfig:
    """Return an image configuration with another size.

    Args:
        text: "512", a square; "640x480", width x height; "800/1333", shortest edge and limit of the longest edge.
        image_config: the configuration to change. Everything but its sizes stays.

    Returns:
        A changed copy.

    Raises:
        InputError: if the text has none of these forms.
    """
    check_values(("size", text, str), ("image_config", image_config, ImageConfig))
    match = re.fullmatch(r"(?P<first>[0-9]{1,5})(?:(?P<separator>[xX/])(?P<second>[0-9]{1,5}))?", text.strip())
    first, second = (int(match["first"]), int(match["second"] or match["first"])) if match else (0, 0)
    if match is None or not (first and second):
        raise InputError(
            f"{shown(text)} is no size; expected 512 (a square), 640x480 (width x height), or 800/1333 (shortest edge "
            "and limit of the longest edge)"
        )
    if first > MAX_SIDE or (match["separator"] != "/" and second > MAX_SIDE):
        raise InputError(f"size {text} has a side of {max(first, second)} pixels; expected at most {MAX_SIDE}")
    if match["separator"] != "/":
        return replace(image_config, size=(second, first), shortest_edge=None, longest_edge=None, pad_size=None)
    if first > second:
        raise InputError(
            f"{shown(text)} limits the longest edge to less than the shortest; did you mean {second}/{first}?"
        )
    return replace(image_config, size=None, shortest_edge=first, longest_edge=second, pad_size=None)


# (INPUT.MIN_SIZE_TEST, INPUT.MAX_SIZE_TEST) of the configurations in facebookresearch/Mask2Former. Those for COCO have
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
_VIDEO_SIZES = {
    "resnet_50": (360, 1333),
    "resnet_101": (360, 1333),
    "swin_tiny": (480, 1333),
    "swin_small": (360, 1333),
    "swin_base": (360, 1333),
    "swin_large": (480, 1333),
}
# Of the datasets whose sizes differ from backbone to backbone. YouTube-VIS and OVIS have detectron2's default for the
# longer side.
_TEST_SIZES_BY_BACKBONE = {
    "ade20k_semantic": {
        "resnet_50": (512, 2048),
        "resnet_101": (512, 2048),
        "swin_tiny": (512, 2048),
        "swin_small": (512, 2048),
        "swin_base": (640, 2560),
        "swin_large": (640, 2560),
    },
    "youtube_vis_2019_instance": _VIDEO_SIZES,
    "youtube_vis_2021_instance": _VIDEO_SIZES,
    "ovis_instance": _VIDEO_SIZES,
}


def published_image_config(dataset: str, backbone: str | None) -> ImageConfig | None:
    """Return the image configuration with which the original project measured its published accuracy.

    Args:
        dataset: one of `lucid_mlx.datasets.DATASETS`.
        backbone: a name such as "swin_tiny" or "resnet_50"; None if it is unknown.

    Returns:
        The configuration, or None if nothing was published.
    """
    check_values(("dataset", dataset, str), ("backbone", backbone, str | None))
    sizes = _TEST_SIZES.get(dataset) or _TEST_SIZES_BY_BACKBONE.get(dataset, {}).get(backbone or "")
    if sizes is None:
        return None
    return ImageConfig(size=None, shortest_edge=sizes[0], longest_edge=sizes[1], divisor_mode="pad")


def _round_up(side: int, divisor: int) -> int:
    return max(-(-side // divisor), 1) * divisor


def _transformers_sides(short: int, long: int, shortest: int, longest: int | None) -> Size:
    """Compute what image_transforms.get_size_with_aspect_ratio does; a fitting shorter side is not changed."""
    exact: float = shortest
    if longest is not None and long / short * exact > longest:
        exact = longest * short / long
    rounded = round(exact)
    return (short, long) if short == rounded else (rounded, int(exact * long / short))


def _detectron2_sides(short: int, long: int, shortest: int, longest: int | None) -> Size:
    """Compute what data/transforms/augmentation_impl.ResizeShortestEdge does."""
    sides = (float(shortest), shortest / short * long)
    if longest is not None and sides[1] > longest:
        factor = longest / sides[1]
        sides = (sides[0] * factor, sides[1] * factor)
    return (int(sides[0] + 0.5), int(sides[1] + 0.5))


def _sizes(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Read `size`: a mapping, (height, width), or the shortest edge alone, with `max_size` beside `size`."""
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
            f"the image configuration's size must have height and width, or shortest_edge; got {shown(size, 80)}"
        )
    longest = size.get("longest_edge", limit)
    return {
        "shortest_edge": size["shortest_edge"],
        "longest_edge": longest,
    }


def _height_and_width(name: str, value: Any) -> Size:
    if isinstance(value, list | tuple) and len(value) == 2:
        value = dict(zip(("height", "width"), value, strict=True))
    if not isinstance(value, Mapping) or not {"height", "width"} <= value.keys():
        raise InputError(f"the image configuration's {name} must have height and width, got {shown(value, 80)}")
    return (value["height"], value["width"])


def _size_divisor(raw: Mapping[str, Any], *keys: str) -> int:
    """Read the first of the keys that exists; 0 stands for no divisor."""
    key = next((key for key in keys if key in raw), keys[0])
    value: int = raw.get(key, ImageConfig.size_divisor)
    return 1 if type(value) is int and value == 0 else value


def _channels(value: Any) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,) * 3
