"""The presets of the training file: the original project's recipes, and one for a few photos."""

import difflib
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from lucid_mlx.errors import InputError
from lucid_mlx.training.augment import shortest_edges
from lucid_mlx.utils.text import shown

Table = dict[str, Any]

_OPTIMIZER: Table = {
    "learning_rate": 1e-4,
    "backbone_multiplier": 0.1,
    "weight_decay": 0.05,
    "max_grad_norm": 0.01,
    "warmup_steps": 0,  # its warm-up for COCO has a factor of 1
}
_STEP: Table = {"schedule": "step", "milestones": [327778 / 368750, 355092 / 368750], "gamma": 0.1}
_POLY: Table = {"schedule": "poly", "power": 0.9}


def _crops(side: int, height: int, width: int, size: str) -> Table:
    """Make the tables of a recipe with crops: the training samples, and the size at which the model sees images."""
    crop = {
        "kind": "crop",
        "shortest_edge": list(shortest_edges(side)),
        "longest_edge": 4 * side,
        "crop_size": [height, width],
        "single_category_max_area": 1.0,
        "color_jitter": True,
    }
    return {"augmentation": crop, "network": {"size": size}}


def _recipe(steps: int, schedule: Table, tables: Table, evaluate: int) -> Table:
    optimizer = {**_OPTIMIZER, **schedule}
    return {"steps": steps, "batch_size": 16, **tables, "optimizer": optimizer, "reports": {"evaluate": evaluate}}


_JITTER: Table = {
    "augmentation": {"kind": "jitter", "size": 1024, "min_scale": 0.1, "max_scale": 2.0, "color_jitter": False},
    "network": {"size": "800/1333"},
}
_CROPS_640 = _crops(640, 640, 640, "640/2560")
_COCO = _recipe(368_750, _STEP, _JITTER, 5000)
_ADE20K_512 = _recipe(160_000, _POLY, _crops(512, 512, 512, "512/2048"), 5000)
_ADE20K_640 = _recipe(160_000, _POLY, _CROPS_640, 5000)
_CITYSCAPES = _recipe(90_000, _POLY, _crops(1024, 512, 1024, "1024/2048"), 5000)
_MAPILLARY = _recipe(300_000, _POLY, _crops(2048, 1024, 1024, "2048/2048"), 0)

_FEW_PHOTOS: Table = {
    "steps": 1500,
    "batch_size": 4,
    "augmentation": {"kind": "jitter", "size": 512, "min_scale": 0.5, "max_scale": 1.5, "color_jitter": True},
    "network": {"size": "512/512"},
    "optimizer": {"learning_rate": 5e-5, "schedule": "cosine", "warmup_steps": 100, "ema_decay": 0.995},
    "reports": {"save": 250, "pictures": 250, "evaluate": 250, "keep_best": True},
}


def _backbone(weights: str, **fields: Any) -> Table:
    return {"network": {"backbone_weights": weights, "fields": {"backbone_config": fields}}}


def _swin(weights: str, embed_dim: int, depth: int, heads: int, window: int) -> Table:
    return _backbone(
        f"microsoft/{weights}",
        model_type="swin",
        embed_dim=embed_dim,
        depths=[2, 2, depth, 2],
        num_heads=[heads * 2**stage for stage in range(4)],
        window_size=window,
        drop_path_rate=0.3,
    )


# The backbones, each with the weights from which the original project started: torchvision's first ones, and Swin's.
_R50 = _backbone(
    "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/torchvision/R-50.pkl",
    model_type="resnet",
    depths=[3, 4, 6, 3],
)
_R101 = _backbone(
    "https://download.pytorch.org/models/resnet101-63fe2227.pth", model_type="resnet", depths=[3, 4, 23, 3]
)
_SWIN_T = _swin("swin-tiny-patch4-window7-224", 96, 6, 3, 7)
_SWIN_S = _swin("swin-small-patch4-window7-224", 96, 18, 3, 7)
_SWIN_B = _swin("swin-base-patch4-window12-384", 128, 18, 4, 12)
_SWIN_B_21K = _swin("swin-base-patch4-window12-384-in22k", 128, 18, 4, 12)
_SWIN_L = _swin("swin-large-patch4-window12-384-in22k", 192, 18, 6, 12)

_TRAINED_NORM: Table = {"network": {"fields": {"backbone_config": {"freeze_batch_norm": False}}}}
_QUERIES_200: Table = {"network": {"fields": {"num_queries": 200}}}


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> Table:
    """Merge two tables, key by key; where both have a value, the second one's counts."""
    merged = {**under, **over}
    for key in under.keys() & over.keys():
        if isinstance(under[key], Mapping) and isinstance(over[key], Mapping):
            merged[key] = _merge(under[key], over[key])
    return merged


