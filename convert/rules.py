"""Rename rules: how the arrays of a checkpoint become the parameters of the network.

A family of checkpoints is a table of rules. The table is total: every source key meets a rule, which maps it or
drops it for a reason, and every parameter is filled exactly once; else one error lists all that is wrong.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mlx.core as mx

from lucid_mlx.errors import InputError
from lucid_mlx.weights.fill import listing, shape_problems

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Rule:
    """What becomes of the source keys that match.

    Attributes:
        pattern: a regular expression for the whole source key.
        targets: parameter names, with \\1 and so on for the groups of the pattern. None: the array is dropped.
            Several: the array is cut into as many equal blocks of rows.
        reason: why.
        part: if not None, the array is this block of rows of its target, which other arrays complete.
    """

    pattern: str
    targets: tuple[str, ...]
    reason: str
    part: int | None = None


def drop(pattern: str, reason: str) -> Rule:
    """Return the rule that drops matching keys."""
    return Rule(pattern, (), reason)


def apply_rules(
    rules: Sequence[Rule], arrays: Mapping[str, mx.array], wanted: Mapping[str, Shape]
) -> dict[str, mx.array]:
    """Map a checkpoint's arrays to parameters.

    Args:
        rules: tried in order; the first that matches a key decides.
        arrays: the checkpoint, in torch's layout.
        wanted: the shape of every parameter of the network.

    Returns:
        Exactly the wanted parameters, in MLX's layout; computed when they are used.

    Raises:
        InputError: one error that lists unknown keys, and parameters that are missing, filled twice or mis-shaped.
    """
    compiled = [(re.compile(rule.pattern), rule) for rule in rules]
    blocks: dict[str, dict[int, mx.array]] = defaultdict(dict)
    unknown, twice = [], []
    for key, array in arrays.items():
        match, rule = next(((match, rule) for regex, rule in compiled if (match := regex.fullmatch(key))), (None, None))
        if match is None or rule is None:
            unknown.append(key)
            continue
        pieces = mx.split(array, len(rule.targets)) if len(rule.targets) > 1 else [array]
        for template, piece in zip(rule.targets, pieces, strict=False):
            target = match.expand(template)
            part = rule.part or 0
            if part in blocks[target]:
                twice.append(target)
            blocks[target][part] = piece

    filled = {target: _join(pieces, len(wanted.get(target, ()))) for target, pieces in blocks.items()}
    problems = listing("unknown keys", unknown) + listing("parameters filled twice", twice)
    problems += shape_problems(wanted, {name: tuple(array.shape) for name, array in filled.items()}, strict=True)
    if problems:
        raise InputError("the checkpoint does not fit: " + "; ".join(problems))
    return filled


def _join(pieces: Mapping[int, mx.array], rank: int) -> mx.array:
    """Put blocks of rows together and change the layout of a convolution."""
    ordered = [pieces[part] for part in sorted(pieces)]
    array = ordered[0] if len(ordered) == 1 else mx.concatenate(ordered)
    if array.ndim != 4:
        return array
    if rank == 2 and array.shape[2:] == (1, 1):
        return array[:, :, 0, 0]  # a 1x1 convolution that is a linear layer here
    return array.transpose(0, 2, 3, 1)  # O, I, H, W -> O, H, W, I
