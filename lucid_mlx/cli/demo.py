"""`lucid-mlx demo`."""

import warnings
from pathlib import Path

import click

from lucid_mlx.cli.options import force_option, output_option
from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.preprocessing import read_image
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.files import check_output_files, write_file
from lucid_mlx.utils.text import echo
from lucid_mlx.weights.address import DEMO_FOLDER

SCENE = "scene.png"
THRESHOLDS = Thresholds(threshold=0.3)  # of a panoptic segment; it did best so on validation scenes
DESCRIPTIONS = {
    "semantic": "the class of each pixel",
    "instance": "each garment by itself",
    "panoptic": "both at once: every garment, and the ground",
}


@click.command()
@output_option("The folder for the pictures.", default="lucid-mlx-demo", show_default=True)
@force_option
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
    output.mkdir(parents=True, exist_ok=True)
    check_output_files(list(places.values()), [DEMO_FOLDER / SCENE], force)
    image = read_image(DEMO_FOLDER / SCENE)
    write_file(places["scene"], (DEMO_FOLDER / SCENE).read_bytes())
    for task, description in DESCRIPTIONS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is trained for panoptic segmentation, which serves all three
            found = Segmenter(DEMO_FOLDER, task)(image, thresholds=THRESHOLDS if task == "panoptic" else None)
        found.save(places[task])
        echo(f"{task}, {description} -> {places[task]}")
        for segment in found.distinct:
            score = "" if segment.score is None else f", score {segment.score:.2f}"
            echo(f"  {segment.label}: {100 * segment.area / found.map.size:.1f} % of the scene{score}")
    echo(f"the scene itself -> {places['scene']}")
