"""The network that comes with the package, exported, gives the same maps in transformers."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import torch
from transformers import AutoImageProcessor, Mask2FormerForUniversalSegmentation

import lucid_mlx
from lucid_mlx.convert.export import export_huggingface
from lucid_mlx.preprocessing import read_image
from lucid_mlx.weights.address import DEMO_FOLDER, DEMO_PHOTOS


def test_the_maps_of_the_exported_demo_are_the_same_in_transformers(tmp_path: Path) -> None:
    folder = export_huggingface(DEMO_FOLDER, tmp_path / "theirs")
    model, report = Mask2FormerForUniversalSegmentation.from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32
    )
    assert not any(report.values()), report
    processor = AutoImageProcessor.from_pretrained(folder)
    photo = read_image(DEMO_PHOTOS[0])
    with torch.inference_mode():
        out = model.eval()(**processor(photo, return_tensors="pt"))
    semantic = processor.post_process_semantic_segmentation(out, [photo.shape[:2]])[0].numpy()
    panoptic = processor.post_process_panoptic_segmentation(
        out, threshold=0.5, label_ids_to_fuse=set(range(3)), target_sizes=[photo.shape[:2]]
    )[0]

    ours = lucid_mlx.Segmenter("demo", "semantic", dtype=mx.float32)(photo)
    assert (ours.map == semantic).mean() > 0.9995
    found = lucid_mlx.Segmenter("demo", dtype=mx.float32)(photo, thresholds=lucid_mlx.Thresholds(0.5))
    theirs = sorted((segment["label_id"], segment["score"]) for segment in panoptic["segments_info"])
    mine = sorted((segment.label_id, segment.score) for segment in found.segments)
    assert [kind for kind, _ in mine] == [kind for kind, _ in theirs]
    assert mine
    assert np.allclose([score for _, score in mine], [score for _, score in theirs], atol=1e-4)
