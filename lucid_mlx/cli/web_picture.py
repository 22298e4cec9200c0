"""The picture of a result on the page, and the files to download."""

import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from lucid_mlx.cli.formats import FORMATS, PictureOptions
from lucid_mlx.cli.outputs import Writer
from lucid_mlx.results import Segmentation
from lucid_mlx.results.segment import Segment
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.text import printable
from lucid_mlx.visualization.colors import class_colors, segment_colors

if TYPE_CHECKING:
    import gradio as gr

MAX_SIDE = 1280  # longer side of the picture on the page; the downloads have all pixels
TINT_OPACITY = 0.6
ALL_FORMATS = "all of them (zip)"

Annotation = tuple[np.ndarray | tuple[int, int, int, int], str]  # as AnnotatedImage has it; ours are all masks

# AnnotatedImage tells of clicks and hovers over its legend alone. This passes those over the picture on to the legend:
# of the masks under the pointer to that which is drawn last.
POINTING = """() => {
  const under = event => {
    const box = event.target.closest?.(".image-container");
    if (!box) return null;
    const masks = [...box.querySelectorAll("img.mask")];
    const index = masks.findLastIndex(mask => {
      const {left, top, width, height} = mask.getBoundingClientRect();
      if (!mask.naturalWidth || !width) return false;
      const scale = Math.min(width / mask.naturalWidth, height / mask.naturalHeight);  // it may be letterboxed
      const x = (event.clientX - left - width / 2) / scale + mask.naturalWidth / 2;
      const y = (event.clientY - top - height / 2) / scale + mask.naturalHeight / 2;
      const canvas = new OffscreenCanvas(1, 1).getContext("2d");
      canvas.drawImage(mask, -Math.floor(x), -Math.floor(y));
      return canvas.getImageData(0, 0, 1, 1).data[3] > 0;
    });
    return box.parentElement.querySelectorAll(".legend-item")[index] ?? null;
  };
  let last = null;
  const hover = item => {
    if (item === last) return;
    last?.dispatchEvent(new MouseEvent("mouseout", {bubbles: true}));
    item?.dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
    last = item;
  };
  document.addEventListener("mousemove", event => {
    if (!event.target.closest?.(".legend-item")) hover(under(event));
  });
  document.addEventListener("click", event => under(event)?.click());
}"""


class Drawn(NamedTuple):
    """What AnnotatedImage shows of a result.

    Attributes:
        value: the picture and, of each segment that is visible in it, the mask, (H, W) from 0 to 1, and the name.
        colors: of the names.
        segments: those of the masks.
    """

    value: tuple[Image.Image, list[Annotation]]
    colors: dict[str, str]
    segments: list[Segment]

    def update(self) -> "gr.AnnotatedImage":
        """Return what shows it on the page."""
        import gradio as gr

        return gr.AnnotatedImage(value=self.value, color_map=self.colors)


def annotations(result: Segmentation) -> Drawn:
    """Return what gradio's AnnotatedImage shows, in the colors of `result.draw()`.

    Returns:
        The picture, its masks, names and colors. A name has its class, its number if there are several of that, and its
        score or, of a semantic segmentation, its fraction of the picture.
    """
    height, width = result.map.shape
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    rows, columns = (np.arange(new) * old // new for new, old in ((size[1], height), (size[0], width)))
    small = result.map[rows][:, columns]

    label_ids = [segment.label_id for segment in result.distinct]
    # As `draw` has it: a class gets its color by the number, not by the size, of what is there.
    colors = segment_colors(label_ids, class_colors(result.labels, set(label_ids)))
    of_label, numbers = Counter(segment.label for segment in result.distinct), Counter[str]()
    drawn = Drawn((Image.fromarray(result.image).resize(size), []), {}, [])
    for segment, (red, green, blue) in zip(result.distinct, colors, strict=True):
        numbers[segment.label] += 1
        mask = small == segment.id
        if not mask.any():
            continue
        number = f" {numbers[segment.label]}" if of_label[segment.label] > 1 else ""
        measure = f"{segment.area / result.map.size:.0%}" if segment.score is None else f"{segment.score:.2f}"
        name = f"{printable(segment.label)}{number}, {measure}"
        drawn.value[1].append((TINT_OPACITY * mask, name))
        drawn.colors[name] = f"#{red:02x}{green:02x}{blue:02x}"
        drawn.segments.append(segment)
    return drawn


def write(result: Segmentation, format: str, place: Path, segmenter: Segmenter, part: str = "") -> str:
    """Write a result as `lucid-mlx segment` does.

    Args:
        result: with a name.
        format: of `FORMATS`, or `ALL_FORMATS`.
        place: a folder for the files.
        segmenter: what it was found by.
        part: what the result is of its photo, for the file's name.

    Returns:
        The file; what takes several files comes as one zip.
    """
    # Classes that were named here have no number in the data set.
    categories = segmenter.category_ids
    if categories is not None:
        new = [label_id for label_id in result.labels if label_id not in categories]
        categories = {**categories, **{label_id: max(categories.values()) + n for n, label_id in enumerate(new, 1)}}
    photo = Path(result.name or "photo")
    name = "-".join([photo.stem, *re.findall(r"\w+", part)])
    folder = place / name
    folder.mkdir()
    writer = Writer(
        [name + photo.suffix], FORMATS if format == ALL_FORMATS else [format], f"{folder}/", True, PictureOptions()
    )
    writer.make_folders(force=False)
    files = writer.write(name + photo.suffix, result)
    writer.collect(name + photo.suffix, result, categories)
    files += writer.close(result.labels, segmenter.thing_ids, categories)
    if len(files) == 1:
        return str(files[0])
    packed = place / f"{name}.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in files:
            archive.write(file, file.relative_to(folder))
    return str(packed)
