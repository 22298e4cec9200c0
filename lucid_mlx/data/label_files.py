"""Which label map belongs to which image: that of the same name, or of a name with an ending that all have."""

import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from lucid_mlx.data.split import name_key, select
from lucid_mlx.errors import InputError
from lucid_mlx.utils.iso_media import without_heif
from lucid_mlx.utils.open_image import picture_endings
from lucid_mlx.utils.text import examples, shown

LABEL_FORMATS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".pgm")
LOSSY_FORMATS = (".jpg", ".jpeg", ".webp")
SAMPLE = 30  # images whose label maps show how the names of label maps end
MAX_RULES = 20

# What the names of images have beyond those of label maps: nothing, an ending or a beginning.
PHOTO_MARKS = (
    re.compile(""),
    re.compile(r"[_-](leftImg8bit|rgb|image|img|im|sat|photo)$", re.I),
    re.compile(r"^(image|img|im|photo)[_-]?", re.I),
)
PICTURES_OF_LABELS = re.compile(r"colou?r|overlay|vis|instance|boundar|edge|polygon", re.I)
ARGUMENTS = "`endings` says how the names of both end"


@dataclass(frozen=True)
class _Rule:
    """How the name of a label map follows from that of its image: less a mark, with a text before and after."""

    mark: re.Pattern[str] = PHOTO_MARKS[0]
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        return f"{self.before}*{self.after}"

    def label_key(self, key: str) -> str:
        return f"{self.before}{self.mark.sub('', key)}{self.after}"


@dataclass
class _Files:
    """Files by their folder within the root, and by their key: the name without its ending."""

    root: Path
    keys: dict[Path, tuple[PurePath, str]] = field(default_factory=dict)
    by_place: defaultdict[tuple[PurePath, str], list[Path]] = field(default_factory=lambda: defaultdict(list))
    by_key: defaultdict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))

    def add(self, path: Path, key: str) -> None:
        place = (path.parent.relative_to(self.root), name_key(key))
        self.keys[path] = place
        self.by_place[place].append(path)
        self.by_key[place[1]].append(path)

    def find(self, folder: PurePath, key: str, other_than: Path) -> Path | None:
        """Return the file of a key in a folder; or elsewhere, if it is the only one of the key."""
        here, anywhere = self.by_place.get((folder, key), []), self.by_key.get(key, [])
        found = [x for x in here if x != other_than] or [x for x in anywhere if x != other_than]
        if len(found) > 1 and len({path.parent for path in found}) > 1:
            return None
        return min(found, key=_preference, default=None)


def find_pairs(
    image_folder: Path,
    label_folder: Path,
    *,
    endings: Sequence[str] | None = None,
    split: Collection[str] | None = None,
    skip_unlabeled: bool = False,
) -> list[tuple[Path, Path]]:
    """Find images and their label maps. What is guessed or left out is told in a warning.

    Args:
        image_folder: the folder with the images; its subfolders are searched too.
        label_folder: the folder with the label maps, in subfolders of the same names; it may be the same folder.
        endings: how the names of images and of label maps end. None to find that out.
        split: the names of the images to use; None for all.
        skip_unlabeled: leave out images without a label map.

    Returns:
        The images in the order of their paths, each with its label map.

    Raises:
        InputError: if there are no images, or label maps are missing or cannot be told from images.
    """
    photo_ending, label_ending = (x.lstrip("*") for x in endings or ("", ""))
    photos, labels = _Files(image_folder), _Files(label_folder)
    inner = image_folder if image_folder != label_folder and image_folder.is_relative_to(label_folder) else None
    for path in _walk(label_folder, inner):
        key = _key(path.name, label_ending)
        if key is not None and (path.suffix.lower() in LABEL_FORMATS or endings):
            labels.add(path, key)
    inner = label_folder if image_folder != label_folder and label_folder.is_relative_to(image_folder) else None
    for path in _walk(image_folder, inner):
        key = _key(path.name, photo_ending)
        if key is not None and path.suffix.lower() in picture_endings():
            photos.add(path, key)
    if not photos.keys:
        called = f" called *{photo_ending}" if photo_ending else ""
        raise InputError(f"the folder {image_folder} has no images{called}")
    rule, pairs = _match(photos, labels, is_given=endings is not None)
    used = set(pairs.values())
    if ambiguous := [str(path) for path in pairs if path in used and pairs[pairs[path]] == path]:
        raise InputError(
            f"images and label maps cannot be told apart in {image_folder}: {examples(ambiguous)}; give two folders, "
            f"or {ARGUMENTS}"
        )
    chosen = [path for path in photos.keys if path not in used]
    if split is not None:
        names = [path.relative_to(image_folder).as_posix() for path in chosen]
        chosen = [x for x, named in zip(chosen, select(names, split, photo_ending), strict=True) if named]
    matched = [(path, pairs[path]) for path in chosen if path in pairs]
    chosen = without_heif(chosen)
    missing = [path for path in chosen if path not in pairs]
    _tell_missing(missing, len(chosen), photos, label_folder, skip_unlabeled, label_ending)
    _tell_guesses(matched, rule, labels, split is not None, same_folder=bool(used & photos.keys.keys()))
    return [(path, pairs[path]) for path in chosen if path in pairs]


def _walk(folder: Path, without: Path | None) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders, also linked ones, but for hidden ones, in order."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        at = Path(parent)
        if (place := str(at.resolve())) in seen:  # a link to a folder that it lies in
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(x for x in folders if not x.startswith((".", "__MACOSX")) and at / x != without)
        yield from (path for name in sorted(names) if not name.startswith(".") and (path := at / name).is_file())


