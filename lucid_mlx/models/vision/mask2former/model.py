"""Mask2Former (Cheng et al., CVPR 2022) behind lucid's interface: NCHW in, NCHW out, names as lucid has them."""

import warnings
from typing import Any

import mlx.core as mx

from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.backbones import Backbone, build_backbone
from lucid_mlx.models.vision.mask2former.arguments import as_array, warn_of_unknown
from lucid_mlx.models.vision.mask2former.clip_size import values_per_frame
from lucid_mlx.models.vision.mask2former.config import Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.criterion import compute_losses, scored_predictions
from lucid_mlx.models.vision.mask2former.half_precision import in_float32, overflow_warning, overflowed
from lucid_mlx.models.vision.mask2former.inference_mode import inference_mode
from lucid_mlx.models.vision.mask2former.lucid_names import LucidNames
from lucid_mlx.models.vision.mask2former.matcher import match
from lucid_mlx.models.vision.mask2former.pixel_decoder import PixelDecoder
from lucid_mlx.models.vision.mask2former.semantic_scores import semantic_scores
from lucid_mlx.models.vision.mask2former.targets import read_targets
from lucid_mlx.models.vision.mask2former.transformer_decoder import TransformerDecoder
from lucid_mlx.ops import check_clip, computed_in_turn, initialize_normal, resize_planes
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_image_size, check_value

Output = dict[str, Any]


