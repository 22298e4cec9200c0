"""`lucid-mlx weights`."""

import click

from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import published_image_config
from lucid_mlx.utils.text import echo
from lucid_mlx.weights.address import parse_address
from lucid_mlx.weights.cache import cached_path, remove_cached
from lucid_mlx.weights.catalog import (
    DEMO,
    OPENMMLAB_NOTE,
    SWIN_SIZES,
    CatalogEntry,
    all_checkpoints,
    is_non_commercial,
)
from lucid_mlx.weights.download import download

DATASETS = ("coco", "ade20k", "cityscapes", "mapillary_vistas", "youtube_vis_2019", "youtube_vis_2021", "ovis")


@click.group()
def weights() -> None:
    """List, download and remove pretrained weights.

    NAME is a name of the list, any Mask2Former on the Hugging Face hub (owner/name, owner/name@revision), an hf://
    or https:// address. For a machine without a network: `pull` on one that has it, and copy the cache folder.

    \b
    Examples:
      lucid-mlx weights list --task panoptic --size tiny
      lucid-mlx weights list --commercial
      lucid-mlx weights pull facebook/mask2former-swin-tiny-coco-panoptic
      lucid-mlx weights remove mask2former_swin_small:ADE20K_SEMANTIC
    """


@weights.command("list")
@click.option("--task", type=click.Choice(TASKS), help="Only models for this task.")
@click.option("--dataset", type=click.Choice(DATASETS), help="Only models trained on this dataset.")
@click.option("--size", type=click.Choice(SWIN_SIZES), help="Only models with a Swin backbone of this size.")
@click.option("--commercial", is_flag=True, help="Only models whose license allows commercial use.")
@click.option("--cached", is_flag=True, help="Only those on this disk.")
@click.option("--addresses", is_flag=True, help="Show also where the files are.")
def list_weights(
    task: str | None, dataset: str | None, size: str | None, commercial: bool, cached: bool, addresses: bool
) -> None:
    """List the models that have a name: published accuracy, license, and whether they are on this disk.

    The first, demo, comes with the package and needs no network: it knows people and garments, best as
    --task semantic. video_mask2former_... were trained on clips of videos, minvis_... on their single frames. The
    column "at" has the shorter side of the images whose accuracy was published, and the most that the longer may be.
    Names, addresses and accuracies are those of the publishers; only demo was downloaded and tried where this list was
    written.
    """
    rows: list[tuple[str, ...]] = [
        ("name", "dataset", "MB", "queries", "published accuracy", "at", "license", "cached", "address")
    ]
    for model in (DEMO, *all_checkpoints()):
        wanted = (
            (task is None or model.task == task)
            and (dataset is None or model.dataset.startswith(dataset))
            and (size is None or model.size == size)
            and not (commercial and is_non_commercial(model.license))
        )
        here = wanted and (model is DEMO or cached_path(model.name) is not None)
        if wanted and (here or not cached):
            megabytes = f"{model.num_parameters * model.bytes_per_parameter / 1e6:.0f}"
            rows.append(
                (model.name, model.dataset, megabytes, str(model.num_queries), model.metric or "-", _test_size(model),
                 model.license, "in the package" if model is DEMO else "yes" if here else "no",
                 "-" if model is DEMO else str(parse_address(model.name)))
            )  # fmt: skip
    if any(row[0].startswith("openmmlab_") for row in rows):
        echo(f"note: openmmlab_... were not downloaded and tried here: {OPENMMLAB_NOTE}", fg="yellow", err=True)
    rows = rows if addresses else [row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _test_size(model: CatalogEntry) -> str:
    """Return the sides at which the accuracy was published, such as "800/1333"."""
    config = published_image_config(model.dataset, model.backbone)
    return "-" if config is None else f"{config.shortest_edge}/{config.longest_edge}"


@weights.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def pull(names: tuple[str, ...]) -> None:
    """Download weights into the cache; what is there already is checked, not fetched again."""
    for name in names:
        echo(f"{name} -> {download(name).path}")


@weights.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def remove(names: tuple[str, ...]) -> None:
    """Remove weights from the cache."""
    for name in names:
        echo(f"{name}: removed, {remove_cached(name) / 1e6:.0f} MB freed")


@weights.command()
@click.argument("name")
def path(name: str) -> None:
    """Print where weights lie in the cache."""
    found = cached_path(name)
    if found is None:
        raise InputError(f"{name} is not in the cache; get it with: lucid-mlx weights pull {name}")
    echo(str(found))
