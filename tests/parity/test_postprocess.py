"""Post-processing against the original project's formulas and against transformers, both live and in float64.

Maps may differ only where the two best scores are within 1e-6 of each other. Torch's own
float32 results differ from its float64 results by up to 4e-6, because of rounded resize coordinates.
"""

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate
from transformers import Mask2FormerImageProcessorPil

from lucid_mlx.postprocessing import (
    Instances,
    huggingface,
    instance_segmentation,
    panoptic_segmentation,
    semantic_segmentation,
)

TIE = 1e-6
THINGS = range(0, 80, 2)

Logits = tuple[np.ndarray, np.ndarray]
Size = tuple[int, int]

# Labels, the mask logits' size, the network's input, the part of it that is the image, the result.
SIZES = [
    (70, (24, 32), (96, 128), (96, 128), (120, 160)),  # enlarged
    (70, (24, 32), (96, 128), (75, 101), (200, 131)),  # padded, then enlarged unevenly
    (7, (17, 9), (66, 35), (66, 35), (40, 21)),  # the input is no multiple of 4; reduced
    (7, (16, 16), (64, 64), (64, 3), (1, 1)),
    (3, (1, 1), (3, 2), (2, 1), (5, 400)),
    (65, (60, 8), (240, 32), (240, 32), (11, 300)),
]
PATTERNS = ["noise", "blobs"]


def logits(pattern: str, labels: int, size: Size, queries: int = 12, batch: int = 2, seed: int = 0) -> Logits:
    """Mask logits of noise or of blobs; half of the queries have a high score for a class, a few for no object."""
    rng = np.random.default_rng(seed)
    classes = rng.standard_normal((batch, queries, labels + 1))
    confident = rng.random((batch, queries)) < 0.5
    peaks = rng.integers(0, labels + 1, (batch, queries))
    np.put_along_axis(
        classes, peaks[..., None], np.where(confident, rng.uniform(5, 12, confident.shape), 1.0)[..., None], -1
    )
    if pattern == "noise":
        masks = 5 * rng.standard_normal((batch, queries, *size))
    else:
        y, x = np.mgrid[: size[0], : size[1]] / max(size)
        center, radius = rng.random((2, batch, queries, 1, 1)), rng.uniform(0.1, 0.6, (batch, queries, 1, 1))
        masks = 8 - 8 * np.hypot(y - center[0], x - center[1]) / radius
    return classes.astype(np.float32), masks.astype(np.float32)


def to_mlx(arrays: Logits) -> dict[str, mx.array]:
    return {"class_queries_logits": mx.array(arrays[0]), "masks_queries_logits": mx.array(arrays[1])}


def to_torch(arrays: Logits, dtype: torch.dtype = torch.float64) -> SimpleNamespace:
    classes, masks = (torch.from_numpy(x).to(dtype) for x in arrays)
    return SimpleNamespace(class_queries_logits=classes, masks_queries_logits=masks)


def bilinear(x: torch.Tensor, size: Size) -> torch.Tensor:
    return interpolate(x[None], size=size, mode="bilinear", align_corners=False)[0]


def relative_gap(scores: torch.Tensor) -> np.ndarray:
    """Return the difference of the two highest scores, relative to the highest."""
    if len(scores) == 1:
        return np.ones(scores.shape[1:])
    best, second = scores.topk(2, dim=0).values
    return ((best - second) / best).numpy()


def assert_equal_but_for_ties(ours: mx.array, wanted: np.ndarray, gap: np.ndarray, tie: float = TIE) -> None:
    got = np.array(ours)
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    differing = got != wanted
    assert (gap[differing] <= tie).all(), f"{differing.sum()} pixels differ, by up to {gap[differing].max()}"


