import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from helpers import small_config
from hypothesis import given, settings
from hypothesis import strategies as st

from lucid_mlx import InputError
from lucid_mlx.convert.detectron2_yaml import _DATASETS, _FIELDS, _REQUIRED, read_detectron2_yaml
from lucid_mlx.datasets import DATASETS
from lucid_mlx.models import Mask2Former
from lucid_mlx.preprocessing import ImageConfig, published_image_config

# The project's largest COCO model and its two base files, without settings that only a trainer reads.
PROJECT = Path(__file__).parent / "data" / "detectron2"


@pytest.fixture
def project(tmp_path):
    """The project's folder of COCO panoptic configurations."""
    return shutil.copytree(PROJECT, tmp_path / "project")


@pytest.fixture
def variant(project):
    """Read a file that changes some settings of the R50 file, or of another."""

    def read(text="", base="maskformer2_R50_bs16_50ep.yaml", **values):
        tree = {"_BASE_": base, **(yaml.safe_load(text) or {})}
        for name, value in values.items():
            *sections, key = name.split("__")
            section = tree
            for part in sections:
                section = section.setdefault(part, {})
            section[key] = value
        (project / "mine.yaml").write_text(yaml.safe_dump(tree))
        return read_detectron2_yaml(project / "mine.yaml")

    return read


def test_a_file_is_read_with_its_two_base_files(project):
    config = read_detectron2_yaml(project / "swin" / "large.yaml")
    assert config.fields == {
        "num_labels": 133,
        "feature_size": 256,
        "mask_feature_size": 256,
        "hidden_dim": 256,
        "num_queries": 200,
        "encoder_layers": 6,
        "decoder_layers": 10,
        "dim_feedforward": 2048,
        "num_attention_heads": 8,
        "common_stride": 4,
        "enforce_input_projection": False,
        "pre_norm": False,
        "dropout": 0.0,
        "class_weight": 2.0,
        "mask_weight": 5.0,
        "dice_weight": 5.0,
        "no_object_weight": 0.1,
        "train_num_points": 12544,
        "oversample_ratio": 3.0,
        "importance_sample_ratio": 0.75,
        "use_auxiliary_loss": True,
    }
    assert config.backbone_config == {
        "model_type": "swin",
        "num_channels": 3,
        "patch_size": 4,
        "embed_dim": 192,
        "depths": [2, 2, 18, 2],
        "num_heads": [6, 12, 24, 48],
        "window_size": 12,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "drop_path_rate": 0.3,
    }
    assert (config.dataset, config.task, config.trained_on) == ("coco_panoptic", "panoptic", "images")


def test_every_setting_has_its_own_field(variant):
    text = """
    MODEL:
      BACKBONE: {NAME: D2SwinTransformer}
      SWIN: {PATCH_SIZE: 2, EMBED_DIM: 48, DEPTHS: [1, 2, 3, 4], NUM_HEADS: [2, 4, 6, 8], WINDOW_SIZE: 5,
             MLP_RATIO: 3, QKV_BIAS: False, DROP_PATH_RATE: 0.25}
      SEM_SEG_HEAD: {CONVS_DIM: 96, MASK_DIM: 24, COMMON_STRIDE: 8, TRANSFORMER_ENC_LAYERS: 3}
      MASK_FORMER: {HIDDEN_DIM: 72, NUM_OBJECT_QUERIES: 17, DEC_LAYERS: 4, DIM_FEEDFORWARD: 84, NHEADS: 6,
                    ENFORCE_INPUT_PROJ: True, PRE_NORM: True, DROPOUT: 0.2, CLASS_WEIGHT: 1.5, MASK_WEIGHT: 2.5,
                    DICE_WEIGHT: 3.5, NO_OBJECT_WEIGHT: 0.3, TRAIN_NUM_POINTS: 99, OVERSAMPLE_RATIO: 4,
                    IMPORTANCE_SAMPLE_RATIO: 0.6, DEEP_SUPERVISION: False}
    """
    config = variant(text)
    assert config.fields == {
        **{"num_labels": 133, "feature_size": 96, "mask_feature_size": 24, "hidden_dim": 72, "num_queries": 17},
        **{"encoder_layers": 3, "decoder_layers": 4, "dim_feedforward": 84, "num_attention_heads": 6},
        **{"common_stride": 8, "enforce_input_projection": True, "pre_norm": True, "dropout": 0.2},
        **{"class_weight": 1.5, "mask_weight": 2.5, "dice_weight": 3.5, "no_object_weight": 0.3},
        **{"train_num_points": 99, "oversample_ratio": 4, "importance_sample_ratio": 0.6},
        "use_auxiliary_loss": False,
    }
    assert config.backbone_config == {
        **{"model_type": "swin", "num_channels": 3, "patch_size": 2, "embed_dim": 48, "depths": [1, 2, 3, 4]},
        **{"num_heads": [2, 4, 6, 8], "window_size": 5, "mlp_ratio": 3, "qkv_bias": False, "drop_path_rate": 0.25},
    }
    config.apply_to(small_config())


