"""What the pixels of label maps mean: which value is which class, and which is ignored."""

import difflib
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lucid_mlx.data.coco import open_label_image
from lucid_mlx.data.color_table import Color, labels_of_colors
from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import examples, shown
from lucid_mlx.utils.validation import MAX_NAME

IGNORE_INDEX = 255
WIDE_IGNORE_INDEX = 65535  # where 255 is a class
SAMPLE = 64  # label maps that are looked at when a dataset is opened, if the first ones leave open what they mean
MAX_COLORS = 1000  # a picture with more is a photo

Classes = Mapping[int, int]
Colors = Mapping[str, Color] | None


def read_labels(path: Path, colors: Colors = None) -> np.ndarray:
    """Read a label map.

    Args:
        path: the file.
        colors: the color of each class, if the file is a picture of these.

    Returns:
        (H, W) int32.

    Raises:
        InputError: if it cannot be read, or its values are no labels: those of a JPEG, or colors.
    """
    return _read(path, colors)[0]


def _read(path: Path, colors: Colors) -> tuple[np.ndarray, str]:
    """Return the labels, and what is unusual about their file."""
    return labels_of_image(open_label_image(path), path, colors)


def labels_of_image(image: Image.Image, path: Path, colors: Colors = None) -> tuple[np.ndarray, str]:
    """Return the labels of a picture.

    Args:
        image: a label map.
        path: its file, for messages.
        colors: the color of each class, if it is a picture of these.

    Returns:
        (H, W) int32, and what is unusual about the picture.

    Raises:
        InputError: if its values are no labels: those of a JPEG, or colors.
    """
    if image.format in ("JPEG", "MPO"):
        raise InputError(f"{path} is a JPEG, which changes the values of pixels a little; save label maps as PNG")
    if colors is not None:
        return labels_of_colors(image, colors, path), ""
    bands, mode = image.getbands(), image.mode
    if mode in ("L", "P", "1", "F") or mode.startswith("I"):
        labels, note = np.asarray(image), ""
    elif mode in ("LA", "PA"):
        labels, note = np.asarray(image.getchannel(0)), "an alpha channel"
    elif mode in ("RGB", "RGBA"):
        channels = np.asarray(image)
        labels, note = channels[..., 0], f"{len(bands)} channels of the same values"
        if not np.array_equal(labels, channels[..., 1]) or not np.array_equal(labels, channels[..., 2]):
            seen = image.convert("RGB").getcolors(MAX_COLORS)
            what = "a photo, by its many colors" if seen is None else f"a picture of {len(seen)} colors"
            raise InputError(
                f"{path} is {what}; expected a label map: one channel with the number of a class in each pixel, or a "
                "palette image (mode P). Export class numbers instead of colors; or give the color of each class as "
                "`names`: CVAT's labelmap.txt, CamVid's class_dict.csv, a file of lines such as sky,128,128,128"
            )
    else:
        raise InputError(f"{path} has mode {mode}; expected a grayscale or palette image")
    if mode == "F" and not (np.isfinite(labels).all() and (labels == np.round(labels)).all()):
        raise InputError(f"{path} holds fractions; expected the number of a class in each pixel")
    return labels.astype(np.int32), note


def unknown_label(path: Path, labels: np.ndarray, value: int, classes: Classes) -> str:
    """Return the sentence about a label that no class has.

    Args:
        path: the label map.
        labels: its values.
        value: the label.
        classes: the class of each label, -1 for those that are ignored.

    Returns:
        The sentence.
    """
    row, column = np.argwhere(labels == value)[0]
    known = sorted(label for label, class_id in classes.items() if class_id >= 0)
    ignored = sorted(label for label, class_id in classes.items() if class_id < 0 and not known[0] < label < known[-1])
    expected = f"{known[0]} to {known[-1]}" if len(known) > 2 else " and ".join(map(str, known))
    if ignored:
        expected += f", or {' or '.join(map(str, ignored))} for pixels to ignore"
    hint = "give a name for every label (`names`), or choose the value to ignore (`ignore_index`)"
    if len(known) == 1:
        hint = "label 0 is a class too: give its name, such as background, before the other (`names`)"
    elif value == known[-1] + 1 and known[0] == 0 and not (labels == 0).any():
        hint = "if labels begin at 1, set `reduce_zero_label`; otherwise give a name for every label (`names`)"
    elif "labelids" in path.name.casefold():
        hint = "Cityscapes has its 19 classes in labelTrainIds, which cityscapesScripts makes from these"
    elif known == [0, 255]:
        hint = "if 255 is for pixels to ignore, set `ignore_index = 255`"
    return f"{path} has the label {value} at x={column}, y={row}; expected {expected}; {hint}"


