"""lucid's `weights.apply`."""

from pathlib import Path
from typing import Any, Protocol

from lucid_mlx.weights.download import download
from lucid_mlx.weights.registry import WeightsLike


class _Loadable(Protocol):
    def from_pretrained(self, weights: WeightsLike, strict: bool = True) -> Any: ...


def apply(model: _Loadable, weights: WeightsLike, *, strict: bool = True) -> Path:
    """Load weights into a model, as `model.from_pretrained` does.

    Args:
        model: the network.
        weights: anything that `model.from_pretrained` takes.
        strict: demand that the file and the model have the same parameters.

    Returns:
        The file or folder on disk that they were read from.

    Raises:
        InputError: if the weights cannot be had or do not fit; the model is then unchanged.
    """
    model.from_pretrained(weights, strict)
    return download(weights).path