class Original:
    """The original project's inference for one image and all three tasks, as published, in float64."""

    def __init__(self, arrays: Logits, image: int, input_size: Size, content_size: Size, size: Size):
        self.classes, masks = (torch.from_numpy(x[image]).double() for x in arrays)
        self.content_size, self.size = content_size, size
        self.at_input = bilinear(masks, input_size)
        self.masks = self.resized(self.at_input)

    def resized(self, x: torch.Tensor) -> torch.Tensor:
        return bilinear(x[:, : self.content_size[0], : self.content_size[1]], self.size)

    def semantic(self, resize_scores: bool) -> torch.Tensor:
        probabilities = self.classes.softmax(-1)[:, :-1]
        masks = self.at_input if resize_scores else self.masks
        scores = torch.einsum("qc,qhw->chw", probabilities, masks.sigmoid())
        return self.resized(scores) if resize_scores else scores

    def panoptic(self, things: Any) -> tuple[np.ndarray, list[tuple[int, int]], np.ndarray]:
        """Return the map, (id, label) of each segment, and each pixel's distance from another decision."""
        scores, labels = self.classes.softmax(-1).max(-1)
        keep = (labels != self.classes.shape[-1] - 1) & (scores > 0.8)
        result = torch.zeros(self.size, dtype=torch.int32)
        if not keep.any():
            return result.numpy(), [], np.ones(self.size)
        masks = self.masks[keep].sigmoid()
        weighted = scores[keep][:, None, None] * masks
        winner = weighted.argmax(0)
        segments: list[tuple[int, int]] = []
        stuff: dict[int, int] = {}
        for query, label in enumerate(labels[keep].tolist()):
            won, mask = winner == query, masks[query] >= 0.5
            if (won & mask).sum() == 0 or won.sum().item() / mask.sum().item() < 0.8:
                continue
            if label in stuff:
                result[won & mask] = stuff[label]
                continue
            segments.append((len(segments) + 1, label))
            result[won & mask] = len(segments)
            if label not in things:
                stuff[label] = len(segments)
        border = (masks - 0.5).abs().amin(0).numpy()
        return result.numpy(), segments, np.minimum(relative_gap(weighted), border)

    def instance(self, top_k: int, things: Any) -> list[tuple[float, int, torch.Tensor]]:
        """Return score, label and mask logits of each instance."""
        scores, pairs = self.classes.softmax(-1)[:, :-1].flatten().topk(top_k)
        found = []
        for score, pair in zip(scores, pairs.tolist(), strict=True):
            query, label = divmod(pair, self.classes.shape[-1] - 1)
            inside = self.masks[query] > 0
            mean = (self.masks[query].sigmoid() * inside).sum() / (inside.sum() + 1e-6)
            if things is None or label in things:
                found.append(((score * mean).item(), label, self.masks[query]))
        return sorted(found, key=lambda one: -one[0])


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
class TestOriginal:
    @pytest.mark.parametrize("resize_scores", [False, True])
    def test_semantic(self, pattern: str, sizes: Any, resize_scores: bool) -> None:
        labels, mask_size, input_size, content_size, size = sizes
        arrays = logits(pattern, labels, mask_size)
        ours = semantic_segmentation(
            to_mlx(arrays),
            input_size,
            [size, content_size],
            content_sizes=[content_size, content_size],
            resize_scores=resize_scores,
        )
        for image, target in enumerate((size, content_size)):
            scores = Original(arrays, image, input_size, content_size, target).semantic(resize_scores)
            assert_equal_but_for_ties(ours[image], scores.argmax(0).numpy().astype(np.int32), relative_gap(scores))

    def test_panoptic(self, pattern: str, sizes: Any) -> None:
        labels, mask_size, input_size, content_size, size = sizes
        arrays = logits(pattern, labels, mask_size)
        ours = panoptic_segmentation(
            to_mlx(arrays),
            input_size,
            [size, content_size],
            content_sizes=[content_size, content_size],
            thing_ids=THINGS,
        )
        for image, target in enumerate((size, content_size)):
            wanted, segments, gap = Original(arrays, image, input_size, content_size, target).panoptic(THINGS)
            assert_equal_but_for_ties(ours[image].segmentation, wanted, gap)
            assert [(one.id, one.label_id) for one in ours[image].segments] == segments
            areas = np.bincount(np.array(ours[image].segmentation).ravel(), minlength=len(segments) + 1)
            assert [one.area for one in ours[image].segments] == areas[1:].tolist()

    @pytest.mark.parametrize("things", [None, THINGS])
    def test_instance(self, pattern: str, sizes: Any, things: Any) -> None:
        labels, mask_size, input_size, content_size, size = sizes
        arrays = logits(pattern, labels, mask_size)
        ours = instance_segmentation(
            to_mlx(arrays),
            input_size,
            [size, content_size],
            content_sizes=[content_size, content_size],
            thing_ids=things,
            top_k=20,
        )
        for image, target in enumerate((size, content_size)):
            wanted = Original(arrays, image, input_size, content_size, target).instance(20, things)
            assert_instances(ours[image], wanted)


