"""Everything that a run needs to continue as if it had never stopped, in one file."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten
from safetensors import SafetensorError, safe_open

from lucid_mlx.errors import InputError
from lucid_mlx.models import Mask2Former
from lucid_mlx.training.optimizer import ExponentialMovingAverage, Optimizer
from lucid_mlx.utils.files import atomic_write, check_file
from lucid_mlx.utils.parameters import load_parameters, named_parameters
from lucid_mlx.weights.checkpoint import read_safetensors


class Progress(NamedTuple):
    """How far a run is. Together with the seed it determines all random numbers that follow.

    Attributes:
        step: finished steps.
        epoch: the epoch in which the next batch starts.
        sample_in_epoch: the sample of that epoch with which the next batch starts.
    """

    step: int = 0
    epoch: int = 0
    sample_in_epoch: int = 0


def save_state(
    path: Path,
    progress: Progress,
    model: Mask2Former,
    optimizer: Optimizer,
    ema: ExponentialMovingAverage | None,
) -> None:
    """Write the state of a run, completely or not at all.

    Args:
        path: the safetensors file; an existing one is replaced.
        progress: how far the run is.
        model: the model.
        optimizer: its optimizer.
        ema: the average of its parameters, if there is one.

    Raises:
        InputError: if it cannot be written; an earlier state is then unchanged.
    """
    arrays = {f"model.{name}": array for name, array in named_parameters(model).items()}
    arrays |= {f"optimizer.{name}": array for name, array in _flatten_state(optimizer).items()}
    if ema is not None:
        arrays |= {f"ema.{name}": array for name, array in ema.arrays.items()}
    write_arrays(path, arrays, {name: str(value) for name, value in progress._asdict().items()})


def check_state(path: Path) -> None:
    """Check that a run left its state in a file.

    Args:
        path: the safetensors file.

    Raises:
        InputError: if it is no file.
    """
    check_file(path, "the state of a run; without --resume a new one begins")


def load_state(path: Path, model: Mask2Former, optimizer: Optimizer, ema: ExponentialMovingAverage | None) -> Progress:
    """Restore the state that `save_state` wrote.

    Args:
        path: the safetensors file.
        model: gets the parameters.
        optimizer: gets its state.
        ema: gets the averaged parameters; None if the run has no average.

    Returns:
        How far the run is.

    Raises:
        InputError: if the file is missing or damaged, or belongs to another model or optimizer.
    """
    check_state(path)
    arrays, metadata = read_safetensors(path)
    groups: dict[str, dict[str, mx.array]] = {"model": {}, "optimizer": {}, "ema": {}}
    for key, array in arrays.items():
        group, _, name = key.partition(".")
        groups.setdefault(group, {})[name] = array
    try:
        progress = Progress(*(int(metadata[name]) for name in Progress._fields))
        load_parameters(model, groups["model"])
        if _shapes(_flatten_state(optimizer)) != _shapes(groups["optimizer"]):
            raise InputError("the optimizer has other parameters; is the backbone frozen as it was?")
        if (ema is None) == bool(groups["ema"]):
            raise InputError("either the run or the file has an average of the parameters (ema_decay), but not both")
    except (InputError, KeyError, ValueError) as error:
        raise InputError(f"{path} belongs to a run with another configuration: {error}") from error
    optimizer.state = tree_unflatten(list(groups["optimizer"].items()))
    if ema is not None:
        ema.arrays = groups["ema"]
    mx.eval(model.parameters(), optimizer.state, groups["ema"])
    return progress


def _flatten_state(optimizer: Optimizer) -> dict[str, mx.array]:
    return dict(cast(list[tuple[str, mx.array]], tree_flatten(optimizer.state)))


def _shapes(arrays: Mapping[str, mx.array]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def write_arrays(path: Path, arrays: Mapping[str, mx.array], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, completely or not at all.

    Args:
        path: the file; an existing one is replaced.
        arrays: the arrays by name.
        metadata: the metadata of the file.

    Raises:
        InputError: if it cannot be written; an earlier version of it is then unchanged.
    """
    with atomic_write(path) as temporary:
        try:
            mx.save_safetensors(str(temporary), dict(arrays), dict(metadata))
            # MLX raises no error if the disk is full; opening compares the header with the size of the file.
            with safe_open(temporary, framework="numpy"):
                pass
        except (RuntimeError, SafetensorError) as error:
            raise OSError(f"it would be incomplete ({error}); is the disk full?") from error
