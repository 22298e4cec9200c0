"""A network that is told what it finds, and films for it."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import mlx.core as mx
import numpy as np
from helpers import small_config
from scipy import ndimage

from lucid_mlx.models import Mask2Former

SIZE = (96, 128)  # of the frames and of the network's input
LABELS = {0: "cup", 1: "spoon", 2: "table"}
THINGS = (0, 1)
QUERIES = 6
CHANNELS = 32
NO_OBJECT = len(LABELS)


class Thing(NamedTuple):
    """A square object: its number, from which its embedding and its color follow, its class and its place."""

    number: int
    label_id: int
    left: int
    top: int
    side: int = 24
    score: float = 0.95


def color(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, 3).astype(np.uint8)


def embedding(number: int, noise: float = 0.3, seed: int = 0) -> np.ndarray:
    shaken = np.random.default_rng([number, seed]).standard_normal(CHANNELS)
    return np.random.default_rng(number).standard_normal(CHANNELS) + noise * shaken


@lru_cache
def ground(seed: int) -> np.ndarray:
    """A picture of blobs, `SIZE`."""
    rng = np.random.default_rng(seed)
    image = sum(s * ndimage.gaussian_filter(rng.standard_normal((*SIZE, 3)), (s, s, 0)) for s in (2, 6))
    return (255 * (image - image.min()) / np.ptp(image)).astype(np.uint8)


class Shot(NamedTuple):
    """A frame's picture and what a network says of it."""

    image: np.ndarray
    classes: np.ndarray  # (Q, num_labels + 1), logits
    masks: np.ndarray  # (Q, h / 4, w / 4), logits
    states: np.ndarray  # (Q, C)

    def shuffled(self, order: Sequence[int]) -> "Shot":
        rows = list(order)
        return Shot(self.image, self.classes[rows], self.masks[rows], self.states[rows])


def shot(*things: Thing, background: int = 0, table: bool = False, seed: int = 0) -> Shot:
    """Draw things, the first on top, and say so; the other queries find nothing."""
    image = ground(background).copy()
    classes = np.zeros((QUERIES, NO_OBJECT + 1), np.float32)
    masks = np.full((QUERIES, SIZE[0] // 4, SIZE[1] // 4), -9.0, np.float32)
    states = np.stack([embedding(1000 + query, seed=seed) for query in range(QUERIES)]).astype(np.float32)
    classes[:, NO_OBJECT] = 9.0
    free = np.ones(SIZE, bool)
    for query, thing in enumerate(things):
        region = (
            slice(max(0, thing.top), max(0, thing.top + thing.side)),
            slice(max(0, thing.left), max(0, thing.left + thing.side)),
        )
        shown = np.zeros(SIZE, bool)
        shown[region] = free[region]
        free[region] = False
        image[shown] = color(thing.number)
        _say(classes, masks, query, thing.label_id, thing.score, shown)
        states[query] = embedding(thing.number, seed=seed)
    if table:
        _say(classes, masks, len(things), 2, 0.95, free)
    return Shot(image, classes, masks, states)


def _say(classes: np.ndarray, masks: np.ndarray, query: int, label_id: int, score: float, shown: np.ndarray) -> None:
    classes[query] = -9.0
    classes[query, [label_id, NO_OBJECT]] = np.log([score, 1 - score])
    masks[query] = np.where(shown.reshape(SIZE[0] // 4, 4, -1, 4).mean(axis=(1, 3)) > 0.5, 9.0, -9.0)


class Told(Mask2Former):
    """A network that says of the frames, one after the other, what it is told."""

    def __init__(self, shots: Sequence[Shot]):
        super().__init__(small_config(num_labels=len(LABELS), num_queries=QUERIES, hidden_dim=CHANNELS))
        self.config.id2label = LABELS
        self._shots = iter(shots)

    def __call__(self, pixels: mx.array) -> dict:
        said = [next(self._shots) for _ in range(len(pixels))]
        return {
            "class_queries_logits": mx.array(np.stack([one.classes for one in said])),
            "masks_queries_logits": mx.array(np.stack([one.masks for one in said])),
            "transformer_decoder_intermediate_states": (mx.array(np.stack([one.states for one in said], axis=1)),),
        }
