"""Post-processing as transformers does it."""

import numpy as np
import pytest
from logits import NO_OBJECT, boxed, labeled, noise, outputs

from lucid_mlx import InputError
from lucid_mlx.postprocessing import (
    huggingface,
)


class TestHuggingFace:
    def test_panoptic_ids_may_occur_twice_after_a_fused_segment(self):
        quarters = [(0, 4, 0, 4), (0, 4, 4, 8), (4, 8, 0, 4), (4, 8, 4, 8)]
        got = huggingface.post_process_panoptic_segmentation(
            outputs(labeled(0, 1, 0, 1), boxed(*quarters)), label_ids_to_fuse={0}, target_sizes=[(4, 4)]
        )[0]
        assert np.array(got["segmentation"]).tolist() == [[1, 1, 2, 2]] * 2 + [[1, 1, 2, 2]] * 2
        assert [(one["id"], one["label_id"], one["was_fused"]) for one in got["segments_info"]] == [
            (1, 0, True), (2, 1, False), (1, 0, True), (2, 1, False),
        ]  # fmt: skip

    @pytest.mark.parametrize("sizes", [None, [(384, 384)]])
    def test_panoptic_at_the_internal_size(self, sizes):
        network = outputs(labeled(0, 1), boxed((0, 8, 0, 4), (0, 8, 4, 8)))
        got = huggingface.post_process_panoptic_segmentation(network, target_sizes=sizes)[0]
        halves = np.repeat([[1.0, 2.0]], 192, axis=1).repeat(384, axis=0)
        assert np.array_equal(np.array(got["segmentation"]), halves)

    def test_no_segment_is_minus_one_everywhere(self):
        network = outputs(labeled(NO_OBJECT), boxed((0, 8, 0, 8)))
        for process in (
            huggingface.post_process_panoptic_segmentation,
            huggingface.post_process_instance_segmentation,
        ):
            got = process(network)[0]
            assert got["segments_info"] == []
            assert np.array_equal(np.array(got["segmentation"]), np.full((384, 384), -1.0, np.float32))

    def test_the_object_with_the_lower_score_is_on_top(self):
        classes = labeled(0, 1)
        classes[1] *= 0.2
        network = outputs(classes, boxed((0, 8, 0, 8), (0, 8, 4, 8), inside=30.0))
        got = huggingface.post_process_instance_segmentation(network, target_sizes=[(1, 4)])[0]
        assert np.array(got["segmentation"]).tolist() == [[0, 0, 1, 1]]

    def test_objects_in_run_lengths_and_as_masks(self):
        network = outputs(labeled(0, 1), boxed((0, 4, 0, 4), (4, 8, 0, 8)))
        size = [(2, 2)]
        runs = huggingface.post_process_instance_segmentation(network, target_sizes=size, return_coco_annotation=True)
        masks = huggingface.post_process_instance_segmentation(network, target_sizes=size, return_binary_maps=True)
        assert runs[0]["segmentation"] == [[2, 1], [1, 1], [3, 2]]
        assert np.array(masks[0]["segmentation"]).tolist() == [[[1, 0], [0, 0]], [[0, 0], [1, 1]]]

    def test_an_object_between_the_pixels_is_dropped(self):
        network = outputs(labeled(0, 1), boxed((1, 2, 1, 2), (0, 8, 0, 8)))
        got = huggingface.post_process_instance_segmentation(network, target_sizes=[(2, 2)])[0]
        assert [(one["id"], one["label_id"]) for one in got["segments_info"]] == [(0, 1)]

    def test_both_forms_at_once_are_refused(self):
        with pytest.raises(InputError, match="exclude each other"):
            huggingface.post_process_instance_segmentation(
                noise(0), return_coco_annotation=True, return_binary_maps=True
            )