def test_a_resnet_is_described(project):
    config = read_detectron2_yaml(project / "maskformer2_R50_bs16_50ep.yaml")
    assert config.backbone_config == {
        "model_type": "resnet",
        "num_channels": 3,
        "embedding_size": 64,
        "hidden_sizes": [256, 512, 1024, 2048],
        "depths": [3, 4, 6, 3],
        "layer_type": "bottleneck",
        "stem": "plain",
        "downsample_in_bottleneck": False,
        "freeze_batch_norm": True,
    }


def test_a_resnet_s_variants(variant):
    assert variant(MODEL__RESNETS__DEPTH=101).backbone_config["depths"] == [3, 4, 23, 3]
    assert variant(MODEL__RESNETS__STRIDE_IN_1X1=True).backbone_config["downsample_in_bottleneck"]
    assert not variant(MODEL__RESNETS__NORM="SyncBN").backbone_config["freeze_batch_norm"]
    small = variant(MODEL__RESNETS__DEPTH=34, MODEL__RESNETS__RES2_OUT_CHANNELS=64).backbone_config
    assert (small["layer_type"], small["hidden_sizes"]) == ("basic", [64, 128, 256, 512])


def test_only_the_deeplab_builder_reads_the_stem_the_grid_and_the_dilation_of_res4(variant):
    deeplab = {"MODEL__BACKBONE__NAME": "build_resnet_deeplab_backbone", "MODEL__RESNETS__STEM_OUT_CHANNELS": 128}
    deep = variant(**deeplab, MODEL__RESNETS__STEM_TYPE="deeplab").backbone_config
    assert (deep["stem"], deep["embedding_size"]) == ("deep", 128)
    assert variant(**deeplab).backbone_config["stem"] == "plain"
    assert variant(MODEL__RESNETS__STEM_TYPE="deeplab").backbone_config["stem"] == "plain"
    for name, value in (("RES5_MULTI_GRID", [1, 2, 4]), ("RES4_DILATION", 2)):
        setting = {f"MODEL__RESNETS__{name}": value}
        variant(**setting)
        with pytest.raises(InputError, match=f"{name} is"):
            variant(**deeplab, **setting)


def test_settings_that_no_file_has_are_the_project_s_defaults(tmp_path):
    tree = {
        "MODEL": {
            "META_ARCHITECTURE": "MaskFormer",
            "RESNETS": {"OUT_FEATURES": ["res2", "res3", "res4", "res5"]},
            "SEM_SEG_HEAD": {name.split(".")[2]: value for name, value in _REQUIRED.items() if "HEAD" in name},
            "MASK_FORMER": {"TRANSFORMER_IN_FEATURE": "multi_scale_pixel_decoder"},
        },
        "INPUT": {"FORMAT": "RGB"},
    }
    (tmp_path / "bare.yaml").write_text(yaml.safe_dump(tree))
    config = read_detectron2_yaml(tmp_path / "bare.yaml")
    assert "num_labels" not in config.fields
    assert (config.fields["decoder_layers"], config.fields["encoder_layers"]) == (6, 0)
    assert (config.fields["class_weight"], config.fields["mask_weight"], config.fields["dice_weight"]) == (1, 20, 1)
    assert (config.fields["dropout"], config.fields["feature_size"]) == (0.1, 128)
    assert config.backbone_config["downsample_in_bottleneck"]  # detectron2's default
    assert config.dataset is None


