"""`lucid-mlx segment`."""

import tempfile
import time
from pathlib import Path

import click
import mlx.core as mx
import numpy as np
from PIL import Image

from lucid_mlx.convert.pipeline import obtain
from lucid_mlx.errors import InputError
from lucid_mlx.images import Recipe, draw_semantic, preprocess, read_image, semantic_segmentation
from lucid_mlx.models import Mask2Former, Mask2FormerConfig
from lucid_mlx.models.load import build

UNTRAINED = "Untrained network, random weights: the classes mean nothing"


@click.command()
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("--weights", help="A name that `lucid-mlx weights list` shows, a folder, a checkpoint file, an address.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("segmented.png"), show_default=True,
    help="The picture to write.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite the output.")
def segment(photo: Path, weights: str | None, output: Path, force: bool) -> None:
    """Give each pixel of PHOTO a class and draw the classes over it.

    Without --weights a small untrained network stands in, to show that everything works.

    \b
    Examples:
      lucid-mlx segment examples/coffee.jpg
      lucid-mlx segment photo.jpg --weights facebook/mask2former-swin-tiny-ade-semantic -o picture.png
    """
    clock = Clock()
    check_output(output, force)
    image = read_image(photo)
    clock.lap("photo")
    if weights is None:
        click.secho(f"{UNTRAINED}. Pass --weights for a trained one.", fg="yellow", err=True)
        model, recipe = untrained_network(), Recipe()
    else:
        checkpoint = obtain(weights)
        model = build(checkpoint)
        recipe = Recipe.from_dict(checkpoint.preprocessor) if checkpoint.preprocessor else Recipe()
        mx.eval(model.parameters())
    clock.lap("weights")

    pixels, seen = preprocess(image, recipe)
    (height, width), input_size = image.shape[:2], (pixels.shape[1], pixels.shape[2])
    outputs = model(pixels.transpose(0, 3, 1, 2))
    mx.eval(outputs["class_queries_logits"], outputs["masks_queries_logits"])
    clock.lap("network (first run)")
    classes = semantic_segmentation(outputs, input_size, [(height, width)], seen_sizes=seen, resize_scores=True)[0]
    clock.lap("map")
    picture = draw_semantic(
        image, np.array(classes), model.config.id2label, note=UNTRAINED if weights is None else None
    )
    save(picture, output)
    clock.lap("picture")

    click.echo(f"{photo}: {width}x{height}, seen at {seen[0][1]}x{seen[0][0]} on the {device_name()} -> {output}")
    click.echo(clock.summary())


def untrained_network() -> Mask2Former:
    """Build a small network from a fixed seed: random weights that always give the same picture."""
    mx.random.seed(2)
    model = Mask2Former(
        Mask2FormerConfig(
            num_labels=6,
            feature_size=64,
            mask_feature_size=64,
            hidden_dim=64,
            backbone_config={
                "model_type": "resnet",
                "embedding_size": 16,
                "hidden_sizes": [16, 32, 64, 128],
                "depths": [1, 1, 1, 1],
            },
            num_queries=20,
            encoder_layers=1,
            encoder_feedforward_dim=128,
            decoder_layers=3,
            dim_feedforward=128,
            num_attention_heads=4,
            # Larger heads and weaker attention than for training, so that the queries differ in what they say.
            init_std=0.5,
            init_xavier_std=0.15,
        )
    )
    model.config.id2label = {number: f"untrained {letter}" for number, letter in enumerate("ABCDEF")}
    model.eval()
    mx.eval(model.parameters())
    return model


def check_output(path: Path, force: bool) -> None:
    """Refuse an output that cannot be written, before any work is done.

    Raises:
        InputError: if the folder is missing, the format unknown, or the file there already and not to be replaced.
    """
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise InputError(f"{path} does not name a picture format; expected an ending like .png or .jpg")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected the name of a picture")
    if path.exists() and not force:
        raise InputError(f"{path} exists already; choose another name or pass --force")


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture beside its place and move it there when it is complete.

    Raises:
        InputError: if it cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".lucid-mlx-", dir=path.parent) as folder:
            draft = Path(folder) / path.name
            picture.save(draft)
            draft.replace(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {error}") from error


def device_name() -> str:
    """Return "CPU" or "GPU"."""
    return "GPU" if mx.default_device().type == mx.DeviceType.gpu else "CPU"


class Clock:
    """Laps in seconds."""

    def __init__(self) -> None:
        self.start = self.last = time.perf_counter()
        self.laps: list[tuple[str, float]] = []

    def lap(self, name: str) -> None:
        """End a lap."""
        now = time.perf_counter()
        self.laps.append((name, now - self.last))
        self.last = now

    def summary(self) -> str:
        """Return the laps and their total as one line."""
        laps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.laps)
        return f"{laps}; {self.last - self.start:.2f} s in all after start-up"
