"""What lucid 3's model returns: fields by name, as in a dictionary, and in order, as in a tuple."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import mlx.core as mx


@dataclass
class SemanticSegmentationOutput:
    """The output of a model for semantic segmentation; fields that are None are left out of everything but attributes.

    Attributes:
        logits: (B, num_classes, H, W) float32, the score of each class at each pixel of the input.
        loss: a float32 scalar; None without targets.
        hidden_states: always None, as in lucid's Mask2Former.
    """

    logits: mx.array
    loss: mx.array | None = None
    hidden_states: tuple[mx.array, ...] | None = None

    def keys(self) -> list[str]:
        """Return the names of the fields that are not None."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]

    def values(self) -> list[Any]:
        """Return the fields that are not None."""
        return [getattr(self, name) for name in self.keys()]

    def items(self) -> list[tuple[str, Any]]:
        """Return the names and values of the fields that are not None."""
        return list(zip(self.keys(), self.values(), strict=True))

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the fields that are not None."""
        return tuple(self.values())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return dict(self.items())[key]
        return self.to_tuple()[key]