def test_the_image_config_is_the_one_of_testing(variant):
    image_config = ImageConfig.from_dict(variant(INPUT__MIN_SIZE_TEST=512, INPUT__MAX_SIZE_TEST=2048).preprocessor)
    assert (image_config.size, image_config.shortest_edge, image_config.longest_edge, image_config.size_divisor) == (
        None,
        512,
        2048,
        32,
    )
    assert image_config.mean == pytest.approx((0.485, 0.456, 0.406))
    assert image_config.std == pytest.approx((0.229, 0.224, 0.225))
    assert image_config.rescale_factor == 1 / 255
    assert image_config.divisor_mode == "pad"
    assert image_config.content_size(427, 640) == (512, 767)
    assert image_config.input_size(427, 640) == (512, 768)


def test_an_image_may_keep_its_size_and_need_not_be_padded(variant):
    image_config = ImageConfig.from_dict(variant(INPUT__MIN_SIZE_TEST=0).preprocessor)
    assert image_config.content_size(401, 603) == (401, 603)
    assert image_config.input_size(401, 603) == (416, 608)
    own = {"MODEL__MASK_FORMER__SIZE_DIVISIBILITY": -1}
    assert variant(**own).preprocessor["size_divisor"] == 0  # a ResNet accepts any size
    assert ImageConfig.from_dict(variant(**own).preprocessor).input_size(427, 640) == (800, 1199)
    assert variant(base="swin/large.yaml", **own).preprocessor["size_divisor"] == 32


VIDEO = {
    "MODEL__META_ARCHITECTURE": "VideoMaskFormer",
    "MODEL__MASK_FORMER__TRANSFORMER_DECODER_NAME": "VideoMultiScaleMaskedTransformerDecoder",
    "MODEL__SEM_SEG_HEAD__NUM_CLASSES": 40,
}


@pytest.mark.parametrize(
    ("suffix", "trained_on"), [("", "clips"), ("_frame", "images")], ids=["original project", "MinVIS"]
)
def test_a_network_for_videos_says_what_it_was_trained_on(suffix, trained_on, variant):
    names = {key: value + suffix for key, value in VIDEO.items() if isinstance(value, str)}
    config = variant(**{**VIDEO, **names}, INPUT__MIN_SIZE_TEST=360, DATASETS__TRAIN=["ytvis_2019_train"])
    assert (config.task, config.trained_on) == ("instance", trained_on)
    assert (config.dataset, config.fields["num_labels"]) == ("youtube_vis_2019_instance", 40)
    sides = [
        image_config.content_size(720, 1280)
        for image_config in (
            ImageConfig.from_dict(config.preprocessor),
            published_image_config("youtube_vis_2019_instance", "resnet_50"),
        )
    ]
    assert sides == [(360, 640)] * 2


def test_a_network_for_videos_of_ones_own_has_instances(variant):
    config = variant(**VIDEO, DATASETS__TRAIN=["my_videos"])
    assert (config.dataset, config.task, config.trained_on) == (None, "instance", "clips")


def test_decoder_and_architecture_go_together(variant):
    with pytest.raises(InputError, match="TRANSFORMER_DECODER_NAME is 'MultiScaleMaskedTransformerDecoder'"):
        variant(MODEL__META_ARCHITECTURE="VideoMaskFormer")
    with pytest.raises(InputError, match="expected 'VideoMultiScaleMaskedTransformerDecoder_frame'"):
        variant(**VIDEO | {"MODEL__META_ARCHITECTURE": "VideoMaskFormer_frame"})


CLASSES = {"coco_instance": 80, "coco_panoptic": 133, "ade20k_instance": 100, "cityscapes_instance": 8}


