"""Find the tensors in what a trainer saved, whatever dictionaries and objects hold them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import mlx.core as mx

from lucid_mlx.convert.pickled_array import PickledArray
from lucid_mlx.convert.pickled_objects import TensorEntry, Unknown
from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown

MAX_DEPTH = 32  # of dictionaries in dictionaries
MAX_NAME = 1000  # characters of a key with the names of all that holds it
SHARED = 2  # tensors that share data may take so many times the size of the file,
SHARED_BYTES = 16 << 20  # and so much more

# Where a module of torch keeps its parts; they are no part of the keys of its state dict.
_MODULE_PARTS = ("_parameters", "_buffers", "_modules")
# How the names of tensors end that are more than their data in the file.
_SPECIAL_TENSORS = (
    "Tensor", "_rebuild_sparse_tensor", "_rebuild_qtensor", "_rebuild_wrapper_subclass", "_rebuild_tensor_v3",
    "_rebuild_meta_tensor_no_storage", "_rebuild_nested_tensor",
)  # fmt: skip


@dataclass
class FoundTensors:
    """The tensors of a file by their keys, with the names of what holds them, such as "state_dict.backbone.weight".

    Attributes:
        entries: the tensors, and arrays in memory.
        special: what kind of tensor those are that cannot be read, such as sparse ones.
        root: the start that all keys have in common since everything is in one dictionary; "" or "state_dict.".
    """

    entries: dict[str, TensorEntry | mx.array] = field(default_factory=dict)
    special: dict[str, str] = field(default_factory=dict)
    root: str = ""


def find_tensors(tree: Any, file_size: int) -> FoundTensors:
    """Take the named tensors out of dictionaries, modules and other objects, which are emptied.

    Args:
        tree: what a pickle holds.
        file_size: in bytes.

    Returns:
        The tensors; those under keys that are not text, such as the state of an optimizer, are none of them.

    Raises:
        InputError: if there are none, or they take much more memory than the file.
    """
    found = FoundTensors()
    kind = shown(str(tree.name), 100) if isinstance(tree, Unknown) else type(tree).__name__
    if isinstance(tree, TensorEntry | PickledArray):
        kind = "single tensor"
    holders = _collect(tree, found, SHARED * file_size + SHARED_BYTES)
    if not found.entries and not isinstance(tree, dict):
        raise InputError(
            f"it holds a {kind}, expected a dictionary of tensors: torch.save(model.state_dict(), ...) writes one"
        )
    if not found.entries and found.special:
        raise InputError(special_message(found.special))
    if not found.entries:
        raise InputError("it does not hold a dictionary of named tensors")
    found.root = _common_root(holders)
    found.entries = {key.removeprefix(found.root): value for key, value in found.entries.items()}
    found.special = {key.removeprefix(found.root): kind for key, kind in found.special.items()}
    return found


def special_message(special: Mapping[str, str]) -> str:
    """Say what tensors cannot be read, and what to do.

    Args:
        special: the kind of each by its key.

    Returns:
        A sentence.
    """
    kinds = ", ".join(sorted(set(special.values()))[:3])
    return (
        f"{len(special)} of its tensors are not plain ones but {kinds}, such as {shown(next(iter(special)), 150)}; "
        "save plain ones: tensor.full_tensor() of a distributed, .dequantize() of a quantized, .to_dense() of a sparse "
        "and .float() of another one"
    )


def _collect(tree: Any, found: FoundTensors, most: int) -> list[str]:
    """Fill `found`; return the names of what holds tensors directly."""
    queue: list[tuple[str, int, Any]] = [("", 0, tree)]
    seen: dict[int, Any] = {}
    holders, sizes = [], dict[Any, int]()
    total = 0
    while queue:
        path, depth, holder = queue.pop()
        if id(holder) in seen or depth > MAX_DEPTH or len(path) > MAX_NAME:
            continue
        seen[id(holder)] = holder
        inside: list[tuple[str, int, Any]] = []
        for name, value in _take_items(holder, depth):
            key = path if isinstance(holder, Unknown) and name in _MODULE_PARTS else f"{path}{name}."
            if isinstance(value, TensorEntry):
                identity, size = value, prod(value.shape) * value.storage.item_size
                total += 0 if identity in sizes else size
                sizes[identity] = size
            elif isinstance(value, PickledArray):
                total += value.nbytes
            if total > most:
                raise InputError(f"its tensors take more than {SHARED} times the size of the file; expected about once")
            if isinstance(value, PickledArray):
                value = None if (array := value.numpy()) is None else mx.array(array)
            if isinstance(value, TensorEntry | mx.array):
                found.entries[key[:-1]] = value
                holders.append(path)
            elif isinstance(value, Unknown) and str(value.name).endswith(_SPECIAL_TENSORS):
                found.special[key[:-1]] = str(value.name)
            elif isinstance(value, dict | Unknown):
                inside.append((key, depth + 1, value))
        queue += reversed(inside)
    return holders


def _take_items(holder: Any, depth: int) -> list[tuple[str, Any]]:
    """Empty a holder, so that no array is in memory twice; return what has a name."""
    if isinstance(holder, list | tuple) and not depth:  # such as (state dict of the model, of the optimizer)
        return [(str(number), value) for number, value in enumerate(holder)]
    named = []
    if isinstance(holder, Unknown):
        _drop_unsaved(holder)
    for items in (holder.items, *holder.states) if isinstance(holder, Unknown) else (holder,):
        if isinstance(items, dict):
            named += [(key, value) for key, value in items.items() if isinstance(key, str) and len(key) <= MAX_NAME]
            items.clear()
    return named


def _drop_unsaved(module: Unknown) -> None:
    """Take away the buffers of a module that are no part of its state dict."""
    buffers, unsaved = module.get("_buffers"), module.get("_non_persistent_buffers_set")
    if isinstance(buffers, dict) and isinstance(unsaved, Unknown):
        for name in [name for name in buffers if name in unsaved.items]:
            del buffers[name]


def _common_root(holders: Sequence[str]) -> str:
    """Return the names that all paths start with, such as "state_dict."."""
    first, last = min(holders).split("."), max(holders).split(".")
    common = []
    for name, other in zip(first[:-1], last[:-1], strict=False):
        if name != other:
            break
        common.append(f"{name}.")
    return "".join(common)
