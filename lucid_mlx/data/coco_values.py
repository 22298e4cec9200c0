"""Numbers, flags and ids as the tools of labeling write them: as text, as floats, as true and false."""

from typing import Any

Id = int | str  # ADE20K's panoptic annotations have strings as image ids

MAX_COCO_ID = (1 << 63) - 1
MAX_DIGITS = 19


def whole(value: Any) -> int | None:
    """Return a whole number that may be written as 96, 96.0 or "96"; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        if len(text) > MAX_DIGITS or not text.isascii() or not text.removeprefix("-").removesuffix(".0").isdigit():
            return None
        value = int(text.removesuffix(".0"))
    if type(value) is float and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    return value if type(value) is int and abs(value) <= MAX_COCO_ID else None


def identifier(value: Any) -> Id | None:
    """Return an id, the same whether it is written as 7, 7.0 or "7"; None for what is no id."""
    number = whole(value)
    if isinstance(value, str):
        return number if number is not None and str(number) == value.strip().removesuffix(".0") else value
    return number


def flag(value: Any) -> bool | None:
    """Return a flag that may be written as 1, 1.0, "1", true or "true"; None for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    number = 0 if value is None or value == "" else whole(value)
    return bool(number) if number in (0, 1) else None


def area(value: Any) -> float | None:
    """Return an area in pixels above 0; None for anything else."""
    if isinstance(value, str) and len(value) < 40:
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if type(value) in (int, float) and 0 < value <= 1e18 else None
