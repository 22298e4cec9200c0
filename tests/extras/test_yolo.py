"""OpenCV fills the outlines of YOLO's text, as Ultralytics has it do: on whole pixels, and with the outline."""

import cv2
import numpy as np
from results import of_masks


def test_filled_outlines_are_the_masks_but_for_edges_and_holes_stay_empty():
    ys, xs = np.mgrid[:360, :480]
    distance = np.hypot(ys - 160, xs - 160)
    ring = (distance < 120) & (distance > 48)
    bars = (abs(xs - 340) < 20) & (abs(ys - 120) > 40)
    result = of_masks(ring, bars)
    height, width = result.map.shape
    lines = result.to_yolo().splitlines()
    assert len(lines) == len(result.segments) == 3
    for line, segment in zip(lines, result.segments, strict=True):
        number, *coordinates = line.split()
        points = np.array(coordinates, float).reshape(-1, 2) * (width, height)
        filled = np.zeros((height, width), np.uint8)
        cv2.fillPoly(filled, [points.astype(np.int32)], 1)
        mask = result.mask(segment)
        assert int(number) == segment.label_id
        assert (mask & (filled > 0)).sum() / (mask | (filled > 0)).sum() > 0.95
        if segment.label == "c0":
            assert filled[distance < 46].mean() < 0.01  # of a line that joins the hole to the outline