class Mask2Former(LucidNames):
    """The network and its heads.

    Args:
        config: what to build.
        backbone: any module that maps an NHWC image to four NHWC maps at strides 4 to 32 and has a `channels`
            attribute with their widths; built from `config.backbone_config` if None.

    Raises:
        InputError: if there is neither a backbone nor a configuration of one.
    """

    def __init__(self, config: Mask2FormerConfig, backbone: Backbone | None = None):
        super().__init__()
        if not isinstance(config, Mask2FormerConfig):
            raise InputError(f"config must be a Mask2FormerConfig, got {shown(config)}")
        if backbone is None:
            if config.backbone_config is None:
                raise InputError("Mask2Former needs a backbone: set config.backbone_config or pass backbone=")
            backbone = build_backbone({**config.backbone_config, "num_channels": config.num_channels})
        channels = tuple(getattr(backbone, "channels", ()))
        if len(channels) != 4:
            raise InputError(f"a backbone's channels are the widths of its four maps; got {shown(channels)}")
        self.config = config
        self.backbone = backbone
        self.pixel_decoder = PixelDecoder(config, channels)
        self.transformer_decoder = TransformerDecoder(config)
        # Normal weights first; then each decoder draws its exceptions.
        initialize_normal(self.pixel_decoder, config.init_std)
        initialize_normal(self.transformer_decoder, config.init_std)
        self.pixel_decoder.initialize()
        self.transformer_decoder.initialize(config.init_xavier_std)

    @property
    def parameter_size(self) -> int:
        """Number of parameters, as lucid counts: running statistics are none."""
        statistics = ("running_mean", "running_var")
        return sum(x.size for name, x in named_parameters(self).items() if not name.endswith(statistics))

    @property
    def channels(self) -> tuple[int, ...]:
        """Widths of the backbone's four maps."""
        return tuple(self.backbone.channels)

    @property
    def dtype(self) -> mx.Dtype:
        """The floating-point type that the network computes in."""
        return self.transformer_decoder.query_features.dtype

    def forward(
        self,
        pixel_values: mx.array,
        mask_labels: list[mx.array] | None = None,
        class_labels: list[mx.array] | None = None,
        pixel_mask: mx.array | None = None,
        output_hidden_states: bool | None = None,
        output_auxiliary_logits: bool | None = None,
        output_attentions: bool | None = None,
        key: mx.array | None = None,
        **kwargs: Any,
    ) -> Output:
        """Run the network. Nothing is computed before it is used: an entry that is not read costs nothing.

        With labels it also returns the loss. To match labels and queries that computes all logits at once: it works
        inside `nn.value_and_grad`, where `lucid_mlx.training.loss_and_gradients` takes half the memory, but not inside
        `mx.compile`.

        Args:
            pixel_values: (B, num_channels, H, W), normalized; any H and W.
            mask_labels: for each image the masks of its objects, (N, height, width) of one size for the batch; N may
                be 0. Booleans (which take the least time and memory); whole numbers, 0 and 1 or 0 and 255; or floats
                from 0 to 1, the share of a pixel that the object covers.
            class_labels: for each image the class of each mask, (N,) whole numbers below `num_labels`.
            pixel_mask: (B, H, W); accepted for lucid's sake. As in the reference it changes nothing.
            output_hidden_states: fill the entries named `*_hidden_states`; None takes the configuration's.
            output_auxiliary_logits: fill `auxiliary_logits`; None takes the configuration's.
            output_attentions: fill `attentions`; None takes the configuration's.
            key: of the points at which masks are compared; None draws from `mx.random.state`. (Dropout and drop path
                always draw from there.)
            **kwargs: ignored with a warning that names them: lucid swallows what it does not know.

        Returns:
            A dictionary (sizes rounded up; an entry that was not asked for is None):

            - `loss`: the sum of the weighted losses, a float32 scalar; None without labels.
            - `class_queries_logits`: (B, Q, num_labels + 1), "no object" last.
            - `masks_queries_logits`: (B, Q, H / common_stride, W / common_stride).
            - `auxiliary_logits`: list of dictionaries with these two keys, of the earlier predictions.
            - `encoder_last_hidden_state`: (B, C, H / 32, W / 32), the backbone's last map.
            - `pixel_decoder_last_hidden_state`: (B, mask_feature_size, H / common_stride, W / common_stride).
            - `transformer_decoder_last_hidden_state`: (B, Q, hidden_dim).
            - `encoder_hidden_states`: four (B, C, H / stride, W / stride), strides 4 to 32.
            - `pixel_decoder_hidden_states`: three (B, feature_size, H / stride, W / stride), strides 32 to 8.
            - `transformer_decoder_hidden_states`: `decoder_layers` times (Q, B, hidden_dim), before the norm.
            - `transformer_decoder_intermediate_states`: the same after the norm; always there.
            - `attentions`: (B, heads, Q, Q) of each decoder layer's self-attention.

        Raises:
            InputError: for pixel values of another rank or number of channels, a mask of another shape, or labels
                that do not fit.
        """
        warn_of_unknown(kwargs, Mask2Former.forward)
        config, pixel_values = self.config, as_array("pixel_values", pixel_values)
        if (mask_labels is None) != (class_labels is None):
            raise InputError("mask_labels and class_labels go together: pass both for the loss, or neither")
        self._check(pixel_values, pixel_mask)
        hidden = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        attentions = config.output_attentions if output_attentions is None else output_attentions

        maps = self._maps(pixel_values)
        mask_features, memories = self.pixel_decoder(maps)
        decoded = self.transformer_decoder(mask_features, memories)
        earlier = self.get_auxiliary_logits(decoded.class_logits, decoded.mask_logits)
        loss = None
        if mask_labels is not None and class_labels is not None:
            last = decoded.mask_logits[-1], decoded.class_logits[-1]
            loss = self.get_loss(self.get_loss_dict(*last, mask_labels, class_labels, earlier, key))
        return {
            "loss": loss,
            "class_queries_logits": decoded.class_logits[-1],
            "masks_queries_logits": decoded.mask_logits[-1],
            "auxiliary_logits": earlier if self._wants_auxiliary(output_auxiliary_logits) else None,
            "encoder_last_hidden_state": _nchw(maps[-1]),
            "pixel_decoder_last_hidden_state": _nchw(mask_features),
            "transformer_decoder_last_hidden_state": decoded.hidden[-1],
            "encoder_hidden_states": tuple(map(_nchw, maps)) if hidden else None,
            "pixel_decoder_hidden_states": tuple(map(_nchw, memories)) if hidden else None,
            "transformer_decoder_hidden_states": tuple(map(_qbc, decoded.hidden)) if hidden else None,
            "transformer_decoder_intermediate_states": tuple(map(_qbc, decoded.states)),
            "attentions": tuple(decoded.attentions) if attentions else None,
        }

    __call__ = forward

    def forward_clip(self, pixel_values: mx.array, output_auxiliary_logits: bool | None = None) -> Output:
        """Run the network on clips: each query is one object in all frames of its clip.

        The features of the frames are computed at once, one frame after the other; the rest when it is used, as in
        `forward`. A clip of one frame gives what `forward` gives for an image: the decoder's positions in time then
        add the same to all keys of a query's attention, which softmax takes out again.

        Args:
            pixel_values: (B, T, num_channels, H, W), normalized; any H and W.
            output_auxiliary_logits: fill `auxiliary_logits`; None takes the configuration's.

        Returns:
            A dictionary with these of the entries of `forward`:

            - `class_queries_logits`: (B, Q, num_labels + 1), "no object" last.
            - `masks_queries_logits`: (B, Q, T, H / common_stride, W / common_stride).
            - `auxiliary_logits`: list of dictionaries with these two keys, of the earlier predictions, or None.
            - `transformer_decoder_last_hidden_state`: (B, Q, hidden_dim).
            - `transformer_decoder_intermediate_states`: `decoder_layers` times (Q, B, hidden_dim), after the norm.

        Raises:
            InputError: for pixel values of another shape, or a clip that does not fit into memory; the error says how
                many frames would.
        """
        pixel_values, wanted = as_array("pixel_values", pixel_values), self.config.num_channels
        shape = pixel_values.shape
        if len(shape) != 5 or shape[2] != wanted or min(shape) < 1:
            raise InputError(
                f"pixel_values must have the shape (batch, frames, {wanted}, height, width), got {tuple(shape)}"
            )
        batch, frames, _, height, width = shape
        check_clip(batch * frames, values_per_frame(self.config, height, width) * self.dtype.size, height, width)
        images = mx.split(pixel_values.flatten(0, 1), batch * frames)
        mask_features, *memories = computed_in_turn(self._features, images)
        decoded = self.transformer_decoder(mask_features, memories, frames)
        earlier = self.get_auxiliary_logits(decoded.class_logits, decoded.mask_logits)
        return {
            "class_queries_logits": decoded.class_logits[-1],
            "masks_queries_logits": decoded.mask_logits[-1],
            "auxiliary_logits": earlier if self._wants_auxiliary(output_auxiliary_logits) else None,
            "transformer_decoder_last_hidden_state": decoded.hidden[-1],
            "transformer_decoder_intermediate_states": tuple(map(_qbc, decoded.states)),
        }

    def get_loss_dict(
        self,
        masks_queries_logits: mx.array,
        class_queries_logits: mx.array,
        mask_labels: list[mx.array],
        class_labels: list[mx.array],
        auxiliary_predictions: list[dict[str, mx.array]] | None = None,
        key: mx.array | None = None,
    ) -> dict[str, mx.array]:
        """Compute the weighted losses of predictions.

        Args:
            masks_queries_logits: (B, Q, H / common_stride, W / common_stride) of the last prediction.
            class_queries_logits: (B, Q, num_labels + 1) of the last prediction.
            mask_labels: as `forward` takes them.
            class_labels: as `forward` takes them.
            auxiliary_predictions: the earlier predictions as `get_auxiliary_logits` returns them; they count if the
                configuration says `use_auxiliary_loss`.
            key: as `forward` takes it.

        Returns:
            Float32 scalars `loss_cross_entropy`, `loss_mask` and `loss_dice`, and the same with `_0`, `_1` and so on
            for each earlier prediction.

        Raises:
            InputError: for labels that do not fit.
        """
        predictions = scored_predictions(
            masks_queries_logits, class_queries_logits, auxiliary_predictions or [], self.config
        )
        targets = read_targets(mask_labels, class_labels, len(masks_queries_logits), self.config.num_labels)
        matches = match([x.detached() for x in predictions], targets, self.config, key)
        return compute_losses(predictions, targets, matches, self.config)

    def get_loss(self, loss_dict: dict[str, mx.array]) -> mx.array:
        """Add up the losses that `get_loss_dict` returns, to a float32 scalar."""
        return mx.stack(list(loss_dict.values())).sum()

    def get_auxiliary_logits(self, classes: list[mx.array], output_masks: list[mx.array]) -> list[dict[str, mx.array]]:
        """Pair the predictions but the last.

        Args:
            classes: (B, Q, num_labels + 1) of every prediction.
            output_masks: (B, Q, H / common_stride, W / common_stride) of every prediction.

        Returns:
            A dictionary with `masks_queries_logits` and `class_queries_logits` for each.
        """
        return [
            {"masks_queries_logits": masks, "class_queries_logits": logits}
            for masks, logits in zip(output_masks[:-1], classes[:-1], strict=True)
        ]

    def predict(
        self,
        pixel_values: mx.array,
        pixel_mask: mx.array | None = None,
        output_size: tuple[int, int] | None = None,
        top_k_queries: int | None = None,
        return_logits: bool = False,
        return_scores: bool = False,
    ) -> mx.array | dict[str, mx.array]:
        """Segment semantically: give each pixel a class.

        The image is padded with zeros to a multiple of the largest stride, and the padding is cropped from the
        result (lucid 2 resizes image and padding together to the output size). Runs in inference mode and leaves every
        mode as it was. If half precision overflows, float32 is used, with a warning.

        Args:
            pixel_values: (B, num_channels, H, W), normalized.
            pixel_mask: (B, H, W); if given, the images are taken as padded already and nothing is added or cropped.
            output_size: height and width of the result; H and W if None.
            top_k_queries: use just the queries that most probably show an object; all if None.
            return_logits: return the class scores too.
            return_scores: return the probability of each pixel's class too.

        Returns:
            The class of each pixel, (B, height, width) int32; or, if scores or logits are asked for, a dictionary
            with `segmentation` and, as asked, `logits`, (B, num_labels, height, width), and `scores`,
            (B, height, width), the softmax over `logits` at the chosen class.

        Raises:
            InputError: as `forward`; for pixels that are NaN or infinite; for sizes or a k below 1.
        """
        pixel_values = as_array("pixel_values", pixel_values)
        self._check(pixel_values, pixel_mask)
        check_value("return_logits", return_logits, bool)
        check_value("return_scores", return_scores, bool)
        if not mx.isfinite(pixel_values).all().item():
            raise InputError("pixel_values holds NaN or infinite values; check how the image was normalized")
        height, width = pixel_values.shape[2:]
        target = (height, width) if output_size is None else output_size
        if not (isinstance(target, list | tuple) and len(target) == 2 and all(map(_at_least_one, target))):
            raise InputError(f"output_size must be a height and a width of at least 1, got {shown(output_size)}")
        check_image_size(target[1], target[0], "output_size")
        if top_k_queries is not None and not _at_least_one(top_k_queries):
            raise InputError(f"top_k_queries must be a whole number of at least 1, got {shown(top_k_queries)}")

        if pixel_mask is None:
            stride = max(self.config.feature_strides)
            pixel_values = mx.pad(pixel_values, [(0, 0), (0, 0), (0, -height % stride), (0, -width % stride)])
        with inference_mode(self):
            outputs = self.forward(pixel_values, pixel_mask=pixel_mask)
            if overflowed([outputs["class_queries_logits"], outputs["masks_queries_logits"]], self.dtype):
                warnings.warn(overflow_warning(self.dtype), stacklevel=2)
                outputs = in_float32(self).forward(pixel_values, pixel_mask=pixel_mask)
        logits = semantic_scores(
            outputs["class_queries_logits"], outputs["masks_queries_logits"], top_k_queries=top_k_queries
        )
        # The part of the map that shows the image and not its padding, in cells, not always whole.
        extent = (
            logits.shape[2] * height / pixel_values.shape[2],
            logits.shape[3] * width / pixel_values.shape[3],
        )
        logits = resize_planes(logits, (target[0], target[1]), extent)
        segmentation = mx.argmax(logits, axis=1).astype(mx.int32)
        if not return_logits and not return_scores:
            return segmentation
        result = {"segmentation": segmentation}
        if return_logits:
            result["logits"] = logits
        if return_scores:
            result["scores"] = mx.softmax(logits, axis=1).max(axis=1)
        return result

    def _wants_auxiliary(self, asked: bool | None) -> bool:
        """Return whether the earlier predictions belong into the outputs."""
        config = self.config
        settings = (asked, config.output_auxiliary_logits, config.use_auxiliary_loss)
        return next(bool(setting) for setting in settings if setting is not None)

    def _maps(self, pixel_values: mx.array) -> list[mx.array]:
        """Return the backbone's four maps of (B, num_channels, H, W)."""
        maps = self.backbone(pixel_values.astype(self.dtype).transpose(0, 2, 3, 1))
        if tuple(x.shape[-1] for x in maps) != self.channels:
            raise InputError(
                f"the backbone promised maps of {self.channels} channels and returned {[x.shape for x in maps]}"
            )
        return maps

    def _features(self, pixel_values: mx.array) -> list[mx.array]:
        """Return the mask features of (B, num_channels, H, W), then the three memories."""
        mask_features, memories = self.pixel_decoder(self._maps(pixel_values))
        return [mask_features, *memories]

    def _check(self, pixel_values: mx.array, pixel_mask: mx.array | None) -> None:
        channels = self.config.num_channels
        if pixel_values.ndim != 4 or pixel_values.shape[1] != channels or min(pixel_values.shape) < 1:
            raise InputError(
                f"pixel_values must have the shape (batch, {channels}, height, width), got {tuple(pixel_values.shape)}"
            )
        batch, _, height, width = pixel_values.shape
        shape = tuple(getattr(pixel_mask, "shape", ()))
        if pixel_mask is not None and shape != (batch, height, width):
            raise InputError(f"pixel_mask must have the shape {(batch, height, width)} of pixel_values, got {shape}")


def _at_least_one(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _nchw(x: mx.array) -> mx.array:
    return x.transpose(0, 3, 1, 2)


def _qbc(x: mx.array) -> mx.array:
    return x.swapaxes(0, 1)
