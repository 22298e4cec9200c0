"""`lucid-mlx convert`."""

import json
from pathlib import Path

import click
import mlx.core as mx

from lucid_mlx.convert import convert as convert_checkpoint
from lucid_mlx.convert import prepare
from lucid_mlx.convert.families import FAMILIES
from lucid_mlx.convert.rules import plan

DTYPES = ("float32", "float16", "bfloat16")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path), metavar="DEST", required=False)
@click.option(
    "--from", "family", type=click.Choice(list(FAMILIES)), help="Who wrote it; told from the keys if left out."
)
@click.option("--dtype", type=click.Choice(DTYPES), help="Floating-point type to store; the source's if left out.")
@click.option("--dry-run", is_flag=True, help="Show the configuration and what becomes of each key; write nothing.")
def convert(source: Path, destination: Path | None, family: str | None, dtype: str | None, dry_run: bool) -> None:
    """Convert a Mask2Former checkpoint SOURCE to an MLX folder DEST.

    SOURCE is a file (.safetensors, .bin, .pth, .pt, .pkl) or a folder with one, of Hugging Face transformers,
    detectron2, lucid 2 or 3, or OpenMMLab. DEST must not exist, or be empty.

    \b
    Examples:
      lucid-mlx convert mask2former-swin-tiny-coco-panoptic swin-tiny-mlx
      lucid-mlx convert model_final_3c3adc.pkl r50-mlx --dtype float16
    """
    kind = getattr(mx, dtype) if dtype else None
    if dry_run:
        conversion = prepare(source, family=family, dtype=kind)
        click.echo(f"family: {conversion.family.name}")
        click.echo(json.dumps(conversion.config.to_dict(), indent=2))
        for key, fate in plan(conversion.family.rules, conversion.source.arrays).items():
            assert fate is not None  # a key that no rule knows was refused above
            rule, targets = fate
            block = f", block {rule.part}" if rule.part is not None else ""
            click.echo(f"{key} -> {', '.join(targets) or 'dropped'}{block} ({rule.reason})")
        return
    if destination is None:
        raise click.UsageError("Missing argument 'DEST'.")
    folder = convert_checkpoint(source, destination, family=family, dtype=kind)
    size = sum(file.stat().st_size for file in folder.iterdir())
    click.echo(f"{source} -> {folder} ({size / 1e6:.0f} MB)")
