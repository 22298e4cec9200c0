"""Segment all pictures of a folder and draw the result over each, in another folder under the same name.

    python examples/batch_folder.py photos overlays

However many there are, a batch at a time is in memory. Pictures that are in the other folder already are left out,
so that the same command goes on after a stop. The first run downloads the default weights, 190 MB.
"""

import argparse
from pathlib import Path

import lucid_mlx

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}


def main() -> None:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path, default=here, help="folder with photos")
    parser.add_argument("overlays", nargs="?", type=Path, default=Path("overlays"), help="folder for the results")
    parser.add_argument("--weights", default="facebook/mask2former-swin-tiny-coco-panoptic", help="name or path")
    parser.add_argument("--batch-size", type=int, default=1, help="pictures of the same size that run together")
    args = parser.parse_args()
    if not args.photos.is_dir():
        parser.error(f"{args.photos} is no folder")
    args.overlays.mkdir(parents=True, exist_ok=True)
    if args.overlays.samefile(args.photos):
        parser.error("the overlays need another folder than the photos")

    pictures = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in ENDINGS)
    waiting = [path for path in pictures if not (args.overlays / path.name).exists()]
    segmenter = lucid_mlx.Segmenter(args.weights)
    done = 0
    for result in segmenter.stream(waiting, batch_size=args.batch_size, on_error="skip", progress=True):
        result.save(args.overlays / Path(result.name).name)
        done += 1
    print(f"{done} of {len(pictures)} pictures -> {args.overlays}")


if __name__ == "__main__":
    main()
