"""Make docs/picture.jpg: photos of the package, and what its network finds in them."""

from pathlib import Path

from PIL import Image

import lucid_mlx
from lucid_mlx.cli.demo import THRESHOLDS
from lucid_mlx.weights.address import DEMO_PHOTOS

HEIGHT = 400


def main() -> None:
    segmenter = lucid_mlx.Segmenter("demo")
    pictures = [segmenter(photo, thresholds=THRESHOLDS).draw(legend=False) for photo in DEMO_PHOTOS]
    pictures = [picture.resize((round(picture.width * HEIGHT / picture.height), HEIGHT)) for picture in pictures]
    row = Image.new("RGB", (sum(picture.width for picture in pictures), HEIGHT))
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width
    row.save(Path(__file__).with_name("picture.jpg"), quality=88)


if __name__ == "__main__":
    main()
