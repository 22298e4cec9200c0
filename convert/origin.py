"""Identify published checkpoints by their name or address, only where the name is unambiguous."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from lucid_mlx.weights.catalog import CatalogEntry, openmmlab_catalog, video_catalog

_FACEBOOK, _OPENMMLAB = "cc-by-nc-4.0", "apache-2.0"

_TITLES = {
    "coco": "COCO",
    "ade20k": "ADE20K",
    "cityscapes": "Cityscapes",
    "mapillary_vistas": "Mapillary Vistas",
    "youtube_vis_2019": "YouTube-VIS 2019",
    "youtube_vis_2021": "YouTube-VIS 2021",
    "ovis": "OVIS",
}
_HUB_NAMES = {"coco": "coco", "ade": "ade20k", "cityscapes": "cityscapes", "mapillary-vistas": "mapillary_vistas"}
_SIZES = {"tiny": "Swin-T", "small": "Swin-S", "base": "Swin-B", "base-IN21k": "Swin-B (IN21k)", "large": "Swin-L"}
# Of the checkpoints for videos, by their names in the model registry.
_BACKBONES = {
    "resnet_50": "R50",
    "resnet_101": "R101",
    "swin_tiny": "Swin-T",
    "swin_small": "Swin-S",
    "swin_base": "Swin-B (IN21k)",
    "swin_large": "Swin-L (IN21k)",
}
_TASKS = "semantic|instance|panoptic"

_START, _END = r"(?:^|[/\\])", r"(?=$|[?#])"
_HUB_START, _HUB_END = r"(?:^|[/\\]|--)", r"(?=$|[/\\@?#])"

# The six digits of a file in the original project's model zoo are unique.
_ZOO = re.compile(_START + r"model_final_(?P<digest>[0-9a-f]{6})\.pkl" + _END)
_HUB = re.compile(
    _HUB_START + r"facebook(?:/|--)mask2former-swin-(?P<size>tiny|small|base|base-IN21k|large)"
    rf"-(?P<source>{'|'.join(_HUB_NAMES)})-(?P<task>{_TASKS})" + _HUB_END
)
_HUB_VIDEO = re.compile(
    _HUB_START + r"facebook(?:/|--)video-mask2former-swin-(?P<size>tiny|small|base|large)"
    r"-youtubevis-(?P<year>2019|2021)-instance" + _HUB_END
)
_LUCID = re.compile(
    _START + r"mask2former_swin_(?P<size>tiny|small|base|large)"
    rf"_(?P<dataset>(?:coco|ade20k|cityscapes)_(?:{_TASKS}))\.safetensors" + _END
)
_LUCID_HUB = re.compile(_HUB_START + r"lucid-dl(?:/|--)mask2former-swin-(?P<size>tiny|small|base|large)-ade" + _HUB_END)
_VIDEO = re.compile(_START + r"(?P<file>model_final_[0-9a-f]{6}\.pkl|minvis_\w+\.pth)" + _END)
_MMLAB = re.compile(
    _START + r"mask2former_(?P<backbone>r50|r101|swin-[tsbl])(?P<variant>(?:-[a-z0-9]+)*)"
    r"_(?:lsj_\d+x\d+_\d+e|\d+xb\d+(?:-lsj)?-\d+[ek])"
    r"_(?P<data>coco-panoptic|coco|ade20k-\d+x\d+|cityscapes-\d+x\d+|youtubevis20(?:19|21))"
    r"_(?P<time>\d{8}_\d{6})-[0-9a-f]{8}\.pth" + _END
)


@dataclass(frozen=True)
class PublishedCheckpoint:
    """What is known about a published checkpoint.

    Attributes:
        dataset: that it was trained on, one of `lucid_mlx.datasets.DATASETS`.
        license: of the weights, as the Hugging Face hub writes it.
        title: backbone, dataset and publisher in one line.
        metric: its published accuracy, in the main metric of its task; None if it is not known.
        trained_on: "clips" for a network that sees all frames of a clip at once, else "images".
    """

    dataset: str
    license: str
    title: str
    metric: str | None
    trained_on: Literal["images", "clips"] = "images"


def identify_checkpoint(name: str) -> PublishedCheckpoint | None:
    """Identify a published checkpoint.

    Args:
        name: the name or path of a file, an address, or a name on the Hugging Face hub with its owner.

    Returns:
        What is known about it; None if no checkpoint was published under this name, such as for a user's own
        `model_final.pth`.
    """
    if (match := _ZOO.search(name)) and (row := _zoo().get(match["digest"])):
        backbone, dataset, metric = row
        return _published_checkpoint(backbone, dataset, "detectron2 zoo", _FACEBOOK, metric)
    if (match := _VIDEO.search(name)) and (model := _video_zoo().get(match["file"])):
        publisher = "detectron2 zoo" if model.trained_on == "clips" else "MinVIS"
        backbone = _BACKBONES[model.backbone]
        return _published_checkpoint(
            backbone, model.dataset, publisher, model.license, model.metric, model.trained_on == "clips"
        )
    if match := _HUB.search(name):
        return _hub_checkpoint(match["size"], f"{_HUB_NAMES[match['source']]}_{match['task']}")
    if match := _HUB_VIDEO.search(name):
        dataset = f"youtube_vis_{match['year']}_instance"
        wanted = (f"swin_{match['size']}", dataset, "clips")
        models = [x for x in video_catalog() if (x.backbone, x.dataset, x.trained_on) == wanted]
        return _published_checkpoint(
            _SIZES[match["size"]], dataset, "Hugging Face hub", _FACEBOOK, models[0].metric, clips=True
        )
    if match := _LUCID.search(name):
        return _published_checkpoint(_SIZES[match["size"]], match["dataset"], "lucid", _FACEBOOK)
    if match := _LUCID_HUB.search(name):
        return _published_checkpoint(_SIZES[match["size"]], "ade20k_semantic", "lucid", _FACEBOOK)
    if match := _MMLAB.search(name):
        return _openmmlab_checkpoint(match)
    return None


def _published_checkpoint(
    backbone: str, dataset: str, publisher: str, license: str, metric: str | None = None, clips: bool = False
) -> PublishedCheckpoint:
    images, _, task = dataset.rpartition("_")
    title = f"Mask2Former {backbone}, {_TITLES[images]} {task}, {publisher}"
    return PublishedCheckpoint(dataset, license, title, metric, "clips" if clips else "images")


def _hub_checkpoint(size: str, dataset: str) -> PublishedCheckpoint:
    """Describe a zoo model on the hub; a size alone means pretraining on ImageNet-1k where the zoo has both."""
    metrics = {backbone: metric for backbone, trained_on, metric in _zoo().values() if trained_on == dataset}
    backbone = _SIZES[size]
    metric = metrics.get(backbone) or metrics.get(f"{backbone} (IN21k)")
    return _published_checkpoint(backbone, dataset, "Hugging Face hub", _FACEBOOK, metric)


def _openmmlab_checkpoint(match: re.Match[str]) -> PublishedCheckpoint:
    images = match["data"].split("-")[0]
    clips = images.startswith("youtubevis")
    if clips:
        dataset, publisher = images.replace("youtubevis", "youtube_vis_") + "_instance", "MMDetection"
    elif images == "coco":
        # MMDetection's panoptic models were called "coco" until it had instance models too (April 2022).
        panoptic = match["data"] == "coco-panoptic" or match["time"] < "20220426"
        dataset, publisher = "coco_panoptic" if panoptic else "coco_instance", "MMDetection"
    else:
        dataset, publisher = f"{images}_semantic", "MMSegmentation"
    name = match["backbone"]
    backbone = name.upper() if name.startswith("r") else f"Swin-{name[-1].upper()}"
    if re.search(r"-in2[12]k", match["variant"]):
        backbone += " (IN21k)"
    metric = _openmmlab_zoo().get(match["time"])
    return _published_checkpoint(backbone, dataset, publisher, _OPENMMLAB, metric, clips)


@lru_cache
def _zoo() -> dict[str, tuple[str, str, str]]:
    """Return backbone, dataset and metric of the original project's zoo models, by the digits in the file's name."""
    rows = json.loads((files("lucid_mlx.convert") / "zoo.json").read_text(encoding="utf-8"))
    return {digest: (backbone, dataset, metric) for digest, (backbone, dataset, metric) in rows.items()}


@lru_cache
def _video_zoo() -> dict[str, CatalogEntry]:
    """Return the checkpoints for videos by the names of their files."""
    return {model.address.rsplit("/", 1)[1]: model for model in video_catalog()}


@lru_cache
def _openmmlab_zoo() -> dict[str, str]:
    """Return the main metric of OpenMMLab's checkpoints by the time in a file's name.

    The same training was published under several names and digests, as OpenMMLab renamed its keys.
    """
    matches = ((_MMLAB.search(model.address), model.metric) for model in openmmlab_catalog())
    return {match["time"]: metric.split(";")[0] for match, metric in matches if match}
