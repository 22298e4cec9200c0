"""The functions and classes of Python's door, with values that they do not expect."""

import inspect
import io
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
from fuzz.nasty import FLOATS, INTS, STRINGS, scalar
from fuzz.worker import Target, digest
from helpers import DATA, small_config, small_model
from labeled import instances, write_coco, write_label_maps
from PIL import Image

import lucid_mlx
from lucid_mlx import models, postprocessing, preprocessing, training, video, visualization, weights
from lucid_mlx.convert import convert
from lucid_mlx.convert.detectron2_yaml import read_detectron2_yaml
from lucid_mlx.data import coco_dataset, label_map_dataset, open_dataset, validate
from lucid_mlx.postprocessing import huggingface
from lucid_mlx.weights import write_checkpoint
from lucid_mlx.weights.enums import Mask2Former_Swin_Tiny_Weights

OUTPUTS = frozenset({"path", "target", "destination"})  # where something is written: never a device
NAMES = frozenset({"weights", "pretrained_backbone", "source", "path", "images", "annotations", "config", "labels"})
ADDRESSES = ("https://[x", "http://[::1", "https://a\0b/c", "https://\ud800/x", "https://a:99999/x",
    "https://huggingface.co/a", "http://a b/c",
             "https://huggingface.co/a/b/resolve/x/../y", "hf://a/b@c/\0", "hf:// / ", "a\0b", "\0", "a\0b/c",
             "x" * 300, "x/y\0",
             "https://127.0.0.1:1/x.pth", "ftp://x/y", "//x", "a/b@", "@", "hf://a/b@\ud800/x", "https://[::1]:x/",
             "https://" + "a" * 70000,
             "swin_tiny:\0", "Mask2Former_Swin_Tiny:x", "mask2former_swin_tiny:ADE20K_SEMANTIC", "https://%00/",
             "https://xn--/", "http://..")  # fmt: skip


