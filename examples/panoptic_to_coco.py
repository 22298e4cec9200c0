"""Write photos' panoptic segmentations as COCO does: one JSON, and a folder of PNGs whose colors are segments.

    python examples/panoptic_to_coco.py photos/*.jpg -o panoptic

This writes panoptic.json and panoptic/000000000001.png and so on, which panopticapi and detectron2 read. The first
run downloads the default weights, 190 MB.
"""

import argparse
import json
from pathlib import Path

import lucid_mlx
from lucid_mlx.results import coco_categories


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", default=[Path(__file__).with_name("coffee.jpg")])
    parser.add_argument("--weights", default="facebook/mask2former-swin-tiny-coco-panoptic", help="name or path")
    parser.add_argument("-o", "--output", type=Path, default=Path("panoptic"), help="the folder, and the JSON beside")
    args = parser.parse_args()

    segmenter = lucid_mlx.Segmenter(args.weights, task="panoptic")
    args.output.mkdir(parents=True, exist_ok=True)
    ids = segmenter.category_ids  # the dataset's own, if it is known
    categories = coco_categories(segmenter.labels, segmenter.thing_ids, ids)
    images, annotations = [], []
    for number, result in enumerate(segmenter.stream(args.photos, on_error="skip", progress=True), 1):
        picture, annotation = result.to_panoptic_png(category_ids=ids)
        file = f"{number:012}.png"  # by number, as COCO's: two folders may have photos of the same name
        picture.save(args.output / file)
        height, width = result.map.shape
        images.append({"id": number, "file_name": result.name, "width": width, "height": height})
        annotations.append({**annotation, "image_id": number, "file_name": file})
    file = args.output.with_suffix(".json")
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    print(f"{len(images)} photos -> {file} and {args.output}")


if __name__ == "__main__":
    main()
