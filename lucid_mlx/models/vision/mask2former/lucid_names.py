"""What lucid 2 calls the parts of the model, and the methods of it that load, save and publish."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.models.vision.mask2former.config import Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.criterion import compute_losses, scored_predictions
from lucid_mlx.models.vision.mask2former.matcher import match
from lucid_mlx.models.vision.mask2former.provenance import Provenance
from lucid_mlx.models.vision.mask2former.targets import read_targets
from lucid_mlx.weights.registry import WeightsLike

if TYPE_CHECKING:
    from lucid_mlx.models.vision.mask2former.model import Mask2Former

Model = TypeVar("Model", bound="LucidNames")


class LucidNames(nn.Module):
    """The names and methods that the models of lucid and transformers have beside the network, for `Mask2Former`.

    Attributes:
        provenance: where the weights came from.
    """

    config: Mask2FormerConfig
    provenance: Provenance = Provenance()

    @property
    def model(self) -> "Body":
        """The network without its heads, under lucid's names."""
        return Body(self._network)

    @property
    def class_predictor(self) -> nn.Module:
        """The linear layer that predicts the class of a query."""
        return cast(nn.Module, self._network.transformer_decoder.class_head)

    @property
    def weight_dict(self) -> Mapping[str, float]:
        """The weights of the losses, to read; the configuration's `class_weight` and its like set them."""
        config = self.config
        weights = {
            "loss_cross_entropy": config.class_weight,
            "loss_mask": config.mask_weight,
            "loss_dice": config.dice_weight,
        }
        return MappingProxyType(weights)

    @property
    def criterion(self) -> "Criterion":
        """The losses before they are weighted."""
        return Criterion(self.config, self.weight_dict)

    def from_pretrained(self: Model, weights: WeightsLike, strict: bool = True) -> Model:
        """Fill this model with weights of any kind, and return it.

        Args:
            weights: a folder that `lucid-mlx convert` wrote, or what it takes: a checkpoint of another system, a name
                on the Hugging Face hub, an address, a member of a weights enumeration.
            strict: demand that the file and the model have the same parameters. If False, those that only one of
                the two has are left alone; shapes must agree all the same.

        Returns:
            This model, in the mode it was in. Its labels are the source's if it has as many.

        Raises:
            InputError: if the weights cannot be had; or one error that lists all missing, unexpected and mis-shaped
                parameters, or the settings that no shape tells and that differ. The model is then unchanged.
        """
        from lucid_mlx.loading import load_into  # which builds models: the method is here because lucid has it here

        load_into(self._network, weights, strict)
        return self

    def state_dict(self) -> dict[str, mx.array]:
        """Return the parameters and buffers under lucid 2's keys, in its shapes (convolutions O, I, H, W).

        Returns:
            The arrays, computed when they are used.

        Raises:
            InputError: if lucid has no key for a parameter, as for quantized layers.
        """
        from lucid_mlx.convert.lucid_state import lucid_state_dict

        return lucid_state_dict(self._network)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Load what `state_dict` returned, here or in lucid 2; all or nothing.

        Args:
            state_dict: arrays of MLX or NumPy by lucid's keys; buffers may be left out.
            strict: demand every parameter and no other key. Shapes must agree in any case.

        Raises:
            InputError: one error that lists all keys that are missing, unknown or of another shape.
        """
        from lucid_mlx.convert.lucid_state import load_lucid_state_dict

        load_lucid_state_dict(self._network, state_dict, strict)

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        *,
        image_config: Any = None,
        license: str | None = None,
        task: str | None = None,
        thing_ids: Collection[int] | None = None,
        force: bool = False,
    ) -> Path:
        """Write a folder that `lucid_mlx.load` reads, completely or not at all.

        Args:
            save_directory: the folder; it must not exist, or be empty, without `force`.
            image_config: the `ImageConfig` to write; None for that of what the model was loaded from.
            license: as the hub writes it; None for that of what the model was loaded from.
            task: "semantic", "instance" or "panoptic"; None for that of what the model was loaded from.
            thing_ids: the classes that have countable objects; None for those of what the model was loaded from.
            force: replace a folder that was written like this.

        Returns:
            The folder.

        Raises:
            InputError: if the folder may not be replaced or cannot be written, or the license does not fit.
        """
        from lucid_mlx.convert.publish import save_model

        return save_model(
            self._network,
            save_directory,
            image_config=image_config,
            license=license,
            task=task,
            thing_ids=thing_ids,
            force=force,
        )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        license: str | None = None,
        commit_message: str | None = None,
        image_config: Any = None,
    ) -> str:
        """Publish this model on the Hugging Face hub, with a model card; the token is found in its usual places.

        Args:
            repo_id: `owner/name`; made if there is none.
            private: make a new repository private.
            license: as `save_pretrained` takes it.
            commit_message: of the commit.
            image_config: as `save_pretrained` takes it.

        Returns:
            The address of the repository.

        Raises:
            InputError: if weights for non-commercial use would get another license, there is no token that may write,
                or the hub cannot be reached.
        """
        from lucid_mlx.convert.publish import push_model

        return push_model(
            self._network, repo_id, private=private, license=license, message=commit_message, image_config=image_config
        )

    @property
    def _network(self) -> "Mask2Former":
        return cast("Mask2Former", self)


class Body:
    """lucid's `model.model`: the network without its heads. Its parts are the model's own.

    Args:
        network: the model.

    Attributes:
        config: of the model.
        pixel_level_module: with the `encoder`, the backbone, and the `decoder`, the pixel decoder.
        transformer_module: the transformer decoder, with the queries.
    """

    def __init__(self, network: "Mask2Former"):
        self._network = network
        self.config = network.config
        self.pixel_level_module = SimpleNamespace(encoder=network.backbone, decoder=network.pixel_decoder)
        self.transformer_module = network.transformer_decoder

    def __call__(self, pixel_values: mx.array, pixel_mask: mx.array | None = None, **kwargs: Any) -> dict[str, Any]:
        """Run the network without its class head.

        Args:
            pixel_values: as `Mask2Former.forward` takes them.
            pixel_mask: as `Mask2Former.forward` takes it.
            **kwargs: `output_hidden_states` and `output_attentions`, as there.

        Returns:
            The states of `Mask2Former.forward`, and as `masks_queries_logits` those of all predictions, a tuple of
            (B, Q, H / common_stride, W / common_stride).
        """
        outputs = self._network.forward(pixel_values, pixel_mask=pixel_mask, output_auxiliary_logits=True, **kwargs)
        earlier = [prediction["masks_queries_logits"] for prediction in outputs["auxiliary_logits"]]
        states = {name: x for name, x in outputs.items() if name.endswith(("_state", "_states", "attentions"))}
        return {**states, "masks_queries_logits": (*earlier, outputs["masks_queries_logits"])}


class Criterion:
    """lucid's `model.criterion`.

    Args:
        config: of the model.
        weight_dict: the weights of the losses.

    Attributes:
        weight_dict: what `get_loss_dict` multiplies the losses with.
    """

    def __init__(self, config: Mask2FormerConfig, weight_dict: Mapping[str, float]):
        self._config, self.weight_dict = config, weight_dict

    def __call__(
        self,
        masks_queries_logits: mx.array,
        class_queries_logits: mx.array,
        mask_labels: list[mx.array],
        class_labels: list[mx.array],
        auxiliary_predictions: list[dict[str, mx.array]] | None = None,
        key: mx.array | None = None,
    ) -> dict[str, mx.array]:
        """Compute the losses of predictions, not weighted; arguments and keys are those of `get_loss_dict`.

        Args:
            masks_queries_logits: of the last prediction.
            class_queries_logits: of the last prediction.
            mask_labels: as `Mask2Former.forward` takes them.
            class_labels: as `Mask2Former.forward` takes them.
            auxiliary_predictions: the earlier predictions.
            key: of the points.

        Returns:
            Float32 scalars by name.
        """
        config = self._config
        predictions = scored_predictions(
            masks_queries_logits, class_queries_logits, auxiliary_predictions or [], config
        )
        targets = read_targets(mask_labels, class_labels, len(masks_queries_logits), config.num_labels)
        matches = match([x.detached() for x in predictions], targets, config, key)
        plain = replace(config, class_weight=1.0, mask_weight=1.0, dice_weight=1.0)
        return compute_losses(predictions, targets, matches, plain)
