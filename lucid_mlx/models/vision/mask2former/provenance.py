"""What a model remembers of the checkpoint that its weights came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Provenance:
    """Where weights came from. Not the network's business, but saving and publishing a model need it.

    Attributes:
        metadata: of the checkpoint: source, revision, license, dataset; empty for random weights.
        preprocessor: of its `preprocessor_config.json`.
        quantization: of its `config.json`; None without quantized layers.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    preprocessor: Mapping[str, Any] = field(default_factory=dict)
    quantization: Mapping[str, Any] | None = None