def assert_instances(ours: Instances, wanted: list[tuple[float, int, torch.Tensor]]) -> None:
    assert len(ours) == len(wanted)
    if not wanted:
        return
    np.testing.assert_allclose(np.array(ours.scores), [score for score, _, _ in wanted], atol=1e-6)
    masks = np.array(ours.masks())
    areas, boxes = np.array(ours.areas), np.array(ours.boxes)
    # Instances of one query with nearly the same score may be swapped.
    remaining = list(range(len(wanted)))
    for number, (label, score) in enumerate(zip(ours.label_ids.tolist(), ours.scores.tolist(), strict=True)):
        match = next(i for i in remaining if wanted[i][1] == label and abs(wanted[i][0] - score) < 1e-6)
        remaining.remove(match)
        mask_logits = wanted[match][2].numpy()
        clear = np.abs(mask_logits) > 1e-5
        assert np.array_equal(masks[number][clear], mask_logits[clear] > 0)
        assert areas[number] == masks[number].sum()
        rows, columns = np.flatnonzero(masks[number].any(1)), np.flatnonzero(masks[number].any(0))
        box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else [0, 0, 0, 0]
        assert boxes[number].tolist() == box


def test_the_cases_have_segments() -> None:
    found = [
        Original(logits(pattern, labels, mask_size), 0, input_size, content_size, size).panoptic(THINGS)
        for pattern in PATTERNS
        for labels, mask_size, input_size, content_size, size in SIZES
    ]
    assert max(len(segments) for _, segments, _ in found) >= 3


PROCESSOR = Mask2FormerImageProcessorPil()
TARGETS = [None, [(480, 640), (123, 77)], [(384, 384), (768, 768)], [(1, 1), (3, 900)]]
CASES = [("noise", 70, (96, 96)), ("blobs", 70, (96, 96)), ("blobs", 65, (33, 57)), ("noise", 66, (5, 1))]


@pytest.mark.parametrize("targets", TARGETS, ids=str)
@pytest.mark.parametrize(("pattern", "labels", "mask_size"), CASES)
class TestHuggingFace:
    def test_semantic(self, pattern: str, labels: int, mask_size: Size, targets: Any) -> None:
        arrays = logits(pattern, labels, mask_size)
        ours = huggingface.post_process_semantic_segmentation(to_mlx(arrays), targets)
        scored = huggingface.post_process_semantic_segmentation(
            to_mlx(arrays), targets, return_segmentation_scores=True
        )
        for dtype, tie in ((torch.float64, TIE), (torch.float32, 1e-5)):
            theirs = PROCESSOR.post_process_semantic_segmentation(to_torch(arrays, dtype), targets, True)
            for mine, their in zip(ours, theirs, strict=True):
                gap = relative_gap(their.segmentation_scores)
                assert_equal_but_for_ties(mine, their.segmentation.numpy().astype(np.int32), gap, tie)
            for with_scores, their in zip(scored, theirs, strict=True):
                gap = relative_gap(their.segmentation_scores)
                assert_equal_but_for_ties(
                    with_scores.segmentation, their["segmentation"].numpy().astype(np.int32), gap, tie
                )
                if dtype == torch.float64:  # torch's own float32 is off by 2e-5 on noise
                    theirs_exactly = their["segmentation_scores"].numpy()
                    np.testing.assert_allclose(np.array(with_scores["segmentation_scores"]), theirs_exactly, atol=3e-6)

    @pytest.mark.parametrize("fuse", [None, set(range(0, 80, 2))], ids=["apart", "fused"])
    def test_panoptic(self, pattern: str, labels: int, mask_size: Size, targets: Any, fuse: Any) -> None:
        check_panoptic(logits(pattern, labels, mask_size), targets, label_ids_to_fuse=fuse, threshold=0.6)

    @pytest.mark.parametrize("form", [{}, {"return_coco_annotation": True}, {"return_binary_maps": True}], ids=str)
    def test_instance(self, pattern: str, labels: int, mask_size: Size, targets: Any, form: Any) -> None:
        arrays = logits(pattern, labels, mask_size)
        check_instance(arrays, target_sizes=targets, **form)


def check_panoptic(arrays: Logits, targets: Any, **options: Any) -> list[dict[str, Any]]:
    ours = huggingface.post_process_panoptic_segmentation(to_mlx(arrays), target_sizes=targets, **options)
    outputs = to_torch(arrays)
    theirs = PROCESSOR.post_process_panoptic_segmentation(outputs, target_sizes=targets, **options)
    for image, (mine, their) in enumerate(zip(ours, theirs, strict=True)):
        size = (384, 384) if targets is None else targets[image]
        probabilities = outputs.class_queries_logits[image].softmax(-1)
        scores, labels = probabilities.max(-1)
        keep = (labels < probabilities.shape[-1] - 1) & (scores > options.get("threshold", 0.5))
        gap = np.ones(size)
        if keep.any():
            masks = bilinear(bilinear(outputs.masks_queries_logits[image], (384, 384))[keep].sigmoid(), size)
            gap = relative_gap(masks * scores[keep][:, None, None])
        assert_equal_but_for_ties(mine["segmentation"], their["segmentation"].numpy(), gap)
        assert_same_segments(mine["segments_info"], their["segments_info"])
    return ours


