"""Cut one object out of a photo, with transparency around it: the largest, or the largest of a class.

    python examples/cut_out.py
    python examples/cut_out.py photo.jpg --label dog -o dog.png

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
    parser.add_argument("--label", help="class of the object, such as cup")
    parser.add_argument("--soft", type=float, default=1.0, help="softness of the edge in pixels, 0 for a hard one")
    parser.add_argument("-o", "--output", default="cut_out.png")
    args = parser.parse_args()
    if not args.output.lower().endswith((".png", ".webp", ".tif", ".tiff")):
        parser.error(f"{args.output} cannot be transparent; expected a name that ends in .png, .webp or .tif")

    segmenter = lucid_mlx.Segmenter(args.weights)
    found = segmenter(args.photo)
    things = segmenter.thing_ids or segmenter.labels  # no stuff, such as sky, which is often the largest
    labels = [args.label] if args.label else [segmenter.labels[thing] for thing in things]
    objects = found.only(labels).segments
    if not objects:
        raise SystemExit(f"there is no {args.label or 'object'} in the photo; there is: {found.summary()}")
    largest = max(objects, key=lambda segment: segment.area)

    alpha = Image.fromarray(found.mask(largest)).convert("L").filter(ImageFilter.GaussianBlur(args.soft))
    picture = Image.fromarray(found.image)
    picture.putalpha(alpha)
    picture.crop(largest.box).save(args.output)
    print(f"{largest.label} -> {args.output}")


if __name__ == "__main__":
    main()
