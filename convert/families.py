"""The families of checkpoints, and how to tell which one a file belongs to."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import mlx.core as mx

from lucid_mlx.convert import detectron2, huggingface, lucid, openmmlab
from lucid_mlx.convert.rules import Rule, plan
from lucid_mlx.errors import InputError

Arrays = Mapping[str, mx.array]


def _as_it_is(arrays: Arrays) -> Arrays:
    return arrays


@dataclass(frozen=True)
class Family:
    """A kind of checkpoint.

    Attributes:
        name: what `--from` calls it.
        rules: what becomes of each key.
        repair: changes numbers that the family keeps in another order although the shapes agree.
    """

    name: str
    rules: Sequence[Rule]
    repair: Callable[[Arrays], Arrays] = _as_it_is


FAMILIES = {
    family.name: family
    for family in (
        Family("huggingface", huggingface.RULES),
        Family("lucid2", lucid.RULES_2, lucid.order_positions_by_row),
        Family("lucid3", lucid.RULES_3),
        Family("detectron2", detectron2.RULES),
        Family("openmmlab", openmmlab.RULES, openmmlab.merge_patch_by_patch),
    )
}


def detect(keys: Iterable[str], families: Mapping[str, Family] = FAMILIES) -> Family:
    """Return the family whose rules know the most of the keys; a few strangers are told later, by name.

    Raises:
        InputError: if no family knows even half of them.
    """
    names = list(keys)
    unknown = {
        family.name: sum(fate is None for fate in plan(family.rules, names).values()) for family in families.values()
    }
    best = min(unknown, key=lambda name: unknown[name])
    if not names or unknown[best] > len(names) / 2:
        raise InputError(
            f"the keys are of no known family ({', '.join(families)}): {', '.join(names[:5]) or 'there are none'}"
        )
    return families[best]