class Api(Target):
    """Calls with good arguments, of which one or two are replaced."""

    checked_every = 25

    def __init__(self, folder: Path):
        self._model = small_model()
        self._photo = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)
        self._file = folder / "photo.png"
        Image.fromarray(self._photo).save(self._file)
        self._segmenters = [
            lucid_mlx.Segmenter(self._model, task, size="32") for task in ("semantic", "instance", "panoptic")
        ]
        loose = lucid_mlx.Thresholds(threshold=0.0, mask_threshold=0.0, overlap_mask_area_threshold=0.0)
        self._results = [
            next(segmenter.stream([self._photo], thresholds=loose, for_tracking=True)) for segmenter in self._segmenters
        ]
        pixels = mx.random.normal((1, 3, 32, 32))
        outputs = {**self._model(pixels)}
        self._labels = write_label_maps(folder / "maps")
        self._coco = write_coco(folder / "coco", instances())
        self._folder = folder
        self._deep: list[Any] = []
        for _ in range(50_000):
            self._deep = [self._deep]
        self._calls = self._all_calls(
            pixels, {name: outputs[name] for name in ("class_queries_logits", "masks_queries_logits")}
        )

    def good(self) -> object:
        """Segment for every task."""
        return [
            (repr(found), digest(found.map)) for found in (segmenter(self._photo) for segmenter in self._segmenters)
        ]

    def is_python_misuse(self, error: BaseException) -> bool:
        """Whether Python itself refused the names or the number of the arguments."""
        return isinstance(error, TypeError) and any(
            text in str(error) for text in ("unexpected keyword", "positional argument", "keyword argument")
        )

    def make(self, rng: Random, folder: Path) -> Callable[[], object]:
        """Choose a call, and replace some of its arguments."""
        name, function, good = rng.choice(self._calls)
        arguments = dict(good)
        for key in rng.sample(list(arguments), min(len(arguments), rng.choice((1, 1, 1, 2, 3)))):
            arguments[key] = self._wrong(rng, key, arguments[key])
        (folder / "call.txt").write_text(f"{name}({_shown(arguments)})\n", encoding="utf-8", errors="backslashreplace")

        def call() -> object:
            found = function(**arguments)
            if inspect.isgenerator(found):
                found = list(found)
            if isinstance(found, mx.array):
                mx.eval(found)
            return found

        return call

    def _wrong(self, rng: Random, key: str, good: Any) -> Any:
        if key in OUTPUTS:
            return rng.choice(
                (
                    *[text for text in STRINGS if not text.startswith(("/", "~"))],
                    None,
                    5,
                    [],
                    b"a.png",
                    "a.png",
                    "a.xyz",
                    Path("a\0.png"),
                )
            )
        kind = rng.randrange(12)
        if key in NAMES and rng.random() < 0.4:
            return rng.choice(ADDRESSES)
        if kind <= 1:
            return rng.choice(STRINGS)
        if kind == 2:
            return rng.choice(
                ADDRESSES
                if rng.random() < 0.6
                else ("/dev/zero", "/dev/null", "/", "/nowhere", str(self._folder), str(self._file))
            )
        if kind == 3:
            return rng.choice(INTS)
        if kind == 4:
            return rng.choice(FLOATS)
        if kind <= 6:
            return rng.choice(self._objects(rng))
        if kind <= 8 and isinstance(good, mx.array | np.ndarray):
            return _wrong_array(rng, good)
        if kind <= 9 and isinstance(good, dict) and good:
            changed = dict(good)
            name = rng.choice(list(changed))
            if rng.random() < 0.2:
                del changed[name]
            elif rng.random() < 0.2:
                changed[rng.choice((*STRINGS[:10], 5, None, -1, (), 2**70))] = changed.pop(name)
            else:
                changed[name] = self._wrong(rng, "", changed[name])
            return changed
        if kind <= 9 and isinstance(good, list | tuple) and good:
            items = list(good)
            items[rng.randrange(len(items))] = self._wrong(rng, "", items[0])
            return rng.choice((items, tuple(items), items * 2, [items], items[:-1]))
        return rng.choice(
            (
                scalar(rng),
                None,
                [scalar(rng)],
                [scalar(rng)] * 2,
                (scalar(rng), scalar(rng)),
                {scalar(rng): scalar(rng)},
                {scalar(rng)},
            )
        )

    def _objects(self, rng: Random) -> list[Any]:
        return [
            None, True, (), [], {}, set(), b"", b"\x89PNG\r\n\x1a\n", bytearray(5), object(), object, len, lambda: 5,
            iter([]), range(3), range(-5, 10**9),
            1j, Path("\0"), Path("/"), Path("x"), io.BytesIO(), io.StringIO("a"), io.BytesIO(b"\0" * 100),
            np.float32("nan"), np.int64(-1),
            np.str_("a"), np.array(5), np.array([]), np.array(["a"]), np.array([None]), np.zeros((0, 4, 3), np.uint8),
            np.zeros((2, 2, 2)), np.zeros((1,) * 20),
            np.zeros((4, 4), np.complex64), np.array([np.nan, np.inf]), np.zeros((3, 3), np.int64), np.zeros(3,
                "M8[s]"), np.zeros(2, [("a", "f4")]),
            mx.array(1), mx.zeros((0,)), mx.zeros((2, 2, 3)), mx.array(float("nan")), mx.array([1, 2], mx.uint8),
            mx.zeros((1, 3, 32, 32), mx.int32), mx.float16,
            mx.int8, mx.complex64, [[]], [None], [[1, 2], [3]], [10**400], {"a": 1}, {1: "a"}, {None: None},
            {"\ud800": 1}, [0] * 10_000, self._deep,
            self._model, self._results[0], self._segmenters[0], Image.new("RGB", (1, 1)), Image.new("F", (2, 2)),
            lucid_mlx.Thresholds(),
            lucid_mlx.ImageConfig(), ValueError("x"), NotImplemented, ..., type, models, Mask2Former_Swin_Tiny_Weights,
            self._photo, _Hostile(),
            Mask2Former_Swin_Tiny_Weights.DEFAULT, "demo", rng,
        ]  # fmt: skip

    def _all_calls(
        self, pixels: mx.array, outputs: dict[str, mx.array]
    ) -> list[tuple[str, Callable[..., Any], dict[str, Any]]]:
        """Name, function and good arguments of each call."""
        sizes = {"input_size": (32, 32), "target_sizes": [(8, 12)], "content_sizes": [(22, 32)]}
        config, image_config = small_config(), lucid_mlx.ImageConfig(size=(32, 32))
        labels = {number: f"class {number}" for number in range(5)}
        ids = np.zeros((8, 12), np.int32)
        ids[2:5, 3:7] = 1
        calls: list[tuple[str, Callable[..., Any], dict[str, Any]]] = [
            ("Thresholds", lucid_mlx.Thresholds, {"threshold": 0.5, "mask_threshold": 0.5,
                "overlap_mask_area_threshold": 0.8, "top_k": 10}),
            ("ImageConfig", _use_image_config, {"size": (32, 32), "size_divisor": 32, "divisor_mode": "resize",
                "pad_size": None, "resample": 2,
                                                "mean": (0.5,) * 3, "std": (0.5,) * 3, "rescale_factor": 0.004}),
            ("ImageConfig", _use_image_config, {"size": None, "shortest_edge": 32, "longest_edge": 64,
                "size_divisor": 8, "divisor_mode": "pad"}),
            ("ImageConfig.from_dict", lucid_mlx.ImageConfig.from_dict, {"raw": image_config.to_dict()}),
            ("ImageConfig.input_size", image_config.input_size, {"height": 8, "width": 12}),
            ("parse_size", preprocessing.parse_size, {"text": "64x32", "image_config": image_config}),
            ("published_image_config", preprocessing.published_image_config, {"dataset": "coco_panoptic",
                "backbone": "swin_tiny"}),
            ("read_image", preprocessing.read_image, {"source": self._photo}),
            ("read_image", preprocessing.read_image, {"source": str(self._file)}),
            ("preprocess", preprocessing.preprocess, {"images": [self._photo], "image_config": image_config}),
            ("batches", preprocessing.batches, {"images": [self._photo] * 2, "image_config": image_config,
                "batch_size": 2}),
            ("load", lucid_mlx.load, {"source": "missing", "dtype": "float16"}),
            ("Segmenter", lucid_mlx.Segmenter, {"weights": self._model, "task": "panoptic", "size": "32",
                "image_config": image_config, "thing_ids": [0, 1]}),
            ("Segmenter", lucid_mlx.Segmenter, {"weights": "missing", "task": None, "dtype": "float16", "size": "32"}),
            ("Mask2FormerConfig", models.Mask2FormerConfig, {name: getattr(config,
                name) for name in config.__dataclass_fields__}),
            ("Mask2FormerConfig.from_dict", models.Mask2FormerConfig.from_dict, {"raw": config.to_dict()}),
            ("Mask2FormerConfig.from_huggingface", models.Mask2FormerConfig.from_huggingface,
                {"raw": config.to_huggingface()}),
            ("Mask2Former", models.Mask2Former, {"config": config, "backbone": None}),
            ("Mask2Former.predict", self._model.predict, {"pixel_values": pixels, "pixel_mask": mx.ones((1, 32, 32)),
                "output_size": (8, 12),
                                                          "top_k_queries": 3, "return_logits": False,
                                                          "return_scores": False}),
            ("Mask2Former.from_pretrained", self._model.from_pretrained, {"weights": "missing", "strict": True}),
            ("Mask2Former()", self._model, {"pixel_values": pixels}),
            ("create_model", models.create_model, {"name": "missing", "num_labels": 3}),
            ("list_models", models.list_models, {"pattern": "*"}),
            ("mask2former_swin_tiny", models.mask2former_swin_tiny, {"num_labels": 3, "pretrained_backbone": "missing",
                "weights": "missing", "hidden_dim": 32}),
            ("mask2former_resnet_18", models.mask2former_resnet_18, {"num_labels": 3, "weights": "missing"}),
            ("semantic_segmentation", postprocessing.semantic_segmentation, {"outputs": outputs, **sizes,
                "resize_scores": True}),
            ("instance_segmentation", postprocessing.instance_segmentation, {"outputs": outputs, **sizes,
                "thing_ids": [0, 1], "top_k": 5}),
            ("panoptic_segmentation", postprocessing.panoptic_segmentation, {"outputs": outputs, **sizes,
                "thing_ids": [0, 1], "threshold": 0.1,
                                                                            "mask_threshold": 0.5,
                                                                            "overlap_mask_area_threshold": 0.1}),
            ("post_process", postprocessing.post_process, {"outputs": outputs, "task": "semantic",
                "compatible": "original", **sizes}),
            ("huggingface semantic", huggingface.post_process_semantic_segmentation, {"outputs": outputs,
                "target_sizes": [(8, 12)]}),
            ("huggingface instance", huggingface.post_process_instance_segmentation, {"outputs": outputs,
                "threshold": 0.1, "mask_threshold": 0.5,
                "overlap_mask_area_threshold": 0.5, "target_sizes": [(8, 12)], "return_coco_annotation": True,
                "return_binary_maps": False}),
            ("huggingface panoptic", huggingface.post_process_panoptic_segmentation, {"outputs": outputs,
                "threshold": 0.1, "mask_threshold": 0.5,
                "overlap_mask_area_threshold": 0.5, "label_ids_to_fuse": [0], "target_sizes": [(8, 12)]}),
            ("resolve", weights.resolve, {"weights": "ADE20K_SEMANTIC", "model_key": "mask2former_swin_tiny"}),
            ("get_enum", weights.get_enum, {"model_key": "mask2former_swin_tiny"}),
            ("list_available", weights.list_available, {"model_key": "mask2former_swin_tiny"}),
            ("read_checkpoint", weights.read_checkpoint, {"path": str(self._folder)}),
            ("write_checkpoint", write_checkpoint, {"path": "written", "config": {}, "arrays": {"a": mx.zeros(2)},
                "metadata": {"a": "b"}, "preprocessor": {}}),
            ("convert", convert, {"source": "missing", "destination": "converted", "family": None, "dtype": None,
                "quantize_bits": None, "group_size": 64,
                                  "config": None, "labels": None}),
            ("read_detectron2_yaml", read_detectron2_yaml,
                {"path": DATA / "detectron2" / "maskformer2_R50_bs16_50ep.yaml"}),
            ("palette", visualization.palette, {"labels": labels, "dataset": "coco_panoptic"}),
            ("side_by_side", visualization.side_by_side, {"photo": self._photo,
                "result": Image.fromarray(self._photo)}),
            ("draw_semantic", visualization.draw_semantic, {"image": self._photo, "class_map": ids, "labels": labels,
                "opacity": 0.5, "dataset": None,
                                                           "colors": None, "legend": True, "title": "a"}),
            ("draw_instances", visualization.draw_instances, {"image": self._photo, "masks": [ids == 1],
                "label_ids": [0], "scores": [0.5], "labels": labels,
                "boxes": True, "opacity": 0.5, "dataset": None, "colors": None, "shade_indices": [0], "legend": True,
                "title": None}),
            ("draw_panoptic", visualization.draw_panoptic, {"image": self._photo, "segment_map": self._results[2].map,
                "segments": self._results[2].segments,
                "labels": labels, "opacity": 0.5, "dataset": None, "colors": None, "shade_indices": None,
                "legend": True, "title": None}),
            ("LargeScaleJitter", training.LargeScaleJitter, {"size": 32, "min_scale": 0.5, "max_scale": 2.0,
                "flip": True, "color_jitter": True}),
            ("ResizeAndCrop", training.ResizeAndCrop, {"shortest_edge": (32,), "longest_edge": 64, "crop_size": (32,
                32), "single_category_max_area": 0.75}),
            ("shortest_edges", training.shortest_edges, {"side": 512}),
            ("read_config", training.read_config, {"path": "missing.toml"}),
            ("segment_video", video.segment_video, {"segmenter": self._segmenters[0], "source": "missing.mp4",
                "target": "out.mp4", "batch_size": 1}),
            ("Tracker.update", lambda frame: video.Tracker().update(frame), {"frame": self._results[2]}),
            ("random.randn", lambda side: lucid_mlx.random.randn(1, side), {"side": 4}),
            ("coco_dataset", coco_dataset, {"images": self._coco[0], "annotations": self._coco[1],
                "panoptic_folder": None}),
            ("open_dataset", open_dataset, {"images": self._labels[0], "annotations": self._labels[1],
                "class_names": ["a", "b", "c"], "ignore_index": 255,
                                            "reduce_zero_label": False, "panoptic_folder": None}),
            ("label_map_dataset", label_map_dataset, {"images": self._labels[0], "label_maps": self._labels[1],
                "class_names": ["a", "b", "c"],
                                                      "ignore_index": 255, "reduce_zero_label": False}),
            ("validate", validate, {"dataset": label_map_dataset(*self._labels, ["a", "b", "c"])}),
        ]  # fmt: skip
        for segmenter, result in zip(self._segmenters, self._results, strict=True):
            calls += [
                ("Segmenter()", segmenter, {"images": self._photo, "batch_size": 1,
                    "thresholds": lucid_mlx.Thresholds()}),
                ("Segmenter.stream", segmenter.stream, {"images": [self._photo], "batch_size": 1, "thresholds": None,
                    "progress": False}),
                ("Segmentation.only", result.only, {"labels": ["LABEL_0", "LABEL_1"]}),
                ("Segmentation.to_coco", result.to_coco, {"image_id": 1, "first_id": 1}),
                ("Segmentation.to_panoptic_png", result.to_panoptic_png, {"image_id": 1}),
                ("Segmentation.draw", result.draw, {"opacity": 0.5, "dataset": None, "colors": None, "legend": True,
                    "title": "a"}),
                ("Segmentation.save", result.save, {"path": "a.png", "opacity": 0.5}),
            ]  # fmt: skip
        return calls


