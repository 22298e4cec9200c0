"""Name the models that this package does not run, by telling keys or by their config.json, and say what to do."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lucid_mlx.convert.backbone import BACKBONE_FAMILIES
from lucid_mlx.convert.locate import list_places, locate_network
from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown

_HEADS = r"(?:sem_seg_head\.predictor\.|panoptic_head\.|decode_head\.)query_(?:feat|embed)\."

# The name of a model, and patterns of keys that it has and a Mask2Former with a Swin or a ResNet has not; a model is
# told by all its patterns. The first that fits is named.
_KEYS: Sequence[tuple[str, tuple[str, ...]]] = (
    ("a LoRA adapter, or a model with one (merge_and_unload() makes it whole)", (r"lora_(?:A|B|down|up)\b",)),
    ("a OneFormer", (r"(?:text_mapper|task_encoder|task_mlp|text_projector|class_transformer)\.",)),
    ("a kMaX-DeepLab", (r"(?:kmax|_pixel_space_head|pixel_space_)",)),
    ("a MaskDINO", (r"predictor\.(?:enc_output|label_enc|_bbox_embed|bbox_embed|decoder\.bbox_embed)\b",)),
    ("a MaskFormer", (r"pixel_level_module\.decoder\.fpn\.",)),
    ("a MaskFormer", (r"sem_seg_head\.predictor\.transformer\.",)),
    ("a MaskFormer", (r"panoptic_head\.pixel_decoder\.(?:last_feat_conv|lateral_convs\.[1-9])\b",)),
    ("an EoMT", (r"(?:attn_mask_probs|upscale\.\d|upscale_block)\b", r"(?:^|\.)(?:q|query)\.weight$")),
    ("a Mask2Former with a ViT or BEiT backbone", (_HEADS, r"backbone\.(?:blocks|cls_token|pos_embed|spm)\b")),
    ("a Mask2Former with a ConvNeXt backbone", (_HEADS, r"backbone\.(?:downsample_layers|stages\.\d\.\d\.gamma)")),
    ("a Mask2Former with a FocalNet backbone", (_HEADS, r"backbone\..*modulation\.")),
    ("a SegFormer", (r"(?:segformer\.|decode_head\.(?:linear_c|linear_fuse|fusion_conv)\b)",)),
    ("an UPerNet", (r"decode_head\.(?:psp_modules|fpn_bottleneck)\.",)),
    ("a torchvision Mask R-CNN", (r"backbone\.body\.", r"roi_heads\.mask_predictor\.")),
    ("a torchvision Faster R-CNN", (r"backbone\.body\.", r"roi_heads\.")),
    ("a torchvision RetinaNet or FCOS", (r"backbone\.body\.",)),
    ("a detectron2 Mask R-CNN", (r"roi_heads\.mask_head\.",)),
    ("a detectron2 Faster R-CNN", (r"(?:roi_heads\.|proposal_generator\.)",)),
    ("an MMDetection R-CNN", (r"(?:^|\.)(?:roi_head|rpn_head)\.",)),
    ("a detectron2 network for semantic segmentation", (r"sem_seg_head\.(?:decoder|ppm|project_conv|p\d\.)",)),
    ("a DeepLab of torchvision", (r"classifier\.0\.(?:convs|project)\.",)),
    ("a DeepLab", (r"(?:decode_head\.|decoder\.|\b)(?:aspp|image_pool|aspp_modules)\b",)),
    ("an FCN or LR-ASPP of torchvision", (r"classifier\.(?:4|cbr|low_classifier)\.", r"backbone\.")),
    ("a Segment Anything (SAM)", (r"(?:image_encoder|vision_encoder|prompt_encoder|sam_)\w*\.", r"mask_decoder\.")),
    ("a DETR", (r"(?:class_labels_classifier|bbox_embed|bbox_predictor|bbox_attention)\.",)),
    ("a YOLO", (r"(?:^|\.)model\.\d+\.(?:conv|cv\d|m|cv\w+|dfl|bn)\.",)),
    ("a U-Net or another network of segmentation_models_pytorch", (r"segmentation_head\.\d", r"decoder\.")),
    ("a U-Net", (r"(?:^|\.)(?:inc|down1|up1|outc)\.",)),
    ("a DINOv2, BEiT or ViT", (r"(?:^|\.)cls_token$",)),
    ("a CLIP", (r"text_model\.|visual\.transformer\.",)),
)  # fmt: skip

_TYPES = {
    "maskformer": "a MaskFormer",
    "maskformer-swin": "a MaskFormer",
    "oneformer": "a OneFormer",
    "segformer": "a SegFormer",
    "detr": "a DETR",
    "sam": "a Segment Anything (SAM)",
    "sam2": "a Segment Anything 2 (SAM 2)",
    "upernet": "an UPerNet",
    "eomt": "an EoMT",
    "mask_rcnn": "a Mask R-CNN",
    "yolos": "a YOLOS",
}
_BACKBONES = ("swin", "resnet", "timm_wrapper", "timm_backbone")
_SUPPORTED = "expected a Mask2Former with a Swin or ResNet backbone"


def name_other_config(config: Mapping[str, Any]) -> str | None:
    """Name the model of a config.json, if it is not a Mask2Former.

    Args:
        config: the contents.

    Returns:
        A sentence without the name of the source; None for a Mask2Former, or where the file does not say.
    """
    kind, architectures = config.get("model_type"), config.get("architectures", config.get("architecture"))
    if kind == "mask2former":
        return None
    if kind in _BACKBONES or (kind is None and isinstance(architectures, str)):  # as timm writes it
        return _backbone_sentence(str(kind or architectures))
    if not isinstance(kind, str):
        return None
    name = _TYPES.get(kind, f"of the model type {shown(kind)}")
    return f"it is {name}, as its config.json says, which this package does not run; {_SUPPORTED}"


def name_other_model(keys: Collection[str]) -> str | None:
    """Name the model that has keys which a Mask2Former has not.

    Args:
        keys: of the checkpoint.

    Returns:
        A sentence without the name of the source; None if it is not known.
    """
    for name, patterns in _KEYS:
        if all(any(re.search(pattern, key) for key in keys) for pattern in patterns):
            return f"it is {name}, which this package does not run; {_SUPPORTED}"
    try:
        network = locate_network(keys, BACKBONE_FAMILIES)
    except InputError:  # several that look like one
        return None
    if network.family is not None and len(network.keys) > 0.9 * len(keys):
        return _backbone_sentence(network.family.name)
    return None


def describe_unknown(keys: Collection[str], families: Collection[str], root: str) -> str:
    """Say that no family has the keys.

    Args:
        keys: of the checkpoint.
        families: that are known.
        root: the names that were taken off all keys.

    Returns:
        A sentence without the name of the source.
    """
    named = name_other_model(keys)
    if named:
        return named
    examples = ", ".join(shown(key, 100)[1:-1] for key in list(keys)[:5]) or "there are none"
    return (
        f"the keys are of no known family ({', '.join(families)}): {examples}; tensors are in "
        f"{list_places(keys, root)}; `lucid-mlx convert --key` names what holds the network"
    )


def _backbone_sentence(name: str) -> str:
    return (
        f"it is a backbone alone, an image classifier ({shown(name)[1:-1]}), from which training can start: "
        f"mask2former_{'resnet_50' if 'resnet' in name.lower() else 'swin_tiny'}(num_labels=..., "
        "pretrained_backbone=PATH) takes it, or the preset of its size; to segment, "
        f"{_SUPPORTED}"
    )
