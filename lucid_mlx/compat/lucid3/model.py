"""lucid 3's model for semantic segmentation, around this package's network."""

from collections.abc import Mapping, Sequence
from os import PathLike
from types import SimpleNamespace
from typing import Any, ClassVar, TypeVar, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from lucid_mlx import models
from lucid_mlx.compat.lucid3.config import Mask2FormerConfig
from lucid_mlx.compat.lucid3.output import SemanticSegmentationOutput
from lucid_mlx.convert.lucid_state import load_lucid_state_dict, lucid_state_dict
from lucid_mlx.errors import InputError
from lucid_mlx.loading import load
from lucid_mlx.models.vision.mask2former.arguments import as_array
from lucid_mlx.models.vision.mask2former.semantic_scores import semantic_scores
from lucid_mlx.ops import resize_planes
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.utils.files import local_path, read_json
from lucid_mlx.utils.text import shown
from lucid_mlx.weights.checkpoint import CONFIG_FILE, WEIGHTS_FILE, read_safetensors, write_checkpoint

Model = TypeVar("Model", bound="Mask2FormerForSemanticSegmentation")

Targets = Sequence[Mapping[str, Any]]


class Mask2FormerForSemanticSegmentation(nn.Module):
    """Mask2Former, which returns the scores of classes at the pixels of its input.

    Args:
        config: what to build.

    Attributes:
        config: as given.
        network: this package's model, with all of its methods.

    Raises:
        InputError: if the configuration is not lucid 3's.
    """

    config_class: ClassVar[type[Mask2FormerConfig]] = Mask2FormerConfig
    base_model_prefix: ClassVar[str] = "mask2former"

    def __init__(self, config: Mask2FormerConfig):
        super().__init__()
        if not isinstance(config, Mask2FormerConfig):
            raise InputError(f"config must be lucid_mlx.compat.lucid3.Mask2FormerConfig, got {shown(config)}")
        self.config = config
        self.network = models.Mask2Former(config.to_network())
        mx.eval(self.network.parameters())

    @property
    def pixel_level_module(self) -> SimpleNamespace:
        """The `encoder`, which is the backbone, and the `decoder`, the pixel decoder."""
        return self.network.model.pixel_level_module

    @property
    def transformer_module(self) -> nn.Module:
        """The transformer decoder, with the queries."""
        return self.network.model.transformer_module

    @property
    def class_predictor(self) -> nn.Module:
        """The linear layer that predicts the class of a query."""
        return self.network.class_predictor

    def forward(self, x: mx.array, targets: Targets | None = None) -> SemanticSegmentationOutput:
        """Segment semantically.

        Args:
            x: (B, in_channels, H, W), normalized; any H and W.
            targets: for each image a dictionary with `labels`, (M,) whole numbers, and `masks`, (M, height, width), of
                one size for the batch.

        Returns:
            `logits`, (B, num_classes, H, W) float32: the sum over queries of p(class) x p(mask), of masks at the size
            of the input; and the `loss`, if there are targets.

        Raises:
            InputError: for pixel values of another rank or number of channels, or targets that do not fit.
        """
        pixels = as_array("x", x)
        masks, labels = (None, None) if targets is None else _split(targets)
        outputs = self.network(pixels, mask_labels=masks, class_labels=labels)
        size = (pixels.shape[2], pixels.shape[3])
        mask_logits = resize_planes(outputs["masks_queries_logits"].astype(mx.float32), size)
        scores = semantic_scores(outputs["class_queries_logits"], mask_logits)
        return SemanticSegmentationOutput(logits=scores, loss=outputs["loss"])

    __call__ = forward

    def num_parameters(self, *, only_trainable: bool = False) -> int:
        """Return the number of parameters.

        Args:
            only_trainable: leave out those that are frozen.

        Returns:
            Their number.
        """
        if not only_trainable:
            return self.network.parameter_size
        trainable = cast(list[tuple[str, mx.array]], tree_flatten(self.network.trainable_parameters()))
        return sum(array.size for _, array in trainable)

    def state_dict(self) -> dict[str, mx.array]:
        """Return the parameters under lucid 3's keys, in its shapes (convolutions O, I, H, W)."""
        return lucid_state_dict(self.network, "lucid3")

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Load what `state_dict` returned, here or in lucid 3; all or nothing.

        Args:
            state_dict: arrays of MLX or NumPy by lucid's keys.
            strict: demand every parameter and no other key.

        Raises:
            InputError: one error that lists all keys that are missing, unknown or of another shape.
        """
        load_lucid_state_dict(self.network, state_dict, strict, "lucid3")

    @classmethod
    def from_pretrained(cls: type[Model], name_or_path: str | PathLike[str], *, strict: bool = True) -> Model:
        """Build a model and load its weights.

        Args:
            name_or_path: the name of a builder, such as "mask2former_swin_tiny", for its default weights; a folder
                that lucid 3 wrote with `safe_serialization=True`, or `save_pretrained` here; or anything that
                `lucid_mlx.load` takes, with a Swin backbone.
            strict: demand every parameter and no other key of a folder of lucid's.

        Returns:
            The model.

        Raises:
            InputError: if the weights are not there, or do not fit.
        """
        from lucid_mlx.compat.lucid3 import builders

        if isinstance(name_or_path, str) and name_or_path.replace("-", "_") in builders.NAMES:
            return cls._around(getattr(builders, name_or_path.replace("-", "_"))(pretrained=True).network)
        folder = local_path(name_or_path)
        if (folder / CONFIG_FILE).is_file() and "num_classes" in (raw := read_json(folder / CONFIG_FILE)):
            model = cls(Mask2FormerConfig.from_dict(raw))
            model.load_state_dict(read_safetensors(folder / WEIGHTS_FILE)[0], strict)
            return model
        return cls._around(load(name_or_path))

    @classmethod
    def _around(cls: type[Model], network: models.Mask2Former) -> Model:
        """Return a model around a network that is filled already."""
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model.config = Mask2FormerConfig.from_network(network.config)
        model.network = network
        return model

    def save_pretrained(self, path: str | PathLike[str], *, safe_serialization: bool = True) -> None:
        """Write `config.json` and `model.safetensors`, which lucid 3 and `from_pretrained` read.

        Args:
            path: the folder; it must not exist, or be empty.
            safe_serialization: must be True: lucid's own pickle format is not written.

        Raises:
            InputError: if the folder is not empty or cannot be written, or for the pickle format.
        """
        if safe_serialization is not True:
            raise InputError("lucid's pickle format is not written; leave out safe_serialization=False")
        metadata = {"model_type": self.config.model_type}
        image_config = ImageConfig().to_dict()
        write_checkpoint(path, self.config.to_dict(), self.state_dict(), metadata, image_config, layout="lucid")


def _split(targets: Targets) -> tuple[list[Any], list[Any]]:
    """Return the masks and the labels of targets."""
    fits = isinstance(targets, list | tuple) and all(
        isinstance(target, Mapping) and {"labels", "masks"} <= set(target) for target in targets
    )
    if not fits:
        raise InputError(
            'targets must be a list with a dictionary {"labels": (M,), "masks": (M, height, width)} for each image, '
            f"got {shown(targets)}"
        )
    return [target["masks"] for target in targets], [target["labels"] for target in targets]
