import mlx.core as mx
import pytest
from helpers import key_list

from lucid_mlx.convert.families import detect_family
from lucid_mlx.convert.openmmlab import RULES
from lucid_mlx.convert.rules import match_rules, rename


@pytest.mark.parametrize("name", ["mmdet_r50_panoptic", "mmdet2_r50_panoptic", "mmdet_swin_t_panoptic"])
def test_a_video_network_has_the_parameters_of_an_image_network_under_another_head(name):
    image = {key: mx.zeros(shape) for key, shape in key_list(name).items()}
    video = {key.replace("panoptic_head.", "track_head."): array for key, array in image.items()}
    assert video.keys() != image.keys()
    video["track_head.loss_cls.class_weight"] = mx.ones(41)  # dropped
    assert detect_family(video).name == "openmmlab"
    (renamed, problems), (wanted, _) = rename(RULES, video), rename(RULES, image)
    assert problems == []
    assert {key: array.shape for key, array in renamed.items()} == {key: array.shape for key, array in wanted.items()}


def test_a_head_of_another_name_is_unknown():
    keys = ["roi_head.query_feat.weight", "track_head.query_feat.bias", "track_head.memory.weight"]
    assert set(match_rules(RULES, keys).values()) == {None}
