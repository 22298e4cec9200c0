"""Logits of a network, made up."""

import mlx.core as mx
import numpy as np

CONFIDENT, NO_OBJECT = 20.0, 2  # a class logit with a probability near 1; the index of "no object"


def outputs(classes, masks):
    """The outputs for one image."""
    return {
        "class_queries_logits": mx.array(np.asarray(classes, np.float32)[None]),
        "masks_queries_logits": mx.array(np.asarray(masks, np.float32)[None]),
    }


def noise(seed, queries=6, labels=5, size=(7, 10), batch=1):
    rng = np.random.default_rng(seed)
    classes = 4 * rng.standard_normal((batch, queries, labels + 1))
    masks = 5 * rng.standard_normal((batch, queries, *size))
    names = ("class_queries_logits", "masks_queries_logits")
    return {name: mx.array(x.astype(np.float32)) for name, x in zip(names, (classes, masks), strict=True)}


def labeled(*labels):
    """Class logits of queries with a high score for a label."""
    return CONFIDENT * np.eye(NO_OBJECT + 1)[list(labels)]


def boxed(*boxes, size=(8, 8), inside=9.0):
    """Mask logits that are positive inside a box: top, bottom, left, right."""
    masks = np.full((len(boxes), *size), -9.0)
    for mask, (top, bottom, left, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = inside
    return masks
