"""lucid 3's registered weights: four files of `lucid-dl` on the Hugging Face hub, with their digests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import ImageConfig, preprocess, read_image
from lucid_mlx.utils.text import shown
from lucid_mlx.weights import registry
from lucid_mlx.weights.registry import ZOO_LICENSE


@dataclass(frozen=True)
class Segmentation:
    """How lucid 3 prepares images for its Mask2Former.

    Attributes:
        crop_size: side of the network's input.
        resize_size: side to which images are resized.
        mean: of each channel.
        std: of each channel.
    """

    crop_size: int = 384
    resize_size: int = 384
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __call__(self, image: Any) -> mx.array:
        """Resize an image to a square, and normalize it.

        Args:
            image: (3, H, W), an array of MLX or NumPy, uint8 or floats from 0 to 1; or what `read_image` takes.

        Returns:
            (3, crop_size, crop_size) float32.

        Raises:
            InputError: if it is no image.
        """
        if isinstance(image, mx.array) or (isinstance(image, np.ndarray) and image.shape[:1] == (3,)):
            array = np.array(image)
            if array.ndim != 3 or len(array) != 3:
                raise InputError(f"an image must have the shape (3, height, width), got {array.shape}")
            image = np.ascontiguousarray(array.transpose(1, 2, 0))
        side = (self.crop_size, self.crop_size)
        config = ImageConfig(size=side, size_divisor=1, mean=self.mean, std=self.std)
        return preprocess(read_image(image), config).pixels[0].transpose(2, 0, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings in lucid's form."""
        arguments = {"crop_size": self.crop_size, "resize_size": self.resize_size}
        return {
            "preprocessor_type": "Segmentation",
            "init_kwargs": {**arguments, "mean": list(self.mean), "std": list(self.std)},
        }


@dataclass(frozen=True)
class WeightEntry:
    """A registered file, with lucid 3's fields.

    Attributes:
        url: its address.
        sha256: its digest; checked when the file is used.
        num_classes: of its class head.
        transforms: how images are prepared for it.
        meta: `tag`, `source`, `license`, `num_params` and `metrics`, as lucid has them.
    """

    url: str
    sha256: str
    num_classes: int
    transforms: Segmentation
    meta: Mapping[str, Any] = field(default_factory=dict)

    def to_registry(self, model: str) -> registry.WeightEntry:
        """Return the entry in the form that `lucid_mlx.load` takes, with the license of the weights' source.

        Args:
            model: the network, such as "mask2former_swin_tiny".

        Returns:
            The entry.
        """
        meta = {"model": model, "parameters": self.meta["num_params"], "license": ZOO_LICENSE}
        return registry.WeightEntry(self.url, self.sha256, self.meta["tag"], "ade20k_semantic", meta)


class WeightsEnum(Enum):
    """The weights of one network."""

    @property
    def entry(self) -> WeightEntry:
        """The entry."""
        value: WeightEntry = self.value
        return value

    @property
    def tag(self) -> str:
        """The name of the member."""
        return self.name

    @property
    def url(self) -> str:
        """Address of the file."""
        return self.entry.url

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return self.entry.sha256

    @property
    def num_classes(self) -> int:
        """Number of classes of its head."""
        return self.entry.num_classes

    @property
    def meta(self) -> Mapping[str, Any]:
        """What is known about it."""
        return self.entry.meta

    def transforms(self) -> Segmentation:
        """Return what prepares images for it."""
        return self.entry.transforms


def _ade20k(size: str, sha256: str, num_params: int, miou: float) -> WeightEntry:
    return WeightEntry(
        url=f"https://huggingface.co/lucid-dl/mask2former-swin-{size}-ade/resolve/main/ADE20K/model.safetensors",
        sha256=sha256,
        num_classes=150,
        transforms=Segmentation(),
        meta={
            "tag": "ADE20K",
            "source": f"facebook/mask2former-swin-{size}-ade-semantic",
            "license": "other",
            "num_params": num_params,
            "metrics": {"ADE20K": {"mIoU": miou}},
        },
    )


class Mask2FormerSwinTinyWeights(WeightsEnum):
    """Mask2Former with a Swin-T."""

    ADE20K = _ade20k("tiny", "f374059bb4a26507b7c243c86684591724b07712616a665cd5beb3fcdf662b8f", 47_441_169, 47.7)
    DEFAULT = ADE20K


class Mask2FormerSwinSmallWeights(WeightsEnum):
    """Mask2Former with a Swin-S."""

    ADE20K = _ade20k("small", "94bc512d971caaa956c541a54e26f11d1eea68fd36af23c3df3b94576705335e", 68_815_312, 51.3)
    DEFAULT = ADE20K


class Mask2FormerSwinBaseWeights(WeightsEnum):
    """Mask2Former with a Swin-B."""

    ADE20K = _ade20k("base", "3185a471a980cdb9a53c22d7995a8bb6afe4363723bd1d9bfef8d9bf7ebee447", 107_420_006, 53.9)
    DEFAULT = ADE20K


class Mask2FormerSwinLargeWeights(WeightsEnum):
    """Mask2Former with a Swin-L."""

    ADE20K = _ade20k("large", "b6979833993857fbe2f20d1c8a207a465278c6974e300f49ff353b4da732d34c", 215_986_594, 56.1)
    DEFAULT = ADE20K


def resolve(
    weights_enum: type[WeightsEnum], pretrained: bool | str, weights: WeightsEnum | str | None
) -> WeightEntry | None:
    """Return the entry that a builder's arguments name.

    Args:
        weights_enum: of the network.
        pretrained: True for the default, or a tag.
        weights: a member or a tag, which counts more.

    Returns:
        The entry; None for random weights.

    Raises:
        InputError: if there is no such tag, or the member is of another network.
    """
    chosen = pretrained if weights is None else weights
    if isinstance(chosen, weights_enum):
        return chosen.entry
    if isinstance(chosen, bool):
        return weights_enum["DEFAULT"].entry if chosen else None
    if isinstance(chosen, str) and chosen in weights_enum.__members__:
        return weights_enum[chosen].entry
    raise InputError(
        f"pretrained must be True, False or one of {', '.join(weights_enum.__members__)}, and weights a member of "
        f"{weights_enum.__name__}, got {shown(chosen)}"
    )
