"""`lucid-mlx convert`."""

from pathlib import Path

import click

from lucid_mlx.convert import convert as convert_folder


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path), metavar="DEST")
def convert(source: Path, destination: Path) -> None:
    """Convert a Hugging Face checkpoint folder SOURCE to an MLX folder DEST.

    SOURCE holds config.json and model.safetensors. DEST must not exist, or be empty.

    \b
    Examples:
      lucid-mlx convert mask2former-swin-tiny-coco-panoptic swin-tiny-mlx
      lucid-mlx convert ~/checkpoints/mine ~/models/mine-mlx
    """
    folder = convert_folder(source, destination)
    size = sum(file.stat().st_size for file in folder.iterdir())
    click.echo(f"{source} -> {folder} ({size / 1e6:.0f} MB)")
