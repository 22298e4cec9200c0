"""Measure identities over time on films whose labels are exact: examples/moving_scenes.py makes them.

    sudo apt-get install dataset-fashion-mnist
    pip install -e . trackeval
    python benchmarks/tracking.py WEIGHTS                        # a network of drawn scenes
    python benchmarks/tracking.py WEIGHTS --only overlap --tables pans    # by the overlap of masks alone
    python benchmarks/tracking.py WEIGHTS --seed 7 --scenes 30   # other scenes

It prints four tables:

- Windows of 128 px that pan over scenes: of the objects that are found in two frames that follow each other, with an
  IoU of at least 0.5, the share that keeps its track.
- Garments that are hidden for ten frames: how many have their track again. Those that the network does not find before
  and after do not count.
- Cuts from film to film: how many tracks go on across one; and cuts that were seen where none is.
- HOTA and IDF1 (trackeval), in percent, of films of each kind. They depend on what the network finds, too.
"""

import argparse
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

import lucid_mlx.video.tracking as tracking
from lucid_mlx import VideoSegmenter
from lucid_mlx.results import Segmentation
from lucid_mlx.video.camera import Camera

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from moving_scenes import KINDS, Film, cut, film, pan

LEAST_IOU = 0.5  # of what is found and the truth
LEAST_PIXELS = 30  # of a garment that counts
TABLES = ("pans", "occlusions", "cuts", "metrics")


def found_objects(frame: Segmentation, objects: np.ndarray, things: Iterable[int]) -> dict[int, int]:
    """Return the track of each garment that is found, by the garment's number."""
    found: dict[int, tuple[float, int]] = {}
    for segment in frame.segments:
        if segment.label_id not in things:
            continue
        mask = frame.mask(segment)
        for number in np.unique(objects[mask]).tolist():
            true = objects == number
            iou = (mask & true).sum() / (mask | true).sum()
            if number and true.sum() >= LEAST_PIXELS and iou >= LEAST_IOU:
                found[number] = max(found.get(number, (0.0, 0)), (iou, segment.track_id))
    return {number: track for number, (_, track) in found.items()}


class Tracked:
    """A film and what was found in it."""

    def __init__(self, segmenter: VideoSegmenter, made: Film, batch_size: int):
        self.film = made
        self.frames = list(segmenter.stream((frame.image for frame in made.frames), batch_size=batch_size))
        things = segmenter.segmenter.thing_ids
        self.found = [
            found_objects(result, frame.objects, things) for result, frame in zip(self.frames, made.frames, strict=True)
        ]
        self.things = things

    def kept(self) -> tuple[int, int]:
        """Return how many objects kept their track from a frame to the next, and how many could."""
        pairs = [
            (before[number], after[number])
            for before, after in pairwise(self.found)
            for number in before.keys() & after.keys()
        ]
        return sum(one == other for one, other in pairs), len(pairs)

    def again(self) -> bool | None:
        """Return whether the hidden object has its track again; None if it is not found before or after."""
        first, last = self.film.hidden
        before = [found[self.film.focus] for found in self.found[:first] if self.film.focus in found]
        after = [found[self.film.focus] for found in self.found[last:] if self.film.focus in found]
        return before[-1] == after[0] if before and after else None

    def for_trackeval(self) -> dict:
        """Return the data of a sequence as trackeval's metrics take it."""
        true_ids, track_ids, similarities = [], [], []
        for result, frame in zip(self.frames, self.film.frames, strict=True):
            numbers = [n for n in np.unique(frame.objects).tolist() if n and (frame.objects == n).sum() >= LEAST_PIXELS]
            segments = [one for one in result.segments if one.label_id in self.things]
            truth = (
                np.stack([(frame.objects == n).ravel() for n in numbers])
                if numbers
                else np.zeros((0, frame.objects.size))
            )
            masks = (
                np.stack([result.mask(one).ravel() for one in segments])
                if segments
                else np.zeros((0, frame.objects.size))
            )
            both = truth.astype(np.float32) @ masks.astype(np.float32).T
            union = truth.sum(axis=1)[:, None] + masks.sum(axis=1) - both
            true_ids.append(np.array(numbers, int))
            track_ids.append(np.array([one.track_id for one in segments], int))
            similarities.append(both / np.maximum(union, 1))
        data: dict = {"similarity_scores": similarities, "num_timesteps": len(self.frames)}
        for name, ids in (("gt", true_ids), ("tracker", track_ids)):
            known, numbered = np.unique(np.concatenate([*ids, np.zeros(0, int)]), return_inverse=True)
            data[f"{name}_ids"] = np.split(numbered, np.cumsum([len(each) for each in ids])[:-1])
            data[f"num_{name}_ids"], data[f"num_{name}_dets"] = len(known), len(numbered)
        return data


