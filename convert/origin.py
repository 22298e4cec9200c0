"""Who published a checkpoint, told from its name or address alone, and only if the name proves it."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

_FACEBOOK, _OPENMMLAB = "cc-by-nc-4.0", "apache-2.0"

_SOURCES = {
    "coco": "COCO",
    "ade20k": "ADE20K",
    "cityscapes": "Cityscapes",
    "mapillary_vistas": "Mapillary Vistas",
    "youtube_vis": "YouTube-VIS",
}
_HUB_SOURCES = {"coco": "coco", "ade": "ade20k", "cityscapes": "cityscapes", "mapillary-vistas": "mapillary_vistas"}
_SIZES = {"tiny": "Swin-T", "small": "Swin-S", "base": "Swin-B", "base-IN21k": "Swin-B (IN21k)", "large": "Swin-L"}
_TASKS = "semantic|instance|panoptic"

_START, _END = r"(?:^|[/\\])", r"(?=$|[?#])"
_HUB_START, _HUB_END = r"(?:^|[/\\]|--)", r"(?=$|[/\\@?#])"

# No two files of the zoo have the same six digits.
_ZOO = re.compile(_START + r"model_final_(?P<digest>[0-9a-f]{6})\.pkl" + _END)
_HUB = re.compile(
    _HUB_START + r"facebook(?:/|--)mask2former-swin-(?P<size>tiny|small|base|base-IN21k|large)"
    rf"-(?P<source>{'|'.join(_HUB_SOURCES)})-(?P<task>{_TASKS})" + _HUB_END
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
_MMLAB = re.compile(
    _START + r"mask2former_(?P<kind>r50|r101|swin-[tsbl])(?P<variant>(?:-[a-z0-9]+)*)"
    r"_(?:lsj_\d+x\d+_\d+e|\d+xb\d+(?:-lsj)?-\d+[ek])"
    r"_(?P<data>coco-panoptic|coco|ade20k-\d+x\d+|cityscapes-\d+x\d+|youtubevis20(?:19|21))"
    r"_(?P<day>\d{8})_\d{6}-[0-9a-f]{8}\.pth" + _END
)


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint comes from.

    Attributes:
        dataset: what it was trained on, one of `lucid_mlx.datasets.DATASETS`; None if that is another.
        license: of the weights, as the Hugging Face hub writes it.
        title: one line for people.
        metric: the main one of its task that its authors published, None if it is not known.
        video: whether it was trained on videos.
    """

    dataset: str | None
    license: str
    title: str
    metric: str | None
    video: bool


def recognize(name: str) -> Origin | None:
    """Tell who published a checkpoint.

    Args:
        name: a file's name or path, an address, or a name on the Hugging Face hub with its owner.

    Returns:
        None for what is not published under that very name, such as a user's own `model_final.pth`.
    """
    if (match := _ZOO.search(name)) and (row := _zoo().get(match["digest"])):
        backbone, dataset, metric = row
        return _origin(backbone, dataset, "detectron2 zoo", _FACEBOOK, metric)
    if match := _HUB.search(name):
        return _on_hub(match["size"], f"{_HUB_SOURCES[match['source']]}_{match['task']}")
    if match := _HUB_VIDEO.search(name):
        return _on_hub(match["size"], f"youtube_vis_{match['year']}")
    if match := _LUCID.search(name):
        return _origin(_SIZES[match["size"]], match["dataset"], "lucid", _FACEBOOK)
    if match := _LUCID_HUB.search(name):
        return _origin(_SIZES[match["size"]], "ade20k_semantic", "lucid", _FACEBOOK)
    if match := _MMLAB.search(name):
        return _of_openmmlab(match)
    return None


def _origin(backbone: str, dataset: str, publisher: str, license: str, metric: str | None = None) -> Origin:
    source, _, task = dataset.rpartition("_")
    video = source == "youtube_vis"
    title = f"Mask2Former {backbone}, {_SOURCES[source]} {task}, {publisher}"
    return Origin(None if video else dataset, license, title, metric, video)


def _on_hub(size: str, dataset: str) -> Origin:
    """Describe a model of the zoo as Hugging Face has it; a size alone means ImageNet-1k where there are both."""
    metrics = {backbone: metric for backbone, trained_on, metric in _zoo().values() if trained_on == dataset}
    backbone = _SIZES[size]
    metric = metrics.get(backbone) or metrics.get(f"{backbone} (IN21k)")
    return _origin(backbone, dataset, "Hugging Face hub", _FACEBOOK, metric)


def _of_openmmlab(match: re.Match[str]) -> Origin:
    source = match["data"].split("-")[0]
    if source.startswith("youtubevis"):
        dataset, publisher = source.replace("youtubevis", "youtube_vis_"), "MMDetection"
    elif source == "coco":
        # MMDetection's first models were panoptic and called just "coco", until instance models came (April 2022).
        panoptic = match["data"] == "coco-panoptic" or match["day"] < "20220426"
        dataset, publisher = "coco_panoptic" if panoptic else "coco_instance", "MMDetection"
    else:
        dataset, publisher = f"{source}_semantic", "MMSegmentation"
    kind = match["kind"]
    backbone = kind.upper() if kind.startswith("r") else f"Swin-{kind[-1].upper()}"
    if re.search(r"-in2[12]k", match["variant"]):
        backbone += " (IN21k)"
    return _origin(backbone, dataset, publisher, _OPENMMLAB)


@lru_cache
def _zoo() -> dict[str, tuple[str, str, str]]:
    """Backbone, dataset and metric of the models in the original project's zoo, by the digest in the file's name."""
    rows = json.loads((files("lucid_mlx.convert") / "zoo.json").read_text(encoding="utf-8"))
    return {digest: (backbone, dataset, metric) for digest, (backbone, dataset, metric) in rows.items()}