@pytest.mark.parametrize("name", _DATASETS)
def test_the_training_dataset_is_known_if_the_number_of_classes_agrees(name, variant):
    dataset = _DATASETS[name]
    classes = (
        CLASSES.get(dataset)
        or {"ade20k": 150, "cityscapes": 19, "mapillary": 65, "youtube": 40, "ovis": 25}[dataset.split("_")[0]]
    )
    split = name.replace("_sem_seg", "_semantic").replace("_instance_seg", "_instance")
    assert dataset.replace("youtube_vis", "ytvis").split("_")[0] == name.split("_")[0]
    instances = ("coco_2014_train", "coco_2017_train", "ytvis_2019_train", "ytvis_2021_train", "ovis_train")
    assert dataset.split("_")[-1] in split or name in instances
    assert variant(DATASETS__TRAIN=f"('{name}',)", MODEL__SEM_SEG_HEAD__NUM_CLASSES=classes).dataset == dataset
    assert variant(DATASETS__TRAIN=[name], MODEL__SEM_SEG_HEAD__NUM_CLASSES=classes + 1).dataset is None


@pytest.mark.parametrize(
    "names", [[], ["mine_train"], ["coco_2017_train_panoptic", "mine_train"], ["ade20k_full_sem_seg_train"], [3]]
)
def test_other_training_datasets_are_not_known(names, variant):
    assert variant(DATASETS__TRAIN=names).dataset is None


def test_every_dataset_has_a_name_in_detectron2():
    assert set(_DATASETS.values()) == set(DATASETS)


def test_settings_replace_what_was_inferred_from_shapes(project, variant):
    inferred = small_config(num_labels=7, encoder_feedforward_dim=48)
    config = read_detectron2_yaml(project / "swin" / "large.yaml").apply_to(inferred)
    assert (config.num_labels, config.num_queries, config.mask_weight) == (133, 200, 5.0)
    assert config.encoder_feedforward_dim == 48  # no setting for it
    assert config.backbone_config["window_size"] == 12
    assert inferred.num_queries == 6
    with pytest.raises(InputError, match="num_attention_heads=7 does not divide"):
        variant(MODEL__MASK_FORMER__NHEADS=7).apply_to(inferred)


def test_the_configuration_builds_the_network(project):
    small = {"MASK_FORMER": {"HIDDEN_DIM": 32, "DIM_FEEDFORWARD": 16, "DEC_LAYERS": 3}, "SWIN": {}}
    small["SWIN"] = {"EMBED_DIM": 8, "DEPTHS": [1, 1, 1, 1], "NUM_HEADS": [1, 1, 1, 1], "WINDOW_SIZE": 3}
    small["SEM_SEG_HEAD"] = {"CONVS_DIM": 32, "MASK_DIM": 16, "TRANSFORMER_ENC_LAYERS": 1}
    (project / "small.yaml").write_text(yaml.safe_dump({"_BASE_": "swin/large.yaml", "MODEL": small}))
    model = Mask2Former(read_detectron2_yaml(project / "small.yaml").apply_to(small_config()))
    assert len(model.transformer_decoder.layers) == 2


