"""A network that other threads start on batches, and wait for when they need what it says."""

import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

import mlx.core as mx

from lucid_mlx import backends
from lucid_mlx.compiled import LOGITS, Compiled, Forward, evaluate, used
from lucid_mlx.errors import InputError
from lucid_mlx.models import Mask2Former
from lucid_mlx.models.vision.mask2former.half_precision import in_float32, overflow_warning, overflowed

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Logits = Mapping[str, Any]  # those that `LOGITS` names, and the last of `STATES`; computed


class Running:
    """A batch on which a network runs.

    Args:
        network: the network.
        pixels: (B, H, W, num_channels) float32, normalized.
    """

    def __init__(self, network: "Inference", pixels: mx.array):
        self._network, self._pixels = network, pixels
        self._computed: Future[tuple[Logits, bool]] = backends.WORKER.submit(network.compute, pixels)

    def logits(self) -> Logits:
        """Wait for the logits: `class_queries_logits` and `masks_queries_logits`."""
        model = self._network.model
        try:
            logits, too_large = self._computed.result()
        except RuntimeError as error:
            if "Stream" not in str(error):
                raise
            evaluate("a parameter of the model", model.parameters())  # somebody has changed it since
            logits, too_large = backends.WORKER.run(self._network.compute, self._pixels)
        except BaseException:
            self.cancel()
            raise
        if too_large:
            warnings.warn(overflow_warning(model.dtype), stacklevel=5)
        return logits

    def cancel(self) -> None:
        """Do not run the network any more, if it has not begun."""
        self._computed.cancel()


class Inference:
    """Runs a network on the thread that computes, compiled where that is faster.

    Args:
        model: in inference mode.
    """

    def __init__(self, model: Mask2Former):
        self.model = model
        self._forward: Forward = Compiled(model) if backends.compilation_is_fast() else model

    def start(self, pixels: mx.array) -> Running:
        """Start the network on a batch.

        Args:
            pixels: (B, H, W, num_channels) float32, normalized.

        Returns:
            What to ask for the logits later.
        """
        return Running(self, pixels)

    def clip(self, pixels: mx.array) -> Logits:
        """Run the network on a clip on the thread that computes, and wait for it.

        Args:
            pixels: (T, H, W, num_channels) float32, normalized.

        Returns:
            Those entries of what `Mask2Former.forward_clip` returns, computed.

        Raises:
            InputError: if the clip does not fit into memory.
        """
        evaluate("a parameter of the model", self.model.parameters())
        outputs, too_large = backends.WORKER.run(self._compute_clip, pixels)
        if too_large:
            warnings.warn(overflow_warning(self.model.dtype), stacklevel=4)
        return outputs

    def _compute_clip(self, pixels: mx.array) -> tuple[Logits, bool]:
        pixels = pixels.transpose(0, 3, 1, 2)[None]
        outputs = self.model.forward_clip(pixels)
        too_large = overflowed([outputs[name] for name in LOGITS], self.model.dtype)
        if too_large:
            outputs = in_float32(self.model).forward_clip(pixels)
        return _computed(outputs), too_large

    def compute(self, pixels: mx.array) -> tuple[Logits, bool]:
        """Compute logits on the thread at hand.

        Args:
            pixels: (B, H, W, num_channels) float32, normalized.

        Returns:
            The logits, and whether they were too large for the model's type, so that float32 was used.
        """
        pixels = pixels.transpose(0, 3, 1, 2)
        outputs = self._forward(pixels)
        too_large = overflowed([outputs[name] for name in LOGITS], self.model.dtype)
        if too_large:
            outputs = in_float32(self.model)(pixels)
        return _computed(outputs), too_large


def _computed(outputs: Mapping[str, Any]) -> Logits:
    logits = used(outputs)
    mx.eval(logits)  # other threads go on with them
    return logits


def in_background(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Call a function on the thread that turns outputs into results.

    Args:
        function: what to call.
        *args: what to call it with.
        **kwargs: what to call it with.

    Returns:
        What the function returns.
    """
    return backends.POSTPROCESSING.run(function, *args, **kwargs)


def check_memory(model: Mask2Former, height: int, width: int, batch: int) -> None:
    """Check that the maps of a forward fit into memory, before they are made.

    Args:
        model: the network.
        height: of its input, in pixels.
        width: of its input, in pixels.
        batch: images that run together.

    Raises:
        InputError: if even a low estimate, 50 to 98 % of what was measured, is more than the machine has.
    """
    config = model.config
    backbone = config.backbone_config or {}
    # At a quarter of the input's sides: the maps of the backbone's first stage, the mask features, the masks.
    channels = 16 * (backbone.get("embed_dim") or backbone.get("embedding_size") or 64)
    channels += 4 * config.mask_feature_size + 2 * config.num_queries
    needed, there = batch * height * width // 16 * channels * model.dtype.size, backends.memory_size()
    if needed > there:
        raise InputError(
            f"a forward at {width}x{height} pixels{f', {batch} at a time,' if batch > 1 else ''} takes more than "
            f"{needed / 1e9:.0f} GB of memory, and there are {there / 1e9:.0f}; give a smaller size, such as 1024"
            f"{', or a smaller batch size' if batch > 1 else ''}"
        )
