"""`lucid-mlx demo`."""

import warnings
from pathlib import Path

import click

from lucid_mlx.cli.options import force_option, output_option
from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.files import check_output_files, write_file
from lucid_mlx.utils.text import echo
from lucid_mlx.weights.address import DEMO_FOLDER, DEMO_PHOTOS

THRESHOLDS = Thresholds(threshold=0.2)  # of objects and segments: the network is not sure of their names
DESCRIPTIONS = {
    "semantic": "the class of each pixel",
    "instance": "each garment by itself",
    "panoptic": "both at once: every garment, and the rest",
}


@click.command()
@output_option("The folder for the pictures.", default="lucid-mlx-demo", show_default=True)
@force_option
def demo(output: Path, force: bool) -> None:
    """Segment photos that come with the package, by a small network that does too: no download, three tasks.

    The network knows people and 16 kinds of garments. `--weights demo` is this network for any other verb.

    \b
    Examples:
      lucid-mlx demo
      lucid-mlx demo --output pictures --force
    """
    places = {(photo, task): output / f"{photo.stem}-{task}.png" for photo in DEMO_PHOTOS for task in TASKS}
    copies = {photo: output / photo.name for photo in DEMO_PHOTOS}
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; expected the name of a folder")
    output.mkdir(parents=True, exist_ok=True)
    check_output_files([*copies.values(), *places.values()], DEMO_PHOTOS, force)
    for photo, copy in copies.items():
        write_file(copy, photo.read_bytes())
    for task, description in DESCRIPTIONS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is trained for panoptic segmentation, which serves all three
            segmenter = Segmenter(DEMO_FOLDER, task)
        echo(f"{task}, {description}")
        for photo in DEMO_PHOTOS:
            found = segmenter(photo, thresholds=None if task == "semantic" else THRESHOLDS)
            found.save(places[photo, task])
            shares = (f"{segment.label} {100 * segment.area / found.map.size:.1f} %" for segment in found.distinct)
            echo(f"  {', '.join(shares) or 'nothing'} -> {places[photo, task]}")
    echo(f"the photos themselves are in {output} too")
