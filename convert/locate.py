"""Find the network among the keys of a file: behind a prefix, beside its averaged copy or other networks."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import mlx.core as mx

from lucid_mlx.convert.families import FAMILIES, CheckpointFamily, count_known
from lucid_mlx.convert.rules import match_rules
from lucid_mlx.convert.source import SourceCheckpoint
from lucid_mlx.convert.tensor_tree import special_message
from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown

MAX_PREFIXES = 12  # that are tried, the most frequent first
SAME = 0.9  # of the keys of the fullest network: another one with so many is a second copy

# Parts of keys by torch's wrappers of a module, wherever they are.
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_fpw_module"}
_AVERAGED = re.compile(r"(?:^|[._])(?:ema|swa|shadow|avg|averaged?)(?:[._]|$)|ema_?model|model_?ema", re.IGNORECASE)
# What a trainer keeps of itself, of which nothing need be said.
_TRAINER = re.compile(
    r"(?:\w*_)?(?:rng|random|optim|sched|scaler|amp|hub|loops|callbacks|hyper|meta|args|cfg|config|history)"
    r"|(?:.*\.)?(?:steps|n_averaged|decay|num_updates|total_ops|total_params)$"
)


@dataclass(frozen=True)
class Network:
    """Which keys of a file are the network's.

    Attributes:
        family: of its keys; None if no family is known that has them.
        keys: the file's key for each key of the family.
        notes: for the user: what else is in the file, and which of several copies this is.
    """

    family: CheckpointFamily | None
    keys: Mapping[str, str]
    notes: Sequence[str] = field(default=())

    def select(self, arrays: Mapping[str, mx.array]) -> Mapping[str, mx.array]:
        """Return the network's arrays under its family's keys, in the shapes that they have in the file."""
        return _Selected(arrays, self.keys)


def locate_network(
    keys: Iterable[str],
    families: Mapping[str, CheckpointFamily] = FAMILIES,
    *,
    key: str | None = None,
    ema: bool = False,
    root: str = "",
) -> Network:
    """Find the network among the keys of a file.

    Args:
        keys: of the file.
        families: to choose from, by name.
        key: names of what holds the network, such as "state_dict.student"; None to look for it.
        ema: take the averaged weights (EMA), if the file has both.
        root: the names that were taken off all keys.

    Returns:
        The network; without a family, and with all keys, if none has half of the keys.

    Raises:
        InputError: if nothing is called `key`, there are no averaged weights, or there are several networks.
    """
    full = {_unwrapped(name): name for name in keys}
    within = "" if key is None else _start(key, full, root)
    names = {name.removeprefix(within): x for name, x in full.items() if name.startswith(within)}
    copies = _find_copies(names, families)
    if not copies:
        if ema:
            raise InputError("no averaged (EMA) weights were found in it")
        return Network(None, names)
    taken = _choose(copies, names, ema, root)
    family, prefix = copies[taken], taken
    own, beside = _split(names, family, prefix)
    others = [name for name in beside if not name.startswith(tuple(x for x in copies if x))]
    notes = _note_copies(copies, taken, names, root) + _note_left_out(others, full, key)
    return Network(family, own, notes)


def find_network(
    source: SourceCheckpoint, families: Mapping[str, CheckpointFamily], key: str | None = None, ema: bool = False
) -> Network:
    """Find the network among the arrays of a checkpoint.

    Args:
        source: the opened checkpoint.
        families: to choose from, by name.
        key: names of what holds the network, if the user named it.
        ema: take the averaged weights, if there are both.

    Returns:
        The network, whose family may be None.

    Raises:
        InputError: if there are several networks, nothing of that name, or tensors that cannot be read.
    """
    try:
        found = locate_network([*source.arrays, *source.special], families, key=key, ema=ema, root=source.root)
    except InputError as error:
        raise InputError(f"{source.name}: {error}") from None
    special = {short: source.special[full] for short, full in found.keys.items() if full in source.special}
    if special:
        raise InputError(f"{source.name}: {special_message(special)}")
    return replace(found, notes=[f"{source.name}: {note}" for note in found.notes])


def list_places(names: Collection[str], root: str = "") -> str:
    """List what holds the tensors of a file, and how many, such as "state_dict (700), ema (700)".

    Args:
        names: of the tensors.
        root: the names that were taken off all of them.

    Returns:
        The list, of at most eight.
    """
    start = 1
    counts = Counter(name.split(".")[0] for name in names)
    while len(counts) == 1 and len(names) > 1 and start < 8:  # all in one dictionary: what is in that
        start += 1
        counts = Counter(".".join(name.split(".")[:start]) for name in names)
    more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
    return ", ".join(f"{shown(root + name)[1:-1]} ({count})" for name, count in counts.most_common(8)) + more


def _unwrapped(key: str) -> str:
    if "_orig_mod" not in key and "_module." not in key and "_mod." not in key:
        return key
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def _start(key: str, names: Collection[str], root: str) -> str:
    """Return the start of the keys that are below the one that the user named."""
    start = _unwrapped(key.strip(".") + ".")
    if root.startswith(start):
        return ""
    start = start.removeprefix(root)
    if not any(name.startswith(start) for name in names):
        raise InputError(f"there is no {shown(key)} with tensors in it; tensors are in {list_places(names, root)}")
    return start


def _find_copies(names: Mapping[str, str], families: Mapping[str, CheckpointFamily]) -> dict[str, CheckpointFamily]:
    """Find the prefixes of the fullest networks of one family, and that family."""
    for family in families.values():
        few = list(names)[:: 1 + len(names) // 20]
        if names and count_known(family, few) == len(few) and count_known(family, names) == len(names):
            return {"": family}
    found: list[tuple[int, str, CheckpointFamily]] = []
    prefixes = Counter((prefix, x.name) for x in families.values() for name in names for prefix in _prefixes(name, x))
    most = 0
    for (prefix, family_name), rooted in prefixes.most_common(MAX_PREFIXES):
        family = families[family_name]
        if rooted < SAME * most:
            break
        inside = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
        known = count_known(family, filter(family.roots.match, inside))
        if known >= rooted / 2:
            found.append((known, prefix, family))
            most = max(most, known)
    if not found:
        return {}
    best: dict[str, CheckpointFamily] = {}
    order = list(families)
    for known, prefix, family in sorted(
        found, key=lambda entry: (-entry[0], len(entry[1]), order.index(entry[2].name))
    ):
        if known >= SAME * most and not any(prefix.startswith(x) or x.startswith(prefix) for x in best):
            best[prefix] = family
    return best


def _prefixes(name: str, family: CheckpointFamily) -> Iterator[str]:
    """Yield what may stand before the network in a key: the texts before the names of its parts."""
    if family.roots.match(name):
        yield ""
    for _, dot in zip(range(MAX_PREFIXES), re.finditer(r"\.", name), strict=False):
        if family.roots.match(name, dot.end()):
            yield name[: dot.end()]


def _split(names: Mapping[str, str], family: CheckpointFamily, prefix: str) -> tuple[dict[str, str], list[str]]:
    """Split keys into those of the network, without the prefix, and those of other things."""
    inside = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
    known = match_rules(family.rules, inside)
    own = {short: names[name] for short, name in inside.items() if known[short] or family.roots.match(short)}
    taken = {inside[short] for short in own}
    return own, [name for name in names if name not in taken]


def _choose(copies: Collection[str], names: Mapping[str, str], ema: bool, root: str) -> str:
    """Choose one of several copies of a network by its prefix."""
    averaged = [prefix for prefix in copies if _is_averaged(prefix, names)]
    if not averaged and _AVERAGED.search(root):  # all that the file holds is averaged
        averaged = list(copies)
    plain = [prefix for prefix in copies if prefix not in averaged]
    if ema and not averaged:
        raise InputError(f"no averaged (EMA) weights were found in it; tensors are in {list_places(names, root)}")
    candidates = averaged if ema or not plain else plain
    if len(candidates) > 1:
        shown_names = ", ".join(sorted(shown(root + prefix[:-1]) for prefix in candidates)[:8])
        raise InputError(
            f"it holds {len(candidates)} networks: {shown_names}; name one: lucid-mlx convert "
            "FILE --key NAME, in Python lucid_mlx.load(FILE, key=NAME)"
        )
    return candidates[0]


def _is_averaged(prefix: str, names: Mapping[str, str]) -> bool:
    """Return whether a copy has averaged weights; two trainers store these as the model's own."""
    if "current_model_state" in {name.split(".")[0] for name in names}:  # Lightning's WeightAveraging
        return prefix.startswith("state_dict.")
    if "ema_state_dict.steps" in names:  # mmengine's EMAHook
        return prefix.startswith("state_dict.")
    if prefix.removesuffix("module.") + "n_averaged" in names:  # torch's AveragedModel
        return True
    return _AVERAGED.search(prefix) is not None