class _Hostile:
    """An object whose every answer is an error or a lie."""

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, key: object) -> object:
        return self

    def __repr__(self) -> str:
        return "\x1b[31m" * 10**6

    def __iter__(self) -> Any:
        return iter(())


def _use_image_config(**fields: Any) -> object:
    return preprocessing.preprocess(np.zeros((8, 12, 3), np.uint8), lucid_mlx.ImageConfig(**fields))


def _wrong_array(rng: Random, good: Any) -> Any:
    array = np.atleast_1d(np.array(good))
    kind = rng.randrange(6)
    if kind == 0:
        array = array.astype(rng.choice(("f2", "f8", "i1", "i8", "u2", "c8", "?", "S1", "O")))
    elif kind == 1:
        array = array[..., None] if rng.random() < 0.5 else array[0]
    elif kind == 2:
        array = array[:0]
    elif kind == 3:
        array = np.full_like(array, rng.choice((np.nan, np.inf, -np.inf)) if array.dtype.kind == "f" else 255)
    elif kind == 4:
        array = array[..., ::-1].T
    else:
        array = array.repeat(2, axis=rng.randrange(array.ndim))
    array = np.ascontiguousarray(array)
    return (
        mx.array(array) if isinstance(good, mx.array) and array.dtype.kind in "fiub" and rng.random() < 0.8 else array
    )


def _shown(arguments: dict[str, Any]) -> str:
    parts = []
    for key, value in arguments.items():
        try:
            parts.append(f"{key}={value!r:.300}")
        except Exception:
            parts.append(f"{key}=a {type(value).__name__}")
    return ", ".join(parts)