def label_meaning(
    label_maps: Sequence[Path],
    class_names: Sequence[str],
    ignore_index: int | None,
    reduce_zero_label: bool,
    colors: Colors = None,
) -> dict[int, int]:
    """Find out which class each label is. What is guessed is told in a warning.

    Args:
        label_maps: the files; few are read.
        class_names: the names of the classes.
        ignore_index: as `label_map_dataset` takes it.
        reduce_zero_label: as `label_map_dataset` takes it.
        colors: the color of each class, if the files are pictures of these.

    Returns:
        The class of each label, -1 for those that are ignored.

    Raises:
        InputError: if none of the files that were read is a label map, or they hold nothing but ignored labels.
    """
    first = 1 if reduce_zero_label else 0
    last = first + len(class_names) - 1
    ignored = ignore_index
    if ignored is None:
        ignored = IGNORE_INDEX if last < IGNORE_INDEX else WIDE_IGNORE_INDEX
        if ignored != IGNORE_INDEX:
            warnings.warn(
                f"label 255 is the class {shown(class_names[255 - first])}; pixels to ignore have the label {ignored} "
                "(`ignore_index`)",
                stacklevel=4,
            )
    elif first <= ignored <= last:
        warnings.warn(
            f"the class {shown(class_names[ignored - first])} is never learned: its label {ignored} is ignored "
            "(`ignore_index`)",
            stacklevel=4,
        )
    classes = dict(zip(range(first, last + 1), range(len(class_names)), strict=True))
    classes |= {ignored: -1} | ({0: -1} if reduce_zero_label else {})
    may_be_binary = len(class_names) == 2 and ignore_index is None and not reduce_zero_label
    values, looked_at = _look_at(label_maps, classes, may_be_binary, colors)
    (high,) = values - {0} if len(values - {0}) == 1 else (1,)
    if may_be_binary and high > 1:
        hint = " (with `ignore_index = 255`, 255 is ignored instead)" if high == IGNORE_INDEX else ""
        warnings.warn(
            f"the label maps hold 0 and {high} alone, as masks do: {high} is taken as the class "
            f"{shown(class_names[1])}{hint}",
            stacklevel=4,
        )
        return {0: 0, high: 1}
    unknown = len(class_names)
    learned = sorted({classes.get(value, unknown) for value in values} - {-1})
    seen = f"the {looked_at} label maps looked at" if looked_at < len(label_maps) else f"the {looked_at} label maps"
    if not learned:
        raise InputError(
            f"nothing is left to learn: {seen} hold only the labels {examples(sorted(values))}, which are ignored "
            f"(`ignore_index` is {ignored}, `reduce_zero_label` is {str(reduce_zero_label).lower()})"
        )
    if len(learned) == 1 and learned[0] < unknown and looked_at == min(len(label_maps), SAMPLE):
        warnings.warn(
            f"{seen} hold one class alone, {shown(class_names[learned[0]])}, beside pixels to ignore (label {ignored})",
            stacklevel=4,
        )
    return classes


def _look_at(label_maps: Sequence[Path], classes: Classes, may_be_binary: bool, colors: Colors) -> tuple[set[int], int]:
    """Return labels of some of the files, as many as it takes to see two classes; and how many files that were."""
    values: set[int] = set()
    notes: Counter[str] = Counter()
    errors: list[InputError] = []
    chosen = label_maps[:: -(-len(label_maps) // SAMPLE)]
    read = 0
    for path in chosen:
        try:
            labels, note = _read(path, colors)
        except InputError as error:
            errors.append(error)
            continue
        read += 1
        notes[note] += 1
        values.update(np.unique(labels).tolist())
        known = {classes[value] for value in values if classes.get(value, -1) >= 0}
        if len(known) > 1 or (may_be_binary and len(values - {0}) > 1):
            break
    if not read:
        raise errors[0]
    for note in notes:
        if note:
            warnings.warn(f"label maps have {note}, such as {chosen[0].name}; the first is read", stacklevel=5)
    return values, read


def merged_classes(
    class_names: Sequence[str], classes: Classes, merge: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], dict[int, int]]:
    """Merge classes; those that are in no new one are ignored, and told in a warning.

    Args:
        class_names: the names of the classes.
        classes: the class of each label.
        merge: the new classes, each with the names of those that it is made of.

    Returns:
        The names of the new classes, and the new class of each label.

    Raises:
        InputError: if a name is unknown, or in two new classes.
    """
    numbers = {name: number for number, name in enumerate(class_names)}
    new: dict[int, int] = {}
    for number, (name, parts) in enumerate(merge.items()):
        for part in [parts] if isinstance(parts, str) else parts:
            if part not in numbers:
                near = difflib.get_close_matches(part[:MAX_NAME], class_names, n=1)
                hint = f"; did you mean {shown(near[0])}?" if near else ""
                raise InputError(
                    f"merge has {shown(part)} in the class {shown(name)}, which is no name in `names`{hint}"
                )
            if new.setdefault(numbers[part], number) != number:
                raise InputError(f"merge has {shown(part)} in two classes; expected one")
    if left_out := [name for name, number in numbers.items() if number not in new]:
        warnings.warn(
            f"{len(left_out)} of {len(class_names)} classes are in none that `merge` makes, and are ignored: "
            f"{examples(left_out)}",
            stacklevel=4,
        )
    return tuple(merge), {label: new.get(class_id, -1) for label, class_id in classes.items()}
