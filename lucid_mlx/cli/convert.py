"""`lucid-mlx convert`."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import mlx.core as mx

from lucid_mlx.cli.options import DTYPES, class_names_option, destination, output_option
from lucid_mlx.convert import Conversion, convert_in_memory
from lucid_mlx.convert.card import license_text
from lucid_mlx.convert.export import export_huggingface
from lucid_mlx.convert.families import FAMILIES
from lucid_mlx.convert.publish import checked_license, publish
from lucid_mlx.convert.rules import match_rules
from lucid_mlx.errors import InputError
from lucid_mlx.profiling.verification import verify
from lucid_mlx.utils.text import echo
from lucid_mlx.weights.checkpoint import ensure_empty, is_converted
from lucid_mlx.weights.download import download
from lucid_mlx.weights.quantize import BITS, GROUP_SIZES
from lucid_mlx.weights.upload import check_login, check_repository

LARGEST_ERROR = 1e-2  # of logits, relative to the largest, that rounding of float32 explains


@click.command()
@click.argument("source")
@click.argument("target", type=click.Path(path_type=Path), metavar="[DEST]", required=False)
@output_option("The folder to write: DEST.")
@click.option(
    "--from",
    "family",
    type=click.Choice(list(FAMILIES)),
    help="What wrote the source. Default: told by its keys.",
)
@click.option(
    "--to", type=click.Choice(["mlx", "huggingface"]), default="mlx", show_default=True, help="What to write."
)
@click.option("--dtype", type=click.Choice(DTYPES), help="Type to store. Default: that of the source.")
@click.option("--quantize", type=click.Choice([str(bits) for bits in BITS]), help="Bits of the large linear layers.")
@click.option(
    "--group-size", type=click.Choice([str(size) for size in GROUP_SIZES]), default="64", show_default=True,
    help="Quantized weights that share a scale.",
)  # fmt: skip
@click.option(
    "--config", type=click.Path(path_type=Path), help="The YAML of a detectron2 checkpoint; or a config.json."
)
@class_names_option("Names of the classes: a dataset such as coco_panoptic, or a file. Default: those of the source.")
@click.option("--key", help="What holds the network in the file, such as model.student. Default: told by its keys.")
@click.option("--ema", is_flag=True, help="Take the averaged (EMA) weights if there are both. Default: the raw ones.")
@click.option("--dry-run", is_flag=True, help="Show totals, configuration and where each key goes; write nothing.")
@click.option("--verify", "verifying", is_flag=True, help="Compare the result with transformers on random images.")
@click.option("--upload-repo", metavar="OWNER/NAME", help="Publish DEST as this repository on the Hugging Face hub.")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option(
    "--license", "license_", help="License of the weights, as the hub writes it. Default: that of the source."
)
@click.option("--force", is_flag=True, help="Replace DEST if it is a converted folder; nothing else is ever replaced.")
def convert(
    source: str, target: Path | None, output: Path | None, to: str, dry_run: bool, verifying: bool, force: bool,
    quantize: str | None, dtype: str | None, group_size: str, class_names: str | None, upload_repo: str | None,
    private: bool, license_: str | None, **options: Any,
) -> None:  # fmt: skip
    """Convert a Mask2Former checkpoint SOURCE to an MLX folder DEST.

    SOURCE is a file (.safetensors, .bin, .pth, .pt, .ckpt, .pkl) or a folder, of Hugging Face transformers, detectron2,
    lucid 2 or 3, or OpenMMLab; a name on the Hugging Face hub; an hf:// or https:// address; a tag that
    `lucid-mlx weights list` shows; or a converted folder, to change its type, quantization or class names, or to
    publish it as it is. DEST (or -o DEST) must not exist, or be empty; if left out, it is named after the source.

    \b
    Examples:
      lucid-mlx convert facebook/mask2former-swin-tiny-coco-panoptic
      lucid-mlx convert model_final_94dc52.pkl -o r50-mlx --dtype float16
      lucid-mlx convert mask2former_swin_small:ADE20K_SEMANTIC -o small-mlx --quantize 8
      lucid-mlx convert small-mlx -o small-huggingface --to huggingface
      lucid-mlx convert model_final.pth -o mine --license mit --upload-repo you/mine
      lucid-mlx convert mine --upload-repo you/mine
    """
    if upload_repo is None and private:
        raise click.UsageError("--private goes with --upload-repo.")
    if upload_repo is not None:
        if to == "huggingface" or dry_run:
            raise click.UsageError("--upload-repo goes without --to huggingface and --dry-run.")
        check_repository(upload_repo)
        check_login()  # now, and not after minutes of converting
        changes = (target, output, dtype, quantize, class_names, license_, verifying, *options.values())
        if is_converted(Path(source)) and not any(changes):
            _publish(Path(source), upload_repo, private)
            return
    folder = destination(target, output) or default_destination(source, to, quantize, dtype)
    if to == "huggingface":
        if dry_run or verifying or any((dtype, quantize, class_names, license_, *options.values())):
            raise click.UsageError(
                "--to huggingface takes an MLX folder as it is, and no other option: convert it with these first."
            )
        written = export_huggingface(download(source).path, folder, force=force)
        echo(f"{source} -> {written} ({megabytes(written)})")
        return
    if not dry_run:
        ensure_empty(folder.expanduser(), force)
    conversion = convert_in_memory(
        source,
        dtype=None if dtype is None else getattr(mx, dtype),
        quantize_bits=int(quantize) if quantize else None,
        group_size=int(group_size),
        labels=class_names,
        **options,
    )
    if license_ is not None:
        checked = str(checked_license(conversion.metadata, license_))
        conversion = replace(conversion, metadata={**conversion.metadata, "license": checked})
    if dry_run:
        describe(conversion)
        return
    written = conversion.write(folder, force)
    echo(f"{source} -> {written} ({conversion.family.name}, {megabytes(written)})")
    echo(f"license: {license_text(conversion.metadata)}")
    for note in conversion.notes:
        echo(f"note: {note}", fg="yellow", err=True)
    if verifying:
        _verify(conversion, written)
    if upload_repo is not None:
        _publish(written, upload_repo, private)


def _publish(folder: Path, repository: str, private: bool) -> None:
    """Publish a folder; if that fails, say how to go on without converting again."""
    try:
        url = publish(folder, repository, private=private)
    except InputError as error:
        again = shlex.join(["lucid-mlx", "convert", str(folder), "--upload-repo", repository])
        raise InputError(f"{error}; the folder {folder} is whole: {again} tries again") from None
    echo(f"published: {url}")


def _verify(conversion: Conversion, written: Path) -> None:
    """Compare a conversion with transformers, and tell the result."""
    try:
        result = verify(conversion.source, written)
    except InputError as error:
        echo(f"note: not verified: {error}", fg="yellow", err=True)
        return
    echo(
        f"verified against transformers: logits within {result.error:.1e} of the largest, "
        f"{result.changed:.3%} of pixels of another class; compared with {result.compared}"
    )
    rounded = conversion.quantization is not None or any(
        array.dtype != mx.float32 for array in conversion.arrays.values()
    )
    if not result.error < LARGEST_ERROR and not rounded:
        echo("warning: that is more than rounding explains; please report it", fg="yellow", err=True)


def default_destination(source: str, to: str, quantize: str | None, dtype: str | None = None) -> Path:
    """Name a folder after its source: the repository, or the file or folder.

    Args:
        source: what is converted.
        to: the layout to write.
        quantize: bits, if layers are quantized.
        dtype: type to store, if one was named.

    Returns:
        The folder, in the current one.
    """
    name = re.split(r"[/:]", source.rstrip("/"))[-1].split("@")[0]
    stem = re.sub(r"\.(safetensors|bin|pth|pt|ckpt|pkl)$|-mlx(-b?float\d\d|-\dbit)*$", "", name)
    changed = "".join(f"-{x}" for x in (dtype, quantize and f"{quantize}bit") if x)
    return Path(f"{stem}-{to}{changed}")


def describe(conversion: Conversion) -> None:
    """Print what a conversion would do."""
    arrays = conversion.to_checkpoint().arrays
    size = sum(array.nbytes for array in arrays.values())
    echo(f"family: {conversion.family.name}")
    echo(
        f"{len(conversion.source_keys)} tensors of the source become {len(arrays)}, with "
        f"{sum(array.size for array in arrays.values()):,} numbers: {size / 1e6:.0f} MB on disk"
    )
    echo(f"{conversion.config.num_labels} classes, {conversion.config.num_queries} queries")
    for note in conversion.notes:
        echo(f"note: {note}", fg="yellow", err=True)
    for line in json.dumps(conversion.to_checkpoint().config, indent=2).splitlines():
        echo(line)
    for key, match in match_rules(conversion.family.rules, sorted(conversion.source_keys)).items():
        assert match is not None  # a key without a rule was an error before
        rule, targets = match
        chunk = f", chunk {rule.chunk}" if rule.chunk is not None else ""
        echo(f"{key} -> {', '.join(targets) or 'dropped'}{chunk} ({rule.reason})")
    echo(f"license: {license_text(conversion.metadata)}")


def megabytes(folder: Path) -> str:
    """Return the size of a folder's files."""
    return f"{sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.0f} MB"
