"""Rename rules: which parameter each array of a checkpoint becomes.

A family of checkpoints has a list of rules. It must be complete: every key of the source matches a rule, which renames
or drops its array, and every parameter is filled exactly once. Otherwise one error lists all problems.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import mlx.core as mx

from lucid_mlx.errors import InputError
from lucid_mlx.utils.parameters import count_and_list, not_floating, shape_problems

Shape = tuple[int, ...]

# What a field of a rule's source matches; any other field matches a number.
_FIELDS = {"wb": "weight|bias", "bn": "weight|bias|running_mean|running_var", "any": ".+"}

# A field of a target: its name, and what to add to its number.
_TARGET_FIELD = re.compile(r"\{(\w+)([+-][0-9]+)?\}")


@dataclass(frozen=True)
class Rule:
    """Renames or drops the arrays whose keys match a pattern.

    Attributes:
        source: pattern of the whole source key, with fields in braces: {i} and other names for a number, {wb} for
            weight or bias, {bn} for these and the running statistics, {any} for anything.
        target: name of the parameter, with the same fields; {i-1} and {i+1} change the number. None: the array is
            dropped. Several names: the array is split into as many equal chunks along its first axis.
        reason: why the rule is right.
        chunk: None, or the index of the chunk of the target that the array is; the chunks are concatenated along the
            first axis.
        conv_to_linear: the source is a 1x1 convolution and the target a linear layer. Only the inverse rule needs
            this; `to_mlx_layout` sees it from the shapes.
    """

    source: str
    target: str | tuple[str, ...] | None
    reason: str = "the same layer under our name"
    chunk: int | None = None
    conv_to_linear: bool = False

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets as a tuple, empty if the array is dropped."""
        if self.target is None:
            return ()
        return (self.target,) if isinstance(self.target, str) else self.target

    def compile(self) -> re.Pattern[str]:
        """Return the regular expression of the source."""
        return _pattern(self.source)

    def parameter_names(self, match: re.Match[str]) -> list[str]:
        """Return the names of the parameters that the array of a matching key fills."""

        def fill(field: re.Match[str]) -> str:
            name, step = field.groups()
            return str(int(match[name]) + int(step)) if step else match[name]

        return [_TARGET_FIELD.sub(fill, target) for target in self.targets]

    def inverse(self, target: str) -> tuple[str, str]:
        """Return the source and the target of the rule that maps one of the targets back to this source."""
        steps = dict(_TARGET_FIELD.findall(target))

        def undo(field: re.Match[str]) -> str:
            return "{" + field[1] + steps[field[1]].translate(str.maketrans("+-", "-+")) + "}"

        return _TARGET_FIELD.sub(r"{\1}", target), _TARGET_FIELD.sub(undo, self.source)


@cache  # rules are few, and many sets of keys are matched with them
def _pattern(source: str) -> re.Pattern[str]:
    texts_and_fields = re.split(r"\{(\w+)\}", source)
    fields = (f"(?P<{name}>{_FIELDS.get(name, '[0-9]+')})" for name in texts_and_fields[1::2])
    return re.compile("".join(re.escape(text) + next(fields, "") for text in texts_and_fields[::2]))


RuleMatch = tuple[Rule, list[str]]
"""The rule that matches a key, and the parameters that the key's array fills; none if the array is dropped."""


def invert(rules: Sequence[Rule]) -> list[Rule]:
    """Return the rules that map parameters back to source keys.

    Arrays that were split are concatenated, those that were concatenated are split, and dropped ones stay missing.

    Args:
        rules: to invert.

    Returns:
        A rule for each parameter.

    Raises:
        ValueError: if two rules fill the same parameter, so that the inverse is not unique.
    """
    keys: dict[str, dict[int, str]] = defaultdict(dict)
    inverse: dict[str, Rule] = {}
    for rule in rules:
        for index, target in enumerate(rule.targets):
            name, key = rule.inverse(target)
            if (rule.chunk or 0) in keys[name]:
                raise ValueError(f"two rules fill {name}")
            keys[name][rule.chunk or 0] = key
            ordered = tuple(keys[name][chunk] for chunk in sorted(keys[name]))
            inverse[name] = replace(rule, source=name, target=ordered, chunk=index if len(rule.targets) > 1 else None)
    return list(inverse.values())


