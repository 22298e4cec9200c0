"""A network as inference runs it: compiled, and with weights that any thread may use."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import mlx.core as mx
from mlx.utils import tree_unflatten

from lucid_mlx.errors import InputError
from lucid_mlx.models import Mask2Former
from lucid_mlx.models.vision.backbones.folding import FoldedModel
from lucid_mlx.utils.parameters import named_parameters

COMPILED_SHAPES = 16  # image configurations make sides multiples of 32, so that a folder of photos has few
LOGITS = ("class_queries_logits", "masks_queries_logits")
STATES = "transformer_decoder_intermediate_states"  # the queries after each layer, of which the last is used

Forward = Callable[[mx.array], Mapping[str, Any]]


class Compiled:
    """A model's forward, compiled when a shape is first seen; inference alone. It can be copied and pickled.

    MLX keeps what it has compiled forever; here the shape that was not used for longest is forgotten beyond
    `COMPILED_SHAPES`. New weights in the model are seen. What is compiled belongs to the thread that calls.

    Args:
        model: in inference mode.
    """

    def __init__(self, model: Mask2Former):
        self._model, self._for_shape = model, _by_shape(model)

    def __call__(self, pixels: mx.array) -> Mapping[str, Any]:
        """Return what `LOGITS` names, and the last of `STATES`, for (B, num_channels, H, W)."""
        return self._for_shape(pixels.shape)(pixels)

    def __reduce__(self) -> Any:
        return Compiled, (self._model,)


def used(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what inference uses of outputs: what `LOGITS` names, and the last of `STATES` if there are any."""
    chosen = {name: outputs[name] for name in LOGITS}
    return {**chosen, STATES: outputs[STATES][-1:]} if STATES in outputs else chosen


def _by_shape(original: Mask2Former) -> Callable[[tuple[int, ...]], Forward]:
    folding = FoldedModel(original)
    model = folding.model

    def forward(pixels: mx.array) -> dict[str, Any]:
        return used(model(pixels))

    @lru_cache(maxsize=COMPILED_SHAPES)
    def for_shape(shape: tuple[int, ...]) -> Forward:
        compiled_forward: Forward = mx.compile(lambda pixels: forward(pixels), inputs=model.state)
        traced: set[tuple[mx.Dtype, mx.Dtype]] = set()

        def run(pixels: mx.array) -> Mapping[str, Any]:
            folding.refresh()
            if (pixels.dtype, model.dtype) in traced:
                return compiled_forward(pixels)
            parameters = named_parameters(model)
            try:
                outputs = compiled_forward(pixels)
            except BaseException:  # MLX leaves in the model what it put there to trace
                model.update(tree_unflatten([*parameters.items()]))
                raise
            traced.add((pixels.dtype, model.dtype))
            return outputs

        return run

    return for_shape


def evaluate(what: str, arrays: Any) -> None:
    """Compute arrays, so that other threads may use them.

    Args:
        what: one of them is, for the error.
        arrays: a tree of them.

    Raises:
        InputError: if they wait to be computed by another thread.
    """
    try:
        mx.eval(arrays)
    except RuntimeError as error:
        if "Stream" not in str(error):
            raise
        raise InputError(
            f"{what} waits to be computed, which only the thread that made it can do: call mlx.core.eval on it there"
        ) from error
