"""`lucid-mlx demo`."""

import warnings
from pathlib import Path

import click

from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.preprocessing import read_image
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.atomic_write import write_file
from lucid_mlx.weights.address import DEMO

SCENE = "scene.png"
SURE = Thresholds(threshold=0.3)  # of a panoptic segment; it did best so on validation scenes
TELLS = {
    "semantic": "the class of each pixel",
    "instance": "each garment by itself",
    "panoptic": "both at once: every garment, and the ground",
}


@click.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default="lucid-mlx-demo", show_default=True,
    help="The folder for the pictures.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def demo(output: Path, force: bool) -> None:
    """Segment a scene that comes with the package, by a small network that does too: no download, three tasks.

    The scene is drawn: garments strewn over a ground. `--weights demo` is this network for any other verb.

    \b
    Examples:
      lucid-mlx demo
      lucid-mlx demo --output pictures --force
    """
    places = {name: output / f"{name}.png" for name in ("scene", *TASKS)}
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; expected the name of a folder")
    taken = [place for place in places.values() if place.exists()]
    if taken and not force:
        raise InputError(f"{taken[0]} exists already; choose another folder or pass --force")
    image = read_image(DEMO / SCENE)
    output.mkdir(parents=True, exist_ok=True)
    write_file(places["scene"], (DEMO / SCENE).read_bytes())
    for task, tells in TELLS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is trained for panoptic segmentation, which serves all three
            found = Segmenter(DEMO, task)(image, thresholds=SURE if task == "panoptic" else None)
        found.save(places[task])
        click.echo(f"{task}, {tells} -> {places[task]}")
        for segment in found.segments:
            sure = "" if segment.score is None else f", {100 * segment.score:.0f} % sure"
            click.echo(f"  {segment.label}: {100 * segment.area / found.map.size:.1f} % of the scene{sure}")
    click.echo(f"the scene itself -> {places['scene']}")
