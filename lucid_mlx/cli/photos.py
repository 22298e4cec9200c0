"""Which of its photos `lucid-mlx segment` takes, and how it goes through them."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx
from tqdm.auto import tqdm

from lucid_mlx.cli.formats import OWN_FILES
from lucid_mlx.cli.outputs import Writer
from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.results import Segmentation
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.tiles import segment_tiled
from lucid_mlx.utils.text import echo, examples, hide_bar


def own_share(names: Sequence[str], writer: Writer, skip_existing: bool) -> list[str]:
    """Return the photos that this process segments, and let the writer know.

    Args:
        names: all photos.
        writer: knows their files.
        skip_existing: leave out photos whose files are all there.

    Returns:
        Under `mlx.launch` the share of this process; else all that are not left out.

    Raises:
        InputError: if photos have a file in common, which one process, or one run, would write without the others.
    """
    group = mx.distributed.init()
    rank, size = group.rank(), group.size()
    why = "under mlx.launch" if size > 1 else "with --skip-existing" if skip_existing else ""
    if why and (writer.to_stdout or not set(writer.formats) <= OWN_FILES.keys() - {"panoptic"}):
        each = ", ".join(name for name in OWN_FILES if name != "panoptic")
        raise InputError(f"{why} each photo needs files of its own; expected formats of {each}, and no -o -")
    share = list(names[rank::size])
    if size > 1:
        echo(f"process {rank + 1} of {size}: {len(share)} of {len(names)} photos", err=True)
    if skip_existing:
        there = [name for name in share if writer.is_done(name)]
        share = [name for name in share if not writer.is_done(name)]
        if there:
            echo(f"{len(there)} skipped, whose results exist: {examples(there)}", err=True)
    if why:
        writer.keep(share)
    return share


def tiled(
    segmenter: Segmenter, images: Sequence[Any], names: Sequence[str], tile: int, overlap: int, batch_size: int,
    thresholds: Thresholds,
) -> Iterator[Segmentation]:  # fmt: skip
    """Segment photos tile by tile.

    Args:
        segmenter: what segments the tiles.
        images: the photos.
        names: what to call them.
        tile: longest side of a tile, in pixels.
        overlap: how many pixels neighbors have in common at least.
        batch_size: tiles that run together.
        thresholds: what counts as found.

    Yields:
        The results; none of a photo that cannot be read, which is told at the end.
    """
    skipped: list[str] = []
    with tqdm(total=len(images), unit="image", disable=hide_bar(len(images) > 1)) as bar:
        for image, name in zip(images, names, strict=True):
            try:
                yield segment_tiled(
                    segmenter, image, tile=tile, overlap=overlap, batch_size=batch_size, thresholds=thresholds,
                    progress=True,
                )  # fmt: skip
            except InputError as error:
                skipped.append(str(error) if name in str(error) else f"{name}: {error}")
            bar.update()
    if skipped:
        warnings.warn(f"skipped {len(skipped)} of {len(images)} images: {examples(skipped)}", stacklevel=2)