def match_rules(rules: Sequence[Rule], keys: Iterable[str]) -> dict[str, RuleMatch | None]:
    """Find the rule of each key.

    Args:
        rules: tried in order; the first one that matches is used.
        keys: of the checkpoint.

    Returns:
        The match of each key, None if no rule matches it.
    """
    patterns = [(rule.compile(), rule) for rule in rules]
    found: dict[str, RuleMatch | None] = {}
    for key in keys:
        matches = ((rule, match) for pattern, rule in patterns if (match := pattern.fullmatch(key)))
        found[key] = next(((rule, rule.parameter_names(match)) for rule, match in matches), None)
    return found


def rename(rules: Sequence[Rule], arrays: Mapping[str, mx.array]) -> tuple[dict[str, mx.array], list[str]]:
    """Rename a checkpoint's arrays to parameter names; the layout stays torch's.

    Args:
        rules: tried in order; the first one that matches is used.
        arrays: of the checkpoint, by key.

    Returns:
        The arrays by parameter name, with their shapes, split and concatenated as the rules say; and all problems:
        unknown keys, parameters that are filled twice, arrays that cannot be split or concatenated.
    """
    chunks: dict[str, dict[int, mx.array]] = defaultdict(dict)
    unknown, duplicates, incompatible = [], [], []
    for key, match in match_rules(rules, arrays).items():
        if match is None:
            unknown.append(key)
            continue
        rule, targets = match
        if not targets:
            continue
        array = arrays[key]
        if array.ndim == 0 or array.shape[0] % len(targets):
            incompatible.append(key)
            continue
        for target, chunk in zip(targets, mx.split(array, len(targets)), strict=True):
            if (rule.chunk or 0) in chunks[target]:
                duplicates.append(target)
            chunks[target][rule.chunk or 0] = chunk
    renamed = {}
    for target, by_index in chunks.items():
        ordered = [by_index[index] for index in sorted(by_index)]
        if len({chunk.shape[1:] for chunk in ordered}) > 1:
            incompatible.append(target)
        else:
            renamed[target] = ordered[0] if len(ordered) == 1 else mx.concatenate(ordered)
    problems = count_and_list("unknown keys", unknown) + count_and_list("parameters filled twice", duplicates)
    return renamed, problems + count_and_list("whose chunks do not fit together", incompatible)


def to_mlx_layout(
    arrays: Mapping[str, mx.array], expected: Mapping[str, Shape], problems: Sequence[str] = ()
) -> dict[str, mx.array]:
    """Change convolution weights from torch's layout to MLX's, and check all names and shapes.

    Args:
        arrays: by parameter name, in torch's layout (O, I, H, W).
        expected: the shape of every parameter of the network.
        problems: that are known already; they are part of the same error.

    Returns:
        The arrays by parameter name, exactly of the expected names and shapes, in MLX's layout (O, H, W, I); computed
        when they are used.

    Raises:
        InputError: one error that lists the problems and all missing, unexpected and mis-shaped parameters.
    """
    converted = {}
    for name, array in arrays.items():
        if array.ndim == 4 and array.shape[2:] == (1, 1) and len(expected.get(name, ())) == 2:
            array = array[:, :, 0, 0]  # a 1x1 convolution that is a linear layer here
        elif array.ndim == 4:
            array = array.transpose(0, 2, 3, 1)  # O, I, H, W -> O, H, W, I
        converted[name] = array
    shapes = {name: tuple(array.shape) for name, array in converted.items()}
    all_problems = [*problems, *shape_problems(expected, shapes, strict=True)]
    all_problems += count_and_list("not of a floating-point type", not_floating(converted))
    if all_problems:
        raise InputError("the checkpoint does not fit: " + "; ".join(all_problems))
    return converted


def to_torch_layout(rules: Sequence[Rule], arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Change convolution weights from MLX's layout to torch's, and linear layers that are 1x1 convolutions there.

    Args:
        rules: inverse rules, which mark these linear layers with `conv_to_linear`.
        arrays: by parameter name, in MLX's layout (O, H, W, I).

    Returns:
        The arrays by the same names, in torch's layout (O, I, H, W); computed when they are used.
    """
    converted = {}
    for name, match in match_rules(rules, arrays).items():
        array = arrays[name]
        if array.ndim == 4:
            array = array.transpose(0, 3, 1, 2)  # O, H, W, I -> O, I, H, W
        elif array.ndim == 2 and match is not None and match[0].conv_to_linear:
            array = array[:, :, None, None]
        converted[name] = array
    return converted