_RESNETS = {"resnet-50": _R50, "resnet-101": _R101}
_SWINS = {"swin-tiny": _SWIN_T, "swin-small": _SWIN_S}
_R50_AND_L_200 = {"resnet-50": _R50, "swin-large": _merge(_SWIN_L, _QUERIES_200)}
_COCO_BACKBONES = {
    **_RESNETS,
    **_SWINS,
    "swin-base": _SWIN_B,
    "swin-base-in21k": _SWIN_B_21K,
    "swin-large": _merge(_merge(_SWIN_L, _QUERIES_200), {"steps": 737_500}),
}
_CITYSCAPES_BACKBONES = {
    **{name: _merge(backbone, _TRAINED_NORM) for name, backbone in _RESNETS.items()},
    **_SWINS,
    "swin-base-in21k": _SWIN_B_21K,
}
# Of each preset, what it sets, and what it sets besides with a backbone.
_RECIPES: dict[str, tuple[Table, dict[str, Table]]] = {
    "few-photos": (_FEW_PHOTOS, {}),
    "coco-panoptic": (_COCO, _COCO_BACKBONES),
    "coco-instance": (_COCO, _COCO_BACKBONES),
    "ade20k-semantic": (
        _ADE20K_512,
        {
            "resnet-50": _R50,
            "resnet-101": _merge(_R101, _TRAINED_NORM),
            **_SWINS,
            "swin-base": _merge(_SWIN_B, _CROPS_640),
            "swin-base-in21k": _merge(_SWIN_B_21K, _CROPS_640),
            "swin-large": _merge(_SWIN_L, _CROPS_640),
        },
    ),
    "ade20k-panoptic": (_ADE20K_640, _R50_AND_L_200),
    "ade20k-instance": (_ADE20K_640, _R50_AND_L_200),
    "cityscapes-panoptic": (_CITYSCAPES, {**_CITYSCAPES_BACKBONES, "swin-large": _R50_AND_L_200["swin-large"]}),
    "cityscapes-instance": (_CITYSCAPES, {**_CITYSCAPES_BACKBONES, "swin-large": _R50_AND_L_200["swin-large"]}),
    "cityscapes-semantic": (_CITYSCAPES, {**_CITYSCAPES_BACKBONES, "swin-large": _SWIN_L}),
    "mapillary-panoptic": (_MAPILLARY, _R50_AND_L_200),
    "mapillary-semantic": (_MAPILLARY, {"resnet-50": _R50, "swin-large": _SWIN_L}),
}
# All presets by name, such as "coco-panoptic" and "coco-panoptic/swin-tiny", each as a TOML file has it.
PRESETS: dict[str, Table] = {
    name: table
    for preset, (base, backbones) in _RECIPES.items()
    for name, table in (
        (preset, base),
        *((f"{preset}/{backbone}", _merge(base, more)) for backbone, more in backbones.items()),
    )
}


def fill_in(table: Mapping[str, Any], name: Any) -> Table:
    """Fill in what a preset sets and a training file does not.

    Args:
        table: the file's contents.
        name: the name of the preset.

    Returns:
        The preset's contents with those of the file over it, table by table and key by key. An augmentation of another
        kind replaces the preset's, weights replace the backbone's weights, and nothing is evaluated without
        validation images.

    Raises:
        InputError: if there is no such preset.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(_unknown(name))
    preset, network = deepcopy(PRESETS[name]), table.get("network")
    if _value(table, "augmentation", "kind") not in (None, preset["augmentation"]["kind"]):
        del preset["augmentation"]
    if isinstance(network, Mapping) and network.keys() & {"weights", "backbone_weights"}:
        preset["network"].pop("backbone_weights", None)
    if "validation" not in table:
        preset["reports"].pop("evaluate")
    return _merge(preset, table)


def _value(table: Mapping[str, Any], section: str, key: str) -> Any:
    values = table.get(section)
    return values.get(key) if isinstance(values, Mapping) else None


def _unknown(name: Any) -> str:
    """Say that there is no such preset, which one is near, and which there are."""
    preset, _, backbone = name.partition("/") if isinstance(name, str) else ("", "", "")
    near = difflib.get_close_matches(name[:60], PRESETS, n=1) if isinstance(name, str) else []
    hint = f"did you mean {near[0]!r}? " if near else ""
    if backbone and preset in _RECIPES:
        known = ", ".join(_RECIPES[preset][1])
        expected = f"{preset!r} alone, or with one of the backbones {known}" if known else f"{preset!r} alone"
        return f"there is no preset {shown(name)}; {hint}expected {expected}"
    return (
        f"there is no preset {shown(name)}; {hint}expected one of {', '.join(_RECIPES)}, or one of these with a "
        "backbone, such as coco-panoptic/swin-tiny"
    )