def _note_copies(copies: Collection[str], taken: str, names: Mapping[str, str], root: str) -> list[str]:
    if len(copies) == 1:
        return []
    kinds = {prefix: "averaged (EMA)" if _is_averaged(prefix, names) else "raw" for prefix in copies}
    other = next(prefix for prefix in copies if prefix != taken)
    how = "`lucid-mlx convert --ema` (in Python load(..., ema=True))"
    if kinds[taken] != "raw":
        how = "leaving out --ema (ema=True)"
    if kinds[taken] == kinds[other]:
        how = f"`lucid-mlx convert --key {root + other[:-1]}` (in Python load(..., key=))"
    return [
        f"it holds {len(copies)} copies of the network; the {kinds[taken]} weights, "
        f"{shown(root + taken[:-1])}, are taken, and {how} takes the {kinds[other]} ones, {shown(root + other[:-1])}"
    ]


def _note_left_out(others: Sequence[str], full: Mapping[str, str], key: str | None) -> list[str]:
    others = [name for name in others if not _TRAINER.match(name)]
    if not others or key is not None:
        return []
    return [f"{len(others)} of its {len(full)} tensors are no part of the network and left out: {list_places(others)}"]


class _Selected(Mapping[str, mx.array]):
    """Some arrays of a mapping, under other keys."""

    def __init__(self, arrays: Mapping[str, mx.array], keys: Mapping[str, str]):
        self._arrays, self._keys = arrays, keys

    def __getitem__(self, key: str) -> mx.array:
        return self._arrays[self._keys[key]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
