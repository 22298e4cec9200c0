"""The families of checkpoints, and which family a checkpoint belongs to.

To add one: a module with its `RULES`, an entry in `FAMILIES`, and its name where `pipeline.py` lists them.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx

from lucid_mlx.convert import detectron2, huggingface, lucid, openmmlab
from lucid_mlx.convert.rules import Rule, match_rules
from lucid_mlx.errors import InputError

Arrays = Mapping[str, mx.array]


def _keep_order(arrays: Arrays) -> Arrays:
    return arrays


@dataclass(frozen=True)
class CheckpointFamily:
    """The checkpoints of one system, which share their keys and layout.

    Attributes:
        name: for `--from` and for messages.
        rules: for every key.
        reorder: reorders values within arrays, where the family's order differs although the shapes agree.
    """

    name: str
    rules: Sequence[Rule]
    reorder: Callable[[Arrays], Arrays] = _keep_order

    @cached_property
    def roots(self) -> re.Pattern[str]:
        """The pattern of the first names of the keys, those of the network's parts."""
        names = dict.fromkeys(rule.source.split(".")[0] for rule in self.rules if rule.target is not None)
        return re.compile(f"(?:{'|'.join(Rule(name, None).compile().pattern for name in names)})(?=[.]|$)")


FAMILIES = {
    family.name: family
    for family in (
        CheckpointFamily("huggingface", huggingface.RULES),
        CheckpointFamily("lucid2", lucid.RULES_2, lucid.reorder_relative_position_bias),
        CheckpointFamily("lucid3", lucid.RULES_3),
        CheckpointFamily("detectron2", detectron2.RULES),
        CheckpointFamily("openmmlab", openmmlab.RULES, openmmlab.reorder_patch_merging),
    )
}


def detect_family(keys: Iterable[str], families: Mapping[str, CheckpointFamily] = FAMILIES) -> CheckpointFamily:
    """Detect the family of a checkpoint by its keys.

    Args:
        keys: of the checkpoint.
        families: to choose from, by name.

    Returns:
        The family whose rules match most keys. Keys that they do not match are reported when the arrays are renamed.

    Raises:
        InputError: if no family's rules match half of the keys.
    """
    names = list(keys)
    unknown = {family.name: len(names) - count_known(family, names) for family in families.values()}
    best = min(unknown, key=lambda name: unknown[name])
    if not names or unknown[best] > len(names) / 2:
        raise InputError(
            f"the keys are of no known family ({', '.join(families)}): {', '.join(names[:5]) or 'there are none'}"
        )
    return families[best]


def count_known(family: CheckpointFamily, keys: Iterable[str]) -> int:
    """Count the keys that have a rule in a family.

    Args:
        family: with the rules.
        keys: of a checkpoint.

    Returns:
        Their number.
    """
    return sum(match is not None for match in match_rules(family.rules, keys).values())
