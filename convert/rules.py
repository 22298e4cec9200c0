"""Rename rules: how the arrays of a checkpoint become the parameters of the network.

A family of checkpoints is a table of rules. The table is total: every source key meets a rule, which maps it or drops
it for a reason, and every parameter is filled exactly once; else one error lists all that is wrong.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import mlx.core as mx

from lucid_mlx.errors import InputError
from lucid_mlx.utils.parameters import listing, not_floating, shape_problems

Shape = tuple[int, ...]

# What a field of a rule's source stands for; any other field is a number.
_FIELDS = {"wb": "weight|bias", "bn": "weight|bias|running_mean|running_var", "any": ".+"}

# A field of a target: its name, and what to add to its number.
_TARGET_FIELD = re.compile(r"\{(\w+)([+-][0-9]+)?\}")


@dataclass(frozen=True)
class Rule:
    """What becomes of the source keys that match.

    Attributes:
        source: the whole source key, with fields in braces: {i} and other names for a number, {wb} for weight or
            bias, {bn} for those and the running statistics, {any} for anything.
        target: the parameter's name, with the same fields; {i-1} counts down by one, {i+1} up. None: the array is
            dropped. Several names: the array is cut into as many equal blocks of rows.
        reason: why.
        part: if not None, the array is this block of rows of its target, which other arrays complete.
        pointwise: the source is a 1x1 convolution and the target a linear layer. Shapes tell it too, but not on the
            way back.
    """

    source: str
    target: str | tuple[str, ...] | None
    reason: str = "the same layer under our name"
    part: int | None = None
    pointwise: bool = False

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets as a tuple, empty if the array is dropped."""
        if self.target is None:
            return ()
        return (self.target,) if isinstance(self.target, str) else self.target

    def compile(self) -> re.Pattern[str]:
        """Return the regular expression for the source."""
        parts = re.split(r"\{(\w+)\}", self.source)
        fields = (f"(?P<{name}>{_FIELDS.get(name, '[0-9]+')})" for name in parts[1::2])
        return re.compile("".join(re.escape(text) + next(fields, "") for text in parts[::2]))

    def names(self, match: re.Match[str]) -> list[str]:
        """Return the parameters that a matching key fills."""

        def fill(field: re.Match[str]) -> str:
            name, step = field.groups()
            return str(int(match[name]) + int(step)) if step else match[name]

        return [_TARGET_FIELD.sub(fill, target) for target in self.targets]

    def back(self, target: str) -> tuple[str, str]:
        """Return the source and the target of the rule that leads back from one of the targets."""
        steps = dict(_TARGET_FIELD.findall(target))

        def undo(field: re.Match[str]) -> str:
            return "{" + field[1] + steps[field[1]].translate(str.maketrans("+-", "-+")) + "}"

        return _TARGET_FIELD.sub(r"{\1}", target), _TARGET_FIELD.sub(undo, self.source)


def invert(rules: Sequence[Rule]) -> list[Rule]:
    """Return the table that leads back, from the parameters to the keys.

    What was cut into blocks is joined, what was joined is cut, and what was dropped stays away.

    Raises:
        ValueError: if two rules fill the same parameter, so that nothing tells which of them leads back.
    """
    keys: dict[str, dict[int, str]] = defaultdict(dict)
    inverse: dict[str, Rule] = {}
    for rule in rules:
        for block, target in enumerate(rule.targets):
            name, key = rule.back(target)
            if (rule.part or 0) in keys[name]:
                raise ValueError(f"two rules fill {name}")
            keys[name][rule.part or 0] = key
            ordered = tuple(keys[name][part] for part in sorted(keys[name]))
            inverse[name] = replace(rule, source=name, target=ordered, part=block if len(rule.targets) > 1 else None)
    return list(inverse.values())


