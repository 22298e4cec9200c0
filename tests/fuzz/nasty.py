"""Values and damage that no reader may trust. Everything is drawn from the generator that the caller gives."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

DEEP = 100_000  # levels of nesting, far beyond Python's limit
INTS = (0, 1, -1, 2, 3, 7, 64, 255, 256, 65535, 2**24, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53, 2**63 - 1, 2**63,
        -(2**63), 2**64, 10**19, 10**400, -(10**400))  # fmt: skip
FLOATS = (0.5, -0.5, 1e-300, 1e30, 1e308, -1e308, 2.2e8, 0.1, 1.0, -0.0, float("nan"), float("inf"), -float("inf"))
STRINGS = ("", "a", " ", "0", "-1", "1e9", "nan", "demo", "..", "../..", ".", "/", "~", "~nobody/x", "\0", "a\0b",
    "\n", "\x1b[31m",
           "\u202e", "\ud800", "x\udfff", "é", "𝄞", "a" * 300, "a" * 5000, "/" * 5000, "a/b", "a/b@c", "https://[x",
           "http://", "https://a:b:c/", "https://huggingface.co", "hf://", "hf://[x", "hf://a/b/../../c", "file:///x",
           "a:b", "mask2former_swin_tiny:", "{}", "%s%n", "512x", "9" * 5000, "True", "None", "['a']")  # fmt: skip


class RawJson(str):
    """A piece of JSON that is written as it is, since no Python value gives it."""


RAW_JSON = (
    RawJson("[" * DEEP + "]" * DEEP),
    RawJson('{"a":' * DEEP + "1" + "}" * DEEP),
    RawJson("[" * 500 + "]" * 500),
    RawJson("[" * DEEP),
    RawJson("1" + "0" * 400),
    RawJson("1" + "0" * 5000),
    RawJson("1e400"),
    RawJson("NaN"),
    RawJson("-Infinity"),
    RawJson('"\\ud800"'),
    RawJson('{"\\udfff": "\\ud800"}'),
    RawJson('"' + "a" * 1_000_000 + '"'),
    RawJson("[" + "0," * 100_000 + "0]"),
    RawJson('{"a": 1, "a": 2}'),
    RawJson(""),
    RawJson("tru"),
    RawJson('"\x01"'),
)


def scalar(rng: Random) -> Any:
    """A value that JSON, TOML and Python have."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(INTS)
    if kind == 1:
        return rng.choice(FLOATS)
    if kind == 2:
        return rng.choice(STRINGS)
    return rng.choice((True, False, rng.randrange(-3, 70), rng.uniform(-2, 2)))


def tree(rng: Random, depth: int = 2) -> Any:
    """A value of JSON, raw pieces included."""
    kind = rng.randrange(10)
    if kind == 0:
        return None
    if kind == 1:
        return rng.choice(RAW_JSON)
    if kind == 2 and depth:
        return [tree(rng, depth - 1) for _ in range(rng.randrange(5))]
    if kind == 3 and depth:
        return {str(scalar(rng))[:20]: tree(rng, depth - 1) for _ in range(rng.randrange(4))}
    return scalar(rng)


def mutated(rng: Random, value: Any, changes: int = 1) -> Any:
    """A copy of lists and dictionaries in which some places are dropped, doubled, swapped or nasty."""
    value = _copy(value)
    for _ in range(changes):
        places = list(_places(value))
        if not places or rng.random() < 0.01:
            return tree(rng)
        holder, key = rng.choice(places)
        kind = rng.randrange(12)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, _copy(holder[key]))
        elif kind == 2 and isinstance(holder, dict):
            holder[rng.choice(STRINGS[:30])] = holder.pop(key)
        elif kind == 3:
            other, where = rng.choice(places)
            if (isinstance(other, list) and where >= len(other)) or (isinstance(other, dict) and where not in other):
                continue
            holder[key] = _copy(other[where])
        elif kind == 4:
            holder[key] = [holder[key]]
        elif kind == 5 and isinstance(holder[key], list) and holder[key]:
            holder[key] = holder[key] * rng.choice((0, 2, 1000))
        elif kind == 6 and isinstance(holder[key], int | float):
            holder[key] = holder[key] * rng.choice((-1, 0, 2, 1000, 10**9, 0.5))
        else:
            holder[key] = tree(rng)
    return value


def _copy(value: Any) -> Any:
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)


def to_json(value: Any) -> str:
    """Write JSON, with raw pieces as they are."""
    if isinstance(value, RawJson):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(key))}:{to_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(to_json, value)) + "]"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**300:
        return ("-" if value < 0 else "") + "1" + "0" * 400
    return json.dumps(value)


def damaged(rng: Random, data: bytes, changes: int | None = None) -> bytes:
    """Bytes with some flipped, cut, doubled, or replaced by extreme numbers."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16)) if changes is None else changes):
        if not out:
            return bytes(out)
        at, kind = rng.randrange(len(out)), rng.randrange(10)
        if kind < 3:
            out[at] ^= 1 << rng.randrange(8)
        elif kind < 5:
            out[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif kind == 5:
            del out[at:]
        elif kind == 6:
            end = at + rng.randrange(1, 64)
            out[at:at] = out[at:end]
        elif kind == 7:
            del out[at : at + rng.randrange(1, 16)]
        else:
            number = rng.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1))
            size = rng.choice((2, 4, 8))
            out[at : at + size] = (number % 256**size).to_bytes(size, rng.choice(("little", "big")))
    return bytes(out)
