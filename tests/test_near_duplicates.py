"""Of two instances that are nearly the same, pictures and summaries have the surer one."""

import numpy as np
from test_result import ALL, DOT, instances, segmented

from lucid_mlx.visualization.overlay import distinct_masks


def test_the_surer_of_two_is_shown_and_named_and_both_are_exported():
    almost = ALL.copy()
    almost[0, 0] = 0
    result = instances(ALL, almost, DOT, labels=[2, 0, 4])
    assert [part.label for part in result.distinct] == ["sofa, couch, lounge", "screen"]
    assert result.summary() == "sofa, couch, lounge, screen (1 near-duplicate not shown)"
    assert len(result.segments) == len(result.to_coco()) == len(result.to_json()["segments"]) == 3
    assert np.array_equal(result.draw(), instances(ALL, DOT, labels=[2, 4]).draw())


def test_it_is_shown_if_the_surer_is_not_kept():
    kept = instances(ALL, ALL, labels=[2, 0]).only("wall")
    assert [part.label for part in kept.distinct] == ["wall"]
    assert kept.summary() == "wall"


def test_eight_tenths_in_common_are_no_duplicate():
    masks = np.zeros((2, 1, 10), bool)
    masks[0] = True
    masks[1, :, :8] = True
    assert len(distinct_masks(masks, [0.9, 0.8], np.zeros((1, 10, 3)))) == 2
    masks[1, :, :9] = True
    assert list(distinct_masks(masks, [0.8, 0.9], np.zeros((1, 10, 3)))) == [1]


def test_a_panoptic_result_has_none():
    assert segmented("panoptic").distinct == segmented("panoptic").segments