def check_instance(arrays: Logits, dtype: torch.dtype = torch.float64, **options: Any) -> list[dict[str, Any]]:
    # With the published threshold of 0.5, and with one at which objects overlap.
    for threshold in (0.5, 0.02):
        ours = huggingface.post_process_instance_segmentation(to_mlx(arrays), threshold, **options)
        theirs = PROCESSOR.post_process_instance_segmentation(to_torch(arrays, dtype), threshold, **options)
        for mine, their in zip(ours, theirs, strict=True):
            assert_same_segments(mine["segments_info"], their["segments_info"])
            if isinstance(their["segmentation"], list):
                runs = [list(map(int, run)) for run in their["segmentation"]]
                assert mine["segmentation"] == runs
            else:
                assert np.array_equal(np.array(mine["segmentation"]), their["segmentation"].float().numpy())
                assert mine["segmentation"].dtype == mx.float32
    return ours


def assert_same_segments(mine: list[dict[str, Any]], their: list[dict[str, Any]]) -> None:
    assert [list(one) for one in mine] == [list(one) for one in their]
    for key in ("id", "label_id", "was_fused"):
        assert [one[key] for one in mine] == [one[key] for one in their]
    np.testing.assert_allclose([one["score"] for one in mine], [one["score"] for one in their], atol=1.5e-6)


def test_an_id_occurs_twice_after_fusing() -> None:
    # Four quarters of the image: stuff, a thing, the same stuff, another thing.
    classes = np.zeros((1, 4, 66), np.float32)
    classes[0, range(4), [0, 1, 0, 2]] = 20
    masks = np.full((1, 4, 4, 4), -5, np.float32)
    for query, (row, column) in enumerate(np.ndindex(2, 2)):
        masks[0, query, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 5
    ours = check_panoptic((classes, masks), [(16, 16)], label_ids_to_fuse={0})
    assert [one["id"] for one in ours[0]["segments_info"]] == [1, 2, 1, 2]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    mask_size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    target=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    labels=st.integers(64, 70),
    overlap=st.sampled_from([0.1, 0.5, 0.8]),
    mask_threshold=st.sampled_from([0.3, 0.5, 0.7]),
)
def test_any_sizes_and_thresholds_of_transformers(
    seed: int, mask_size: Size, target: Size, labels: int, overlap: float, mask_threshold: float
) -> None:
    arrays = logits("blobs", labels, mask_size, queries=6, batch=1, seed=seed)
    options = {"mask_threshold": mask_threshold, "overlap_mask_area_threshold": overlap}
    check_panoptic(arrays, [target], label_ids_to_fuse=set(range(0, 70, 2)), **options)
    check_instance(arrays, target_sizes=[target], **options)


def test_an_overlap_exactly_at_the_threshold() -> None:
    # 4/5 of the mask: torch divides in float32, where 4/5 is slightly above the 0.8 it is compared with.
    classes = np.full((1, 2, 65), -20, np.float32)
    classes[0, :, :2] = np.eye(2) * [[20], [30]]
    masks = np.full((1, 2, 384, 384), [[[-30]], [[-20]]], np.float32)
    masks[0, 0, 0, :5] = 5
    masks[0, 1, 0, 0] = 9
    for overlap in (0.8, 0.79999, 0.80001):
        check_panoptic((classes, masks), None, overlap_mask_area_threshold=overlap, label_ids_to_fuse=set())


def test_with_few_classes_only_the_order_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = logits("blobs", 8, (96, 96))
    topk = torch.Tensor.topk
    found = PROCESSOR.post_process_instance_segmentation(to_torch(arrays), 0.02, return_binary_maps=True)
    monkeypatch.setattr(torch.Tensor, "topk", lambda self, k, sorted: topk(self, k))
    check_instance(arrays)
    ours = huggingface.post_process_instance_segmentation(to_mlx(arrays), 0.02, return_binary_maps=True)
    for mine, their in zip(ours, found, strict=True):
        objects = [
            sorted(
                (info["label_id"], round(info["score"], 4), mask.sum().item())
                for info, mask in zip(result["segments_info"], result["segmentation"], strict=True)
            )
            for result in (mine, their)
        ]
        assert objects[0] == objects[1]