def pans(segmenter: VideoSegmenter, scenes: int, seed: int, batch_size: int) -> None:
    for step in (6, 20, 40):
        counts = [Tracked(segmenter, pan(index, step, seed), batch_size).kept() for index in range(scenes)]
        kept, total = np.sum(counts, axis=0)
        print(f"pan, {step:2} pixels a frame: {100 * kept / total:5.1f} % of {total} keep their track")


def occlusions(segmenter: VideoSegmenter, count: int, seed: int, batch_size: int) -> None:
    again, index = [], 0
    while len(again) < count:
        if (result := Tracked(segmenter, film("occlusion", index, seed), batch_size).again()) is not None:
            again.append(result)
        index += 1
    print(f"hidden for ten frames: {sum(again)} of {count} have their track again")


def cuts(segmenter: VideoSegmenter, count: int, seed: int, batch_size: int) -> None:
    rng = np.random.default_rng(seed)
    shared = false = steps = 0
    for index in range(count):
        kinds = rng.choice(KINDS, 2)
        films = [film(str(kind), 1000 + 2 * index + place, seed) for place, kind in enumerate(kinds)]
        parts = [one._replace(frames=one.frames[:6]) for one in films]
        tracked, first = Tracked(segmenter, cut(*parts), batch_size), len(parts[0].frames)
        sides = tracked.frames[:first], tracked.frames[first:]
        before, after = ({one.track_id for frame in side for one in frame.segments} for side in sides)
        shared += len(before & after)
        for one in films:
            camera = Camera()
            seen = [camera.update(frame.image).cut for frame in one.frames]
            false, steps = false + sum(seen[1:]), steps + len(seen) - 1
    print(f"{count} cuts: {shared} tracks go on across one; {false} cuts seen in {steps} steps without one")


def metrics(segmenter: VideoSegmenter, count: int, seed: int, batch_size: int) -> None:
    from trackeval.metrics import HOTA, Identity

    hota, identity = HOTA(), Identity({"THRESHOLD": 0.5, "PRINT_CONFIG": False})
    print(f"{'kind':12}{'HOTA':>7}{'AssA':>7}{'IDF1':>7}")
    for kind in KINDS:
        tracked = [Tracked(segmenter, film(kind, index, seed), batch_size).for_trackeval() for index in range(count)]
        by_film = {str(number): hota.eval_sequence(data) for number, data in enumerate(tracked)}
        overlap = hota.combine_sequences(by_film)
        ids = identity.combine_sequences({str(n): identity.eval_sequence(data) for n, data in enumerate(tracked)})
        values = overlap["HOTA"].mean(), overlap["AssA"].mean(), ids["IDF1"]
        print(f"{kind:12}" + "".join(f"{100 * value:7.1f}" for value in values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="a network of drawn scenes")
    parser.add_argument("--task", choices=("panoptic", "instance"), default="panoptic")
    parser.add_argument("--threshold", type=float, default=0.3, help="minimum score of a segment")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes")
    parser.add_argument("--scenes", type=int, default=14, help="to pan over")
    parser.add_argument("--films", type=int, default=10, help="of each kind, for HOTA and IDF1")
    parser.add_argument("--only", choices=tracking.Weights._fields[1:], help="compare by this alone")
    parser.add_argument("--association", choices=("segments", "minvis"), default="segments")
    parser.add_argument("--tables", choices=TABLES, nargs="+", default=TABLES, help="what to measure")
    parser.add_argument("--batch-size", type=int, default=8)
    args = parser.parse_args()
    if args.only:  # a segment goes on if more than a tenth is alike
        nothing = dict.fromkeys(tracking.Weights._fields, 0.0)
        tracking.WEIGHTS = tracking.Weights(**{**nothing, "bias": -1.0, args.only: 10.0})
    segmenter = VideoSegmenter(
        args.weights, args.task, association=args.association, threshold=args.threshold, dtype="float32"
    )
    for table in args.tables:
        measure, count = {
            "pans": (pans, args.scenes),
            "occlusions": (occlusions, 50),
            "cuts": (cuts, 50),
            "metrics": (metrics, args.films),
        }[table]
        measure(segmenter, count, args.seed, args.batch_size)


if __name__ == "__main__":
    main()
