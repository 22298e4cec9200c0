"""All that a run needs to go on as if it had never stopped, in one file."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten
from safetensors import SafetensorError, safe_open

from lucid_mlx.errors import InputError
from lucid_mlx.models import Mask2Former
from lucid_mlx.training.optimizer import Average, Optimizer
from lucid_mlx.utils.atomic_write import draft
from lucid_mlx.utils.parameters import load_parameters, named_parameters
from lucid_mlx.weights.checkpoint import read_safetensors


class Progress(NamedTuple):
    """How far a run has come. All random draws follow from the seed and this.

    Attributes:
        step: updates that are done.
        epoch, position: where the next batch begins, as `Batch.after` has it.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0


def save_state(
    path: Path, progress: Progress, model: Mask2Former, optimizer: Optimizer, average: Average | None
) -> None:
    """Write the state beside its place and move it there when it is complete.

    Raises:
        InputError: if it cannot be written; what was there before is then still there.
    """
    arrays = {f"model.{name}": array for name, array in named_parameters(model).items()}
    arrays |= {f"optimizer.{name}": array for name, array in _flat(optimizer).items()}
    if average is not None:
        arrays |= {f"average.{name}": array for name, array in average.arrays.items()}
    write_arrays(path, arrays, {name: str(value) for name, value in progress._asdict().items()})


def load_state(path: Path, model: Mask2Former, optimizer: Optimizer, average: Average | None) -> Progress:
    """Put all into the state that `save_state` wrote.

    Raises:
        InputError: if the file is missing or damaged, or of another network or optimizer.
    """
    arrays, metadata = read_safetensors(path)
    parts: dict[str, dict[str, mx.array]] = {"model": {}, "optimizer": {}, "average": {}}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = array
    try:
        progress = Progress(*(int(metadata[name]) for name in Progress._fields))
        load_parameters(model, parts["model"])
        if {n: x.shape for n, x in _flat(optimizer).items()} != {n: x.shape for n, x in parts["optimizer"].items()}:
            raise InputError("the optimizer has other parameters; is the backbone frozen as it was?")
        if (average is None) == bool(parts["average"]):
            raise InputError("the average of the parameters is on in one and off in the other")
    except (InputError, KeyError, ValueError) as error:
        raise InputError(f"{path} is of another run than the configuration describes: {error}") from error
    optimizer.state = tree_unflatten(list(parts["optimizer"].items()))
    if average is not None:
        average.arrays = parts["average"]
    mx.eval(model.parameters(), optimizer.state, parts["average"])
    return progress


def _flat(optimizer: Optimizer) -> dict[str, mx.array]:
    return dict(cast(list[tuple[str, mx.array]], tree_flatten(optimizer.state)))


def write_arrays(path: Path, arrays: Mapping[str, mx.array], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that is complete, or not there.

    Raises:
        InputError: if it cannot be written; what was there before is then still there.
    """
    with draft(path) as place:
        try:
            mx.save_safetensors(str(place), dict(arrays), dict(metadata))
            with safe_open(place, framework="numpy"):  # which compares header and size: a full disk is no error to MLX
                pass
        except (RuntimeError, SafetensorError) as error:
            raise OSError(f"it would be incomplete ({error}); is the disk full?") from error