def _key(name: str, ending: str) -> str | None:
    """Return a name without its ending, which may lack the format's; None if it ends otherwise."""
    stem = name.rpartition(".")[0] or name
    for text in (name, stem):
        if ending and text.casefold().endswith(ending.casefold()):
            return text[: -len(ending)]
    return None if ending else stem


def _preference(path: Path) -> tuple[int, str]:
    format = path.suffix.lower()
    return (LABEL_FORMATS.index(format) if format in LABEL_FORMATS else len(LABEL_FORMATS)), str(path)


def _match(photos: _Files, labels: _Files, is_given: bool) -> tuple[_Rule, dict[Path, Path]]:
    """Return the rule that finds the most label maps, and what it finds."""
    same = _Rule()
    pairs = _pairs(photos, labels, same)
    if is_given or len(pairs) == len(photos.keys) or not labels.keys:
        return same, pairs
    found = {rule: _pairs(photos, labels, rule) for rule in _rules(photos, labels)}
    most = max(map(len, found.values()), default=0)
    if most <= len(pairs):
        return same, pairs
    best = [rule for rule in found if len(found[rule]) == most]
    for preferred in (
        [x for x in best if "trainid" in str(x).casefold()],
        [x for x in best if not PICTURES_OF_LABELS.search(str(x))],
    ):
        best = preferred if len(preferred) == 1 else best
    if len({tuple(found[rule].items()) for rule in best}) > 1:
        raise InputError(
            f"images have several label maps in {labels.root}: {examples(sorted(map(str, best)), 5)}; {ARGUMENTS}"
        )
    return best[0], found[best[0]]


def _pairs(photos: _Files, labels: _Files, rule: _Rule) -> dict[Path, Path]:
    candidates = ((path, labels.find(folder, rule.label_key(key), path)) for path, (folder, key) in photos.keys.items())
    return {path: label for path, label in candidates if label is not None}


def _rules(photos: _Files, labels: _Files) -> list[_Rule]:
    """Return how names of label maps follow from those of images, as some of the images show it."""
    counts: Counter[_Rule] = Counter()
    keys = list(photos.keys.values())
    for folder, key in keys[:: -(-len(keys) // SAMPLE)]:
        near = {y for x, y in labels.by_place if x == folder} or labels.by_key.keys()
        for mark in PHOTO_MARKS:
            base = mark.sub("", key)
            if not base or (mark.pattern and base == key):
                continue
            for other in near:
                if other.startswith(base) and re.match(r"[\W_]|[^\W\d]+$", after := other[len(base) :]):
                    counts[_Rule(mark, "", after)] += 1
                elif other.endswith(base) and re.search(r"[\W_]$|^[^\W\d]+$", before := other[: -len(base)]):
                    counts[_Rule(mark, before, "")] += 1
                elif mark.pattern and other == base:
                    counts[_Rule(mark)] += 1
    return [rule for rule, _ in counts.most_common(MAX_RULES)]


def _tell_missing(
    missing: Sequence[Path], total: int, photos: _Files, label_folder: Path, skip: bool, label_ending: str
) -> None:
    if not missing:
        return
    names = examples([path.relative_to(photos.root) for path in missing])
    if len(missing) == total:
        lossy = next((path for path in _walk(label_folder, None) if path.suffix.lower() in LOSSY_FORMATS), None)
        if lossy is not None and lossy not in photos.keys:
            raise InputError(
                f"{lossy} is no label map: {lossy.suffix} changes the values of pixels a little; save label maps as PNG"
            )
        folder, key = photos.keys[missing[0]]
        raise InputError(
            f"no image in {photos.root} has a label map in {label_folder}: for {missing[0].name} expected "
            f"{label_folder / folder / key}{label_ending or '.png'} or another format "
            f"({', '.join(LABEL_FORMATS[1:])}); {ARGUMENTS}"
        )
    what = f"{len(missing)} of {total} images have no label map in {label_folder}: {names}"
    if not skip:
        raise InputError(
            f"{what}; `skip_unlabeled` leaves them out, `split` takes a list of the images to use, and {ARGUMENTS}"
        )
    warnings.warn(f"{what}; they are left out", stacklevel=5)


def _tell_guesses(
    pairs: Sequence[tuple[Path, Path]], rule: _Rule, labels: _Files, is_split: bool, same_folder: bool
) -> None:
    photo, label = pairs[0]
    if rule != _Rule():
        warnings.warn(f"label maps are those called {rule}, such as {label.name} for {photo.name}", stacklevel=5)
    elif same_folder:
        warnings.warn(
            f"images and label maps lie in one folder: {label.name} is taken as the label map of {photo.name}",
            stacklevel=5,
        )
    shared: defaultdict[Path, list[str]] = defaultdict(list)
    for image, label_map in pairs:
        shared[label_map].append(image.name)
    if several := [f"{' and '.join(map(shown, names))} ({x.name})" for x, names in shared.items() if len(names) > 1]:
        warnings.warn(
            f"{len(several)} label maps belong to several images each: {examples(several)}; `endings` chooses the "
            "images, such as '.jpg'",
            stacklevel=5,
        )
    if is_split:
        return
    images = {image for image, _ in pairs}
    unused = [
        path.name
        for path, (_, key) in labels.keys.items()
        if path not in shared and path not in images and key.startswith(rule.before) and key.endswith(rule.after)
    ]
    if unused:
        warnings.warn(f"{len(unused)} label maps have no image, and are not used: {examples(unused)}", stacklevel=5)
