"""Blur all of a photo but the people in it, or but the pixels of another class.

    python examples/blur_background.py portrait.jpg
    python examples/blur_background.py --keep cup             # the photo in this folder shows nobody

The first run downloads the default weights, 190 MB.
"""

import argparse
from pathlib import Path

from PIL import Image, ImageFilter

import lucid_mlx


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", default=Path(__file__).with_name("coffee.jpg"))
    parser.add_argument("--weights", default="facebook/mask2former-swin-tiny-coco-panoptic", help="name or path")
    parser.add_argument("--keep", default="person", metavar="CLASS", help="what stays sharp")
    parser.add_argument("--radius", type=float, default=12.0, help="of the blur, in pixels")
    parser.add_argument("-o", "--output", default="blurred.png")
    args = parser.parse_args()

    found = lucid_mlx.Segmenter(args.weights, task="semantic")(args.photo)
    keep = found.only([args.keep]).masks.any(axis=0)  # (H, W) bool
    if not keep.any():
        raise SystemExit(f"there is no {args.keep} in the photo; there is: {found.summary()}; choose with --keep")

    photo = Image.fromarray(found.image)
    blurred = photo.filter(ImageFilter.GaussianBlur(args.radius))
    Image.composite(photo, blurred, Image.fromarray(keep)).save(args.output)
    print(f"{args.keep}, {keep.mean():.0%} of the photo, kept -> {args.output}")


if __name__ == "__main__":
    main()