def plan(rules: Sequence[Rule], keys: Iterable[str]) -> dict[str, tuple[Rule, list[str]] | None]:
    """Say what becomes of each key.

    Args:
        rules: tried in order; the first that matches a key decides.
        keys: of the checkpoint.

    Returns:
        For each key its rule and the parameters that it fills, none if it is dropped; None if no rule knows it.
    """
    patterns = [(rule.compile(), rule) for rule in rules]
    found: dict[str, tuple[Rule, list[str]] | None] = {}
    for key in keys:
        matches = ((rule, match) for pattern, rule in patterns if (match := pattern.fullmatch(key)))
        found[key] = next(((rule, rule.names(match)) for rule, match in matches), None)
    return found


def rename(rules: Sequence[Rule], arrays: Mapping[str, mx.array]) -> tuple[dict[str, mx.array], list[str]]:
    """Put a checkpoint's arrays under the parameters' names, still in torch's layout.

    Args:
        rules: as for `plan`.
        arrays: the checkpoint.

    Returns:
        The arrays by parameter name, and what is wrong: unknown keys, parameters that would be filled twice, arrays
        that cannot be cut or joined.
    """
    blocks: dict[str, dict[int, mx.array]] = defaultdict(dict)
    unknown, twice, odd = [], [], []
    for key, fate in plan(rules, arrays).items():
        if fate is None:
            unknown.append(key)
            continue
        rule, targets = fate
        if not targets:
            continue
        array = arrays[key]
        if array.ndim == 0 or array.shape[0] % len(targets):
            odd.append(key)
            continue
        for target, piece in zip(targets, mx.split(array, len(targets)), strict=True):
            if (rule.part or 0) in blocks[target]:
                twice.append(target)
            blocks[target][rule.part or 0] = piece
    renamed = {}
    for target, pieces in blocks.items():
        ordered = [pieces[part] for part in sorted(pieces)]
        if len({piece.shape[1:] for piece in ordered}) > 1:
            odd.append(target)
        else:
            renamed[target] = ordered[0] if len(ordered) == 1 else mx.concatenate(ordered)
    problems = listing("unknown keys", unknown) + listing("parameters filled twice", twice)
    return renamed, problems + listing("whose parts do not fit together", odd)


def to_mlx_layout(
    arrays: Mapping[str, mx.array], wanted: Mapping[str, Shape], problems: Sequence[str] = ()
) -> dict[str, mx.array]:
    """Change convolutions from torch's layout to MLX's and check every name and shape.

    Args:
        arrays: by parameter name, in torch's layout.
        wanted: the shape of every parameter of the network.
        problems: what is known to be wrong already, to be told in the same error.

    Returns:
        Exactly the wanted parameters; computed when they are used.

    Raises:
        InputError: one error that lists the problems and all parameters that are missing, too many or mis-shaped.
    """
    converted = {}
    for name, array in arrays.items():
        if array.ndim == 4 and array.shape[2:] == (1, 1) and len(wanted.get(name, ())) == 2:
            array = array[:, :, 0, 0]  # a 1x1 convolution that is a linear layer here
        elif array.ndim == 4:
            array = array.transpose(0, 2, 3, 1)  # O, I, H, W -> O, H, W, I
        converted[name] = array
    shapes = {name: tuple(array.shape) for name, array in converted.items()}
    told = [*problems, *shape_problems(wanted, shapes, strict=True)]
    told += listing("not of a floating-point type", not_floating(converted))
    if told:
        raise InputError("the checkpoint does not fit: " + "; ".join(told))
    return converted


def to_torch_layout(rules: Sequence[Rule], arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Change convolutions from MLX's layout to torch's, and linear layers that are 1x1 convolutions there.

    Args:
        rules: those that lead back, which know the linear layers.
        arrays: by parameter name, in MLX's layout.

    Returns:
        The arrays by the same names; computed when they are used.
    """
    converted = {}
    for name, fate in plan(rules, arrays).items():
        array = arrays[name]
        if array.ndim == 4:
            array = array.transpose(0, 3, 1, 2)  # O, H, W, I -> O, I, H, W
        elif array.ndim == 2 and fate is not None and fate[0].pointwise:
            array = array[:, :, None, None]
        converted[name] = array
    return converted
