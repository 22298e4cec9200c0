"""Attention masks whose ties fall alike in ours and the reference."""

from collections.abc import Iterator

import mlx.core as mx
import numpy as np
import pytest
import torch
from transformers.models.mask2former import modeling_mask2former

from lucid_mlx.models.vision.mask2former import transformer_decoder


class Ties:
    """Makes the reference decide attention masks as we did wherever its own logit is zero but for rounding.

    A mask logit's sign decides whether a query attends to a cell. Of a million such decisions in a forward, one
    or two have logits within rounding of zero, and a single cell more or less moves a query by 1e-2. Those are
    ties, not differences: where the reference's logit is below 1e-5 of the largest, our decision is taken over.
    Any other disagreement stays, and shows.
    """

    TOLERANCE = 1e-5

    def __init__(self) -> None:
        self.ours: list[np.ndarray] = []
        self.flipped = 0


@pytest.fixture
def ties(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ties]:
    """Record our attention decisions, and replay them in the reference's ties. Run ours first, then the reference."""
    record = Ties()
    original = transformer_decoder.attention_mask

    def recording(logits: mx.array) -> mx.array:
        record.ours.append(np.array(logits) >= 0)
        return original(logits)

    predictor = modeling_mask2former.Mask2FormerMaskPredictor
    forward = predictor.forward

    def replaying(
        self: torch.nn.Module,
        outputs: torch.Tensor,
        pixel_embeddings: torch.Tensor,
        attention_mask_target_size: tuple[int, int] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        masks, blocked = forward(self, outputs, pixel_embeddings, attention_mask_target_size)
        if record.ours:  # after the last layer a mask is made that nobody uses
            inside = torch.from_numpy(record.ours.pop(0))
            logits = torch.nn.functional.interpolate(
                masks, size=attention_mask_target_size, mode="bilinear", align_corners=False
            ).flatten(2)
            tie = logits.abs() <= record.TOLERANCE * logits.abs().max()
            theirs = blocked.unflatten(0, (len(masks), -1))[:, 0]
            record.flipped += int((tie & (theirs == inside)).sum())
            merged = torch.where(tie, ~inside, theirs)
            blocked = merged.repeat_interleave(len(blocked) // len(masks), dim=0)
        return masks, blocked

    monkeypatch.setattr(transformer_decoder, "attention_mask", recording)
    monkeypatch.setattr(predictor, "forward", replaying)
    yield record
    assert not record.ours, "the reference ran fewer decoder layers than ours"
    assert record.flipped <= 10, f"{record.flipped} ties are too many to be ties"
