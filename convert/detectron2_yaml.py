"""Read the original project's YAML: the network that it builds, and how images are preprocessed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Literal

from lucid_mlx.convert.yaml_settings import YamlSettings
from lucid_mlx.datasets import dataset_classes, dataset_task
from lucid_mlx.models.vision.mask2former import Mask2FormerConfig
from lucid_mlx.preprocessing import ImageConfig

_FEATURES = ["res2", "res3", "res4", "res5"]

# The values of settings that no file has: the defaults of detectron2 (config/defaults.py), of its DeepLab project (the
# last three of RESNETS) and of Mask2Former (mask2former/config.py).
_DEFAULTS: dict[str, Any] = {
    "MODEL": {
        "META_ARCHITECTURE": "GeneralizedRCNN",
        "PIXEL_MEAN": [103.53, 116.28, 123.675],
        "PIXEL_STD": [1.0, 1.0, 1.0],
        "BACKBONE": {"NAME": "build_resnet_backbone"},
        "RESNETS": {
            "DEPTH": 50,
            "OUT_FEATURES": ["res4"],
            "NUM_GROUPS": 1,
            "NORM": "FrozenBN",
            "STRIDE_IN_1X1": True,
            "RES5_DILATION": 1,
            "RES2_OUT_CHANNELS": 256,
            "STEM_OUT_CHANNELS": 64,
            "DEFORM_ON_PER_STAGE": [False, False, False, False],
            "RES4_DILATION": 1,
            "RES5_MULTI_GRID": [1, 2, 4],
            "STEM_TYPE": "deeplab",
        },
        "SWIN": {
            "PATCH_SIZE": 4,
            "EMBED_DIM": 96,
            "DEPTHS": [2, 2, 6, 2],
            "NUM_HEADS": [3, 6, 12, 24],
            "WINDOW_SIZE": 7,
            "MLP_RATIO": 4.0,
            "QKV_BIAS": True,
            "QK_SCALE": None,
            "DROP_RATE": 0.0,
            "ATTN_DROP_RATE": 0.0,
            "DROP_PATH_RATE": 0.3,
            "APE": False,
            "PATCH_NORM": True,
            "OUT_FEATURES": _FEATURES,
        },
        "SEM_SEG_HEAD": {
            "NAME": "SemSegFPNHead",
            "IN_FEATURES": ["p2", "p3", "p4", "p5"],
            "NUM_CLASSES": 54,
            "CONVS_DIM": 128,
            "MASK_DIM": 256,
            "COMMON_STRIDE": 4,
            "NORM": "GN",
            "PIXEL_DECODER_NAME": "BasePixelDecoder",
            "TRANSFORMER_ENC_LAYERS": 0,
            "DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": _FEATURES[1:],
        },
        "MASK_FORMER": {
            "TRANSFORMER_DECODER_NAME": "MultiScaleMaskedTransformerDecoder",
            "TRANSFORMER_IN_FEATURE": "res5",
            "DEEP_SUPERVISION": True,
            "NO_OBJECT_WEIGHT": 0.1,
            "CLASS_WEIGHT": 1.0,
            "DICE_WEIGHT": 1.0,
            "MASK_WEIGHT": 20.0,
            "NHEADS": 8,
            "DROPOUT": 0.1,
            "DIM_FEEDFORWARD": 2048,
            "DEC_LAYERS": 6,
            "PRE_NORM": False,
            "HIDDEN_DIM": 256,
            "NUM_OBJECT_QUERIES": 100,
            "ENFORCE_INPUT_PROJ": False,
            "SIZE_DIVISIBILITY": 32,
            "TRAIN_NUM_POINTS": 12544,
            "OVERSAMPLE_RATIO": 3.0,
            "IMPORTANCE_SAMPLE_RATIO": 0.75,
        },
    },
    "INPUT": {"MIN_SIZE_TEST": 800, "MAX_SIZE_TEST": 1333, "FORMAT": "BGR"},
    "DATASETS": {"TRAIN": []},
}

# The settings of our fields. DEC_LAYERS is our decoder_layers: it counts the predictions, one of which is made from the
# learned queries before the first layer. encoder_feedforward_dim is a constant in the project's code; it is inferred
# from shapes.
_FIELDS = {
    "feature_size": "MODEL.SEM_SEG_HEAD.CONVS_DIM",
    "mask_feature_size": "MODEL.SEM_SEG_HEAD.MASK_DIM",
    "hidden_dim": "MODEL.MASK_FORMER.HIDDEN_DIM",
    "num_queries": "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES",
    "encoder_layers": "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS",
    "decoder_layers": "MODEL.MASK_FORMER.DEC_LAYERS",
    "dim_feedforward": "MODEL.MASK_FORMER.DIM_FEEDFORWARD",
    "num_attention_heads": "MODEL.MASK_FORMER.NHEADS",
    "common_stride": "MODEL.SEM_SEG_HEAD.COMMON_STRIDE",
    "enforce_input_projection": "MODEL.MASK_FORMER.ENFORCE_INPUT_PROJ",
    "pre_norm": "MODEL.MASK_FORMER.PRE_NORM",
    "dropout": "MODEL.MASK_FORMER.DROPOUT",
    "class_weight": "MODEL.MASK_FORMER.CLASS_WEIGHT",
    "mask_weight": "MODEL.MASK_FORMER.MASK_WEIGHT",
    "dice_weight": "MODEL.MASK_FORMER.DICE_WEIGHT",
    "no_object_weight": "MODEL.MASK_FORMER.NO_OBJECT_WEIGHT",
    "train_num_points": "MODEL.MASK_FORMER.TRAIN_NUM_POINTS",
    "oversample_ratio": "MODEL.MASK_FORMER.OVERSAMPLE_RATIO",
    "importance_sample_ratio": "MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO",
    "use_auxiliary_loss": "MODEL.MASK_FORMER.DEEP_SUPERVISION",
}

# What a network was trained on, and its decoder, by architecture. All three have the same parameters. MinVIS's decoder
# sees one frame at a time, as the image network's. The video network's sees a clip, and computes the same on a single
# frame: its temporal position embedding adds one vector to every key, which shifts all attention logits of a query
# equally; softmax does not change with such a shift.
_ARCHITECTURES: dict[str, tuple[Literal["images", "clips"], str]] = {
    "MaskFormer": ("images", "MultiScaleMaskedTransformerDecoder"),
    "VideoMaskFormer": ("clips", "VideoMultiScaleMaskedTransformerDecoder"),
    "VideoMaskFormer_frame": ("images", "VideoMultiScaleMaskedTransformerDecoder_frame"),
}

# Other settings, of which this package supports one value.
_REQUIRED: dict[str, Any] = {
    "MODEL.SEM_SEG_HEAD.NAME": "MaskFormerHead",
    "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME": "MSDeformAttnPixelDecoder",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": _FEATURES,
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": _FEATURES[1:],
    "MODEL.SEM_SEG_HEAD.NORM": "GN",
    "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE": "multi_scale_pixel_decoder",
    "INPUT.FORMAT": "RGB",  # a preprocessor_config.json cannot say BGR
}
_REQUIRED_OF_SWIN: dict[str, Any] = {
    "MODEL.SWIN.OUT_FEATURES": _FEATURES,
    "MODEL.SWIN.QK_SCALE": None,
    "MODEL.SWIN.DROP_RATE": 0.0,
    "MODEL.SWIN.ATTN_DROP_RATE": 0.0,
    "MODEL.SWIN.APE": False,
    "MODEL.SWIN.PATCH_NORM": True,
}
_REQUIRED_OF_RESNET: dict[str, Any] = {
    "MODEL.RESNETS.OUT_FEATURES": _FEATURES,
    "MODEL.RESNETS.NUM_GROUPS": 1,
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": [False, False, False, False],
    "MODEL.RESNETS.RES5_DILATION": 1,
}
_REQUIRED_OF_DEEPLAB: dict[str, Any] = {
    "MODEL.RESNETS.RES4_DILATION": 1,
    "MODEL.RESNETS.RES5_MULTI_GRID": [1, 1, 1],
}

_SWIN_SETTINGS = (
    "PATCH_SIZE",
    "EMBED_DIM",
    "DEPTHS",
    "NUM_HEADS",
    "WINDOW_SIZE",
    "MLP_RATIO",
    "QKV_BIAS",
    "DROP_PATH_RATE",
)

_DEPTHS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}

# The names that detectron2 and the project give to the training data of published models.
_DATASETS = {
    "coco_2014_train": "coco_instance",
    "coco_2017_train": "coco_instance",
    "coco_2017_train_panoptic": "coco_panoptic",
    "coco_2017_train_panoptic_with_sem_seg": "coco_panoptic",
    "ade20k_sem_seg_train": "ade20k_semantic",
    "ade20k_panoptic_train": "ade20k_panoptic",
    "ade20k_instance_train": "ade20k_instance",
    "cityscapes_fine_sem_seg_train": "cityscapes_semantic",
    "cityscapes_fine_panoptic_train": "cityscapes_panoptic",
    "cityscapes_fine_instance_seg_train": "cityscapes_instance",
    "mapillary_vistas_sem_seg_train": "mapillary_vistas_semantic",
    "mapillary_vistas_panoptic_train": "mapillary_vistas_panoptic",
    "ytvis_2019_train": "youtube_vis_2019_instance",
    "ytvis_2021_train": "youtube_vis_2021_instance",
    "ovis_train": "ovis_instance",
}


@dataclass(frozen=True)
class Detectron2Config:
    """The settings of the original project, defaults included.

    Attributes:
        fields: of `Mask2FormerConfig`; `num_labels` only if a file sets it.
        backbone_config: the field of `Mask2FormerConfig`.
        preprocessor: how images are preprocessed, as in Hugging Face's `preprocessor_config.json`.
        dataset: that the network was trained on, one of `lucid_mlx.datasets.DATASETS`; None for another or unknown one.
        task: that the network was trained for, one of `lucid_mlx.datasets.TASKS`; None if it is not known.
        trained_on: "clips" for a network that sees all frames of a clip at once, else "images".
    """

    fields: dict[str, Any]
    backbone_config: dict[str, Any]
    preprocessor: dict[str, Any]
    dataset: str | None
    task: str | None
    trained_on: Literal["images", "clips"]

    def apply_to(self, inferred: Mask2FormerConfig) -> Mask2FormerConfig:
        """Replace the fields of an inferred configuration by the settings.

        Args:
            inferred: from the shapes of the parameters.

        Returns:
            The new configuration.

        Raises:
            InputError: if the settings are not a valid configuration.
        """
        return replace(inferred, **self.fields, num_channels=3, backbone_config=dict(self.backbone_config))


def read_detectron2_yaml(path: str | PathLike[str]) -> Detectron2Config:
    """Read a YAML of facebookresearch/Mask2Former, or one that its trainer wrote. No code in it is run.

    Args:
        path: the file; its base files (`_BASE_`) must exist too.

    Returns:
        The settings.

    Raises:
        InputError: if a file is missing, is not YAML, is its own base, or describes a network that this package does
            not support.
    """
    settings = YamlSettings(path, _DEFAULTS)
    architecture = settings.get_choice("MODEL.META_ARCHITECTURE", *_ARCHITECTURES)
    trained_on, decoder = _ARCHITECTURES[architecture]
    settings.get_choice("MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME", decoder)
    _require(settings, _REQUIRED)
    backbone = _backbone_config(settings)
    fields = {field: settings.get(name) for field, name in _FIELDS.items()}
    if settings.is_set("MODEL.SEM_SEG_HEAD.NUM_CLASSES"):
        fields["num_labels"] = settings.get("MODEL.SEM_SEG_HEAD.NUM_CLASSES")
    dataset = _dataset(settings)
    task = dataset_task(dataset) if dataset else "instance" if architecture.startswith("Video") else None
    return Detectron2Config(fields, backbone, _preprocessor_config(settings, backbone), dataset, task, trained_on)


def _require(settings: YamlSettings, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        settings.get_choice(name, value)


def _backbone_config(settings: YamlSettings) -> dict[str, Any]:
    builder = settings.get_choice(
        "MODEL.BACKBONE.NAME", "D2SwinTransformer", "build_resnet_backbone", "build_resnet_deeplab_backbone"
    )
    config = _swin(settings) if builder == "D2SwinTransformer" else _resnet(settings, "deeplab" in builder)
    return {"num_channels": 3, **config}


def _swin(settings: YamlSettings) -> dict[str, Any]:
    _require(settings, _REQUIRED_OF_SWIN)
    return {"model_type": "swin", **{name.lower(): settings.get(f"MODEL.SWIN.{name}") for name in _SWIN_SETTINGS}}


def _resnet(settings: YamlSettings, deeplab: bool) -> dict[str, Any]:
    _require(settings, _REQUIRED_OF_RESNET)
    stem = "basic"  # detectron2's own builder ignores STEM_TYPE
    if deeplab:
        _require(settings, _REQUIRED_OF_DEEPLAB)
        stem = settings.get_choice("MODEL.RESNETS.STEM_TYPE", "basic", "deeplab")
    depth = settings.get_choice("MODEL.RESNETS.DEPTH", *_DEPTHS)
    width = settings.get("MODEL.RESNETS.RES2_OUT_CHANNELS")
    norm = settings.get_choice("MODEL.RESNETS.NORM", "FrozenBN", "BN", "SyncBN")
    return {
        "model_type": "resnet",
        "embedding_size": settings.get("MODEL.RESNETS.STEM_OUT_CHANNELS"),
        "hidden_sizes": [width, 2 * width, 4 * width, 8 * width],
        "depths": list(_DEPTHS[depth]),
        "layer_type": "basic" if depth < 50 else "bottleneck",
        "stem": "deep" if stem == "deeplab" else "plain",
        "downsample_in_bottleneck": settings.get("MODEL.RESNETS.STRIDE_IN_1X1"),
        "freeze_batch_norm": norm == "FrozenBN",
    }


def _preprocessor_config(settings: YamlSettings, backbone: Mapping[str, Any]) -> dict[str, Any]:
    shortest = settings.get("INPUT.MIN_SIZE_TEST", "at least 0", lambda size: size >= 0)
    longest = settings.get("INPUT.MAX_SIZE_TEST", "at least 1", lambda size: size >= 1)
    divisor = settings.get("MODEL.MASK_FORMER.SIZE_DIVISIBILITY")
    if divisor < 0:  # the backbone's own
        divisor = 32 if backbone["model_type"] == "swin" else 0
    mean = settings.get("MODEL.PIXEL_MEAN", "three numbers", lambda color: len(color) == 3)
    std = settings.get("MODEL.PIXEL_STD", "three above 0", lambda color: len(color) == 3 and min(color) > 0)
    raw = {
        "image_processor_type": "Mask2FormerImageProcessor",
        **({"size": {"shortest_edge": shortest, "longest_edge": longest}} if shortest else {"do_resize": False}),
        "size_divisor": divisor,  # for transformers, which resizes
        "pad_size_divisor": divisor,  # for this package, which pads as the project does
        "resample": 2,  # bilinear
        "rescale_factor": 1 / 255,
        "image_mean": [value / 255 for value in mean],
        "image_std": [value / 255 for value in std],
    }
    ImageConfig.from_dict(raw)  # which checks that the values are in range
    return raw


def _dataset(settings: YamlSettings) -> str | None:
    """Return the dataset that it was trained on; None if the number of classes is not the dataset's."""
    datasets = {_DATASETS.get(name) if isinstance(name, str) else None for name in settings.get("DATASETS.TRAIN")}
    dataset = datasets.pop() if len(datasets) == 1 else None
    classes = settings.get("MODEL.SEM_SEG_HEAD.NUM_CLASSES")
    return dataset if dataset is not None and len(dataset_classes(dataset)) == classes else None