def test_the_project_s_python_tags_are_not_run_and_not_needed(project):
    sizes = '!!python/object/apply:eval ["[int(x * 0.1 * 1024) for x in range(5, 21)]"]'
    text = f"_BASE_: swin/large.yaml\nINPUT:\n  MIN_SIZE_TRAIN: {sizes}\n  MIN_SIZE_TEST: 1024\n"
    (project / "mine.yaml").write_text(text)
    config = read_detectron2_yaml(project / "mine.yaml")
    assert config.preprocessor["size"] == {"shortest_edge": 1024, "longest_edge": 1333}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN"),
        ("MODEL.SEM_SEG_HEAD.NAME", "PerPixelBaselineHead"),
        ("MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME", "TransformerEncoderPixelDecoder"),
        ("MODEL.SEM_SEG_HEAD.IN_FEATURES", ["res3", "res4", "res5"]),
        ("MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES", ["res2", "res3", "res4", "res5"]),
        ("MODEL.SEM_SEG_HEAD.NORM", "SyncBN"),
        ("MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME", "StandardTransformerDecoder"),
        ("MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE", "res5"),
        ("MODEL.BACKBONE.NAME", "D2ConvNeXt"),
        ("MODEL.RESNETS.DEPTH", 77),
        ("MODEL.RESNETS.NORM", "GN"),
        ("MODEL.RESNETS.NUM_GROUPS", 32),
        ("MODEL.RESNETS.RES5_DILATION", 2),
        ("MODEL.RESNETS.OUT_FEATURES", ["res5"]),
        ("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, True, True, True]),
        ("INPUT.FORMAT", "BGR"),
    ],
)
def test_another_network_is_refused_by_the_setting_that_differs(name, value, variant):
    with pytest.raises(InputError, match=re.escape(f"{name} is {value!r}, which this package does not support; exp")):
        variant(**{name.replace(".", "__"): value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APE", True),
        ("PATCH_NORM", False),
        ("QK_SCALE", 0.1),
        ("DROP_RATE", 0.1),
        ("ATTN_DROP_RATE", 0.1),
        ("OUT_FEATURES", ["res5"]),
    ],
)
def test_another_swin_is_refused(name, value, variant):
    variant(**{f"MODEL__SWIN__{name}": value})  # a ResNet does not read it
    with pytest.raises(InputError, match=f"MODEL.SWIN.{name} is"):
        variant(base="swin/large.yaml", **{f"MODEL__SWIN__{name}": value})


def test_the_error_says_that_a_value_is_the_default(project):
    (project / "mine.yaml").write_text("_BASE_: Base-COCO-PanopticSegmentation.yaml")
    with pytest.raises(InputError, match="META_ARCHITECTURE is 'GeneralizedRCNN' by default"):
        read_detectron2_yaml(project / "mine.yaml")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MODEL.PIXEL_MEAN", [1.0], r"must be three numbers, got \[1.0\]"),
        ("MODEL.PIXEL_STD", [1.0, 0.0, 1.0], "must be three above 0"),
        ("INPUT.MIN_SIZE_TEST", -1, "must be at least 0, got -1"),
        ("INPUT.MAX_SIZE_TEST", 0, "must be at least 1, got 0"),
    ],
)
def test_invalid_image_settings_are_reported(name, value, message, variant):
    with pytest.raises(InputError, match=f"mine.yaml: {name} {message}"):
        variant(**{name.replace(".", "__"): value})


def test_python_literals_are_parsed(variant):
    assert variant(MODEL__PIXEL_MEAN="(255, 51, 0)").preprocessor["image_mean"] == [1.0, 0.2, 0.0]


def read_or_input_error(path):
    with suppress(InputError):
        read_detectron2_yaml(path).apply_to(small_config())


@settings(max_examples=100, deadline=None)
@given(text=st.text() | st.text(alphabet="ab:-[]{}!&*?|>%@'\"#,\n \t012.~"))
def test_any_text_is_read_or_raises_an_input_error(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    read_or_input_error(path)


NAMES = [*_FIELDS.values(), *_REQUIRED, "MODEL.SWIN.DEPTHS", "MODEL.SWIN.WINDOW_SIZE", "MODEL.SWIN", "INPUT"]
NAMES += ["DATASETS.TRAIN", "MODEL.PIXEL_MEAN", "INPUT.MIN_SIZE_TEST", "MODEL.BACKBONE.NAME", "_BASE_"]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3)
)


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(NAMES), value=VALUES)
def test_any_value_of_any_setting_is_read_or_raises_an_input_error(name, value, tmp_path_factory):
    folder = shutil.copytree(PROJECT, tmp_path_factory.mktemp("any") / "project")
    for key in reversed(name.split(".")):
        value = {key: value}
    (folder / "mine.yaml").write_text(yaml.safe_dump({"_BASE_": "swin/large.yaml", **value}))
    read_or_input_error(folder / "mine.yaml")
