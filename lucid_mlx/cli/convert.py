"""`lucid-mlx convert`."""

import json
import re
from pathlib import Path
from typing import Any

import click
import mlx.core as mx

from lucid_mlx.convert import Conversion, convert_in_memory
from lucid_mlx.convert.card import license_text
from lucid_mlx.convert.export import export_huggingface
from lucid_mlx.convert.families import FAMILIES
from lucid_mlx.convert.rules import plan
from lucid_mlx.profiling.verification import can_run, verify
from lucid_mlx.weights.checkpoint import ensure_free
from lucid_mlx.weights.download import download
from lucid_mlx.weights.quantize import BITS, GROUP_SIZES

DTYPES = ("float32", "float16", "bfloat16")


@click.command()
@click.argument("source")
@click.argument("destination", type=click.Path(path_type=Path), metavar="[DEST]", required=False)
@click.option(
    "--from", "family", type=click.Choice(list(FAMILIES)), help="Who wrote it; told from the keys if left out."
)
@click.option(
    "--to", type=click.Choice(["mlx", "huggingface"]), default="mlx", show_default=True, help="What to write."
)
@click.option("--dtype", type=click.Choice(DTYPES), help="Floating-point type to store; the source's if left out.")
@click.option("--quantize", type=click.Choice([str(bits) for bits in BITS]), help="Bits of the large linear layers.")
@click.option(
    "--group-size", type=click.Choice([str(size) for size in GROUP_SIZES]), default="64", show_default=True,
    help="Quantized weights that share a scale.",
)  # fmt: skip
@click.option("--config", type=click.Path(path_type=Path), help="The YAML of a detectron2 checkpoint.")
@click.option(
    "--labels", help="Names of the classes, if the source has none: a dataset such as coco_panoptic, or a file."
)
@click.option("--dry-run", is_flag=True, help="Show the configuration and what becomes of each key; write nothing.")
@click.option("--verify", "verifying", is_flag=True, help="Run source and result on random images and compare.")
def convert(
    source: str, destination: Path | None, to: str, dry_run: bool, verifying: bool, quantize: str | None,
    dtype: str | None, group_size: str, **options: Any,
) -> None:  # fmt: skip
    """Convert a Mask2Former checkpoint SOURCE to an MLX folder DEST.

    SOURCE is a file (.safetensors, .bin, .pth, .pt, .pkl) or a folder, of Hugging Face transformers, detectron2,
    lucid 2 or 3, or OpenMMLab; a name on the Hugging Face hub; an hf:// or https:// address; or a tag that
    `lucid-mlx weights list` shows. DEST must not exist, or be empty; if left out, it is named after the source.

    \b
    Examples:
      lucid-mlx convert facebook/mask2former-swin-tiny-coco-panoptic
      lucid-mlx convert model_final_94dc52.pkl r50-mlx --dtype float16
      lucid-mlx convert mask2former_swin_small:ADE20K_SEMANTIC small-mlx --quantize 8
      lucid-mlx convert small-mlx small-huggingface --to huggingface
    """
    destination = destination or default_destination(source, to, quantize)
    if to == "huggingface":
        if dry_run or verifying or any((dtype, quantize, *options.values())):
            raise click.UsageError("--to huggingface takes an MLX folder as it is, and no other option.")
        folder = export_huggingface(download(source).path, destination)
        click.echo(f"{source} -> {folder} ({megabytes(folder)})")
        return
    if not dry_run:
        ensure_free(destination.expanduser())
    conversion = convert_in_memory(
        source,
        dtype=getattr(mx, dtype) if dtype else None,
        quantize_bits=int(quantize) if quantize else None,
        group_size=int(group_size),
        **options,
    )
    if dry_run:
        describe(conversion)
        return
    folder = conversion.write(destination)
    click.echo(f"{source} -> {folder} ({conversion.family.name}, {megabytes(folder)})")
    click.echo(f"license: {license_text(conversion.metadata)}")
    for note in conversion.notes:
        click.secho(f"note: {note}", fg="yellow", err=True)
    if verifying and not can_run(conversion.source):
        click.secho(
            "note: not verified: that takes a Hugging Face folder as the source, and `pip install torch transformers`",
            fg="yellow",
            err=True,
        )
    elif verifying:
        result = verify(conversion.source, folder)
        click.echo(
            f"verified against transformers: logits within {result.error:.1e} of the largest, "
            f"{result.changed:.3%} of pixels of another class"
        )


def default_destination(source: str, to: str, quantize: str | None) -> Path:
    """Name a folder after its source: the repository, or the file or folder."""
    name = re.split(r"[/:]", source.rstrip("/"))[-1].split("@")[0]
    stem = re.sub(r"\.(safetensors|bin|pth|pt|pkl)$", "", name)
    return Path(f"{stem}-{to}" + (f"-{quantize}bit" if quantize else ""))


def describe(conversion: Conversion) -> None:
    """Print what a conversion would do."""
    click.echo(f"family: {conversion.family.name}")
    click.echo(json.dumps(conversion.checkpoint().config, indent=2))
    for key, fate in plan(conversion.family.rules, conversion.keys).items():
        assert fate is not None  # a key that no rule knows was refused before
        rule, targets = fate
        block = f", block {rule.part}" if rule.part is not None else ""
        click.echo(f"{key} -> {', '.join(targets) or 'dropped'}{block} ({rule.reason})")
    click.echo(f"license: {license_text(conversion.metadata)}")


def megabytes(folder: Path) -> str:
    """Return the size of a folder's files."""
    return f"{sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.0f} MB"
