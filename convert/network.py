"""The network in an opened checkpoint: of which family it is, and what else the file holds."""

from collections.abc import Sequence
from dataclasses import replace

from lucid_mlx.convert.families import FAMILIES, CheckpointFamily
from lucid_mlx.convert.locate import find_network
from lucid_mlx.convert.other_models import describe_unknown, name_other_config
from lucid_mlx.convert.source import SourceCheckpoint
from lucid_mlx.errors import InputError


def open_network(
    source: SourceCheckpoint, family: str | None = None, key: str | None = None, ema: bool = False
) -> tuple[CheckpointFamily, SourceCheckpoint, Sequence[str]]:
    """Find the network of a checkpoint.

    Args:
        source: the opened checkpoint.
        family: its family, if the user named one.
        key: names of what holds the network, if the user named it.
        ema: take the averaged weights, if there are both.

    Returns:
        The family; the checkpoint with the network's arrays alone, under the family's keys; and what else it holds.

    Raises:
        InputError: if the checkpoint is of another model or of another family, has several networks or none, or tensors
            that cannot be read.
    """
    if source.config is not None and (other := name_other_config(source.config)):
        raise InputError(f"{source.name}: {other}")
    families = FAMILIES if family is None else {family: FAMILIES[family]}
    found = find_network(source, families, key, ema)
    chosen = found.family
    if chosen is None and family is not None:
        actual = find_network(source, FAMILIES, key, ema).family
        if actual is not None:
            raise InputError(
                f"{source.name} has the keys of {actual.name}, not of {family}: leave out --from (family=)"
            )
        chosen = FAMILIES[family]
    if chosen is None:
        raise InputError(f"{source.name}: {describe_unknown(list(source.arrays), FAMILIES, source.root)}")
    return chosen, replace(source, arrays=found.select(source.arrays)), found.notes
