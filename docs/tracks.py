"""Make a film of ten seconds, follow what a network finds in it, and draw the strip of the documentation, tracks.jpg.

    sudo apt-get install dataset-fashion-mnist
    python docs/tracks.py WEIGHTS docs/tracks.jpg                 # a network of drawn scenes
    python docs/tracks.py WEIGHTS docs/tracks.jpg --frames seen   # and every fifth frame, to look at

A garment crosses another one, leaves the picture, and comes back: 25 frames a second, 128x128 pixels.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from lucid_mlx import VideoSegmenter
from lucid_mlx.results import Segmentation
from lucid_mlx.video.draw_video import Drawing

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from moving_scenes import film

SCALE = 2  # pixels of the strip for one of the film
STRIP = (0, 25, 45, 75, 140, 210, 240, 281)  # frames of it


def numbered(frame: Segmentation, picture: np.ndarray, things: frozenset[int]) -> Image.Image:
    """Enlarge a picture and write each thing's track id into the middle of its mask."""
    large = Image.fromarray(picture).resize((SCALE * frame.image.shape[1], SCALE * frame.image.shape[0]))
    draw = ImageDraw.Draw(large)
    for one in frame.segments:
        if one.label_id in things:
            rows, columns = np.nonzero(frame.mask(one))
            place = SCALE * float(columns.mean()), SCALE * float(rows.mean())
            draw.text(place, str(one.track_id), "white", font_size=26, anchor="mm", stroke_width=3, stroke_fill="black")
    return large


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="a network of drawn scenes")
    parser.add_argument("out", type=Path, help="the strip, .jpg")
    parser.add_argument("--frames", type=Path, help="folder for every fifth frame")
    args = parser.parse_args()
    made = film("return", 1, slow=6)
    segmenter = VideoSegmenter(args.weights, "panoptic", threshold=0.3, dtype="float32")
    things = segmenter.segmenter.thing_ids or frozenset()
    draw = Drawing(segmenter.segmenter.labels, {})
    pictures = []
    for frame in segmenter.stream((one.image for one in made.frames), batch_size=8):
        pictures.append(numbered(frame, draw(frame), things))
    if args.frames:
        args.frames.mkdir(parents=True)
        for number, picture in list(enumerate(pictures))[::5]:
            picture.save(args.frames / f"{number:04}.png")
    strip = np.concatenate([np.asarray(pictures[number]) for number in STRIP], axis=1)
    Image.fromarray(strip).resize((strip.shape[1] * 3 // 4, strip.shape[0] * 3 // 4)).save(args.out, quality=80)
    print(
        f"{len(made.frames)} frames; one of its garments is outside in frames {made.hidden[0]} to {made.hidden[1] - 1}"
    )


if __name__ == "__main__":
    main()
