"""Compare two checkpoints on a photo: their pictures side by side, how far they agree, and how long each takes.

    python examples/compare_checkpoints.py photo.jpg
    python examples/compare_checkpoints.py photo.jpg --weights mask2former_swin_small:COCO_PANOPTIC my-own-folder

Classes are compared by name, so that their numbers may differ. The first run downloads the default weights, Swin-T
and Swin-S, 190 and 275 MB.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import lucid_mlx
from lucid_mlx.visualization import side_by_side


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", default=Path(__file__).with_name("coffee.jpg"))
    names = [f"facebook/mask2former-swin-{size}-coco-panoptic" for size in ("tiny", "small")]
    parser.add_argument("--weights", nargs=2, default=names, help="names or paths")
    parser.add_argument("-o", "--output", default="compared.png")
    args = parser.parse_args()

    numbers: dict[str, int] = {}  # by name, the same in both
    maps, pictures = [], []
    for weights in args.weights:
        segmenter = lucid_mlx.Segmenter(weights, task="semantic")
        segmenter(args.photo)  # the first run reads the weights too
        start = time.perf_counter()
        result = segmenter(args.photo)
        print(f"{weights}: {time.perf_counter() - start:.2f} s, {result.summary()}")
        shared = [numbers.setdefault(name.split(",")[0].lower(), len(numbers)) for name in result.labels.values()]
        maps.append(np.array(shared)[result.map])
        pictures.append(result.draw(title=weights))
    side_by_side(np.array(pictures[0]), pictures[1]).save(args.output)
    print(f"the same class on {(maps[0] == maps[1]).mean():.1%} of the pixels -> {args.output}")


if __name__ == "__main__":
    main()
