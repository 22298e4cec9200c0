"""Print the table of checkpoints that stands in docs/choosing.md: python docs/checkpoint_table.py"""

from lucid_mlx.datasets import DATASETS
from lucid_mlx.preprocessing import published_image_config
from lucid_mlx.weights.catalog import SWIN_SIZES, CatalogEntry, catalog, openmmlab_catalog, video_catalog

HEADER = """\
| dataset | backbone | million parameters | MB | queries | published accuracy | on the Hugging Face hub | lucid's tag |
|---|---|---|---|---|---|---|---|"""

OPENMMLAB_HEADER = """\
| task | dataset | backbone | million parameters | MB | queries | published accuracy | name |
|---|---|---|---|---|---|---|---|"""

VIDEO_HEADER = """\
| dataset | backbone | million parameters | MB | queries | published accuracy | at | trained on | name |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Print a section for each task, panoptic first, as those models do all three."""
    for task in ("panoptic", "semantic", "instance"):
        print(f"### {task.capitalize()}\n\n{HEADER}")
        for dataset in DATASETS:
            for size in SWIN_SIZES:
                for row in rows([m for m in catalog() if (m.task, m.dataset, m.size) == (task, dataset, size)]):
                    print(row)
        print()
    print(f"### OpenMMLab\n\n{OPENMMLAB_HEADER}")
    for model in openmmlab_catalog():
        print(openmmlab_row(model))
    print(f"\n### Videos\n\n{VIDEO_HEADER}")
    for model in video_catalog():
        print(video_row(model))


def rows(models: list[CatalogEntry]) -> list[str]:
    """Return the rows of a backbone and a dataset: lucid's file beside the official model that has its accuracy."""
    official = {model.metric: model for model in models if model.name.startswith("facebook/")}
    tags = {model.metric: model for model in models if not model.name.startswith("facebook/")}
    beside = [row(model, model.name, tags[metric].name if metric in tags else "") for metric, model in official.items()]
    return beside + [row(model, tag=model.name) for metric, model in tags.items() if metric not in official]


def row(model: CatalogEntry, hub: str = "", tag: str = "") -> str:
    """Return one row; a Swin-B is marked if its backbone is of the larger ImageNet."""
    names = " | ".join(f"`{name}`" if name else "-" for name in (hub, tag))
    return f"| {data_name(model)} | {backbone_name(model)} | {sizes(model)} | {model.metric or '-'} | {names} |"


def openmmlab_row(model: CatalogEntry) -> str:
    """Return the row of one of OpenMMLab's checkpoints; its name links to the file."""
    what = f"| {model.task} | {data_name(model)} | {backbone_name(model)} | {sizes(model)} | {model.metric}"
    return f"{what} | [`{model.name}`]({model.address}) |"


def data_name(model: CatalogEntry) -> str:
    """Return the name of a dataset without its task."""
    name = model.dataset.removesuffix(f"_{model.task}").replace("_", " ")
    return name.upper() if name in ("coco", "ade20k") else name.title()


def backbone_name(model: CatalogEntry) -> str:
    """Return the short name of a backbone."""
    if not model.size:
        return model.backbone.replace("resnet_", "R")
    return f"Swin-{model.size[0].upper()}" + (", IN21k" if "IN21K" in model.name.upper() else "")


def sizes(model: CatalogEntry) -> str:
    """Return the cells of parameters, of size in float32 and of queries."""
    return f"{model.num_parameters / 1e6:.0f} | {model.num_parameters * 4 / 1e6:.0f} | {model.num_queries}"


def video_row(model: CatalogEntry) -> str:
    """Return the row of a checkpoint for videos; `at` is the shorter side of the frames, and the most of the longer."""
    data = model.dataset.removesuffix("_instance").replace("youtube_vis_", "YouTube-VIS ").replace("ovis", "OVIS")
    config = published_image_config(model.dataset, model.backbone)
    at = "-" if config is None else f"{config.shortest_edge}/{config.longest_edge}"
    part = f", {model.name.split('_')[-2]} % of them" if model.name.endswith("PERCENT") else ""
    frames = "clips" if model.trained_on == "clips" else f"frames{part}"
    return f"| {data} | {backbone_name(model)} | {sizes(model)} | {model.metric} | {at} | {frames} | `{model.name}` |"


if __name__ == "__main__":
    main()
