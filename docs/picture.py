"""Make docs/picture.jpg: what a panoptic picture looks like, from masks and scores that were made by hand."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from lucid_mlx.postprocessing import PanopticSegment
from lucid_mlx.preprocessing import read_image
from lucid_mlx.visualization import draw_panoptic

ROOT = Path(__file__).parents[1]
LABELS = {0: "dining table", 1: "plate", 2: "cup", 3: "spoon"}


def main() -> None:
    photo = read_image(ROOT / "examples" / "coffee.jpg")
    ids = Image.new("I", (photo.shape[1], photo.shape[0]), 0)
    pen = ImageDraw.Draw(ids)
    pen.polygon([(0, 105), (150, 0), (600, 0), (600, 400), (0, 400)], fill=1)
    pen.ellipse([77, 68, 480, 389], fill=2)
    pen.polygon([(174, 110), (182, 60), (408, 80), (402, 170), (345, 272), (260, 284), (200, 240)], fill=3)
    pen.ellipse([173, 18, 409, 208], fill=3)
    pen.polygon([(196, 280), (215, 235), (262, 245), (232, 305), (208, 303)], fill=3)
    pen.ellipse([326, 245, 406, 327], fill=4)
    pen.polygon([(400, 70), (422, 68), (424, 84), (388, 250), (368, 250), (404, 110)], fill=4)
    scores = {1: 0.98, 2: 0.96, 3: 0.99, 4: 0.93}
    segments = [PanopticSegment(number, number - 1, score, 0) for number, score in scores.items()]
    draw_panoptic(photo, np.array(ids), segments, LABELS).save(ROOT / "docs" / "picture.jpg", quality=85)


if __name__ == "__main__":
    main()
