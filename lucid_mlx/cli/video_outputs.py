"""What `lucid-mlx video` writes, and where."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lucid_mlx.errors import InputError
from lucid_mlx.results import VideoSegmentation
from lucid_mlx.results.video_export import check_masks_folder
from lucid_mlx.utils.files import check_output_files
from lucid_mlx.video.writer import check_suffix

FILM = "mp4"
# What a format adds to the video's name; masks are a folder.
SUFFIXES = {FILM: ".mp4", "json": ".json", "youtubevis": "-youtubevis.json", "masks": "-masks", "mot": "-mot.txt"}


def place(formats: Sequence[str], output: Path, source: Path) -> dict[str, Path]:
    """Decide where each format goes.

    Args:
        formats: of `SUFFIXES`.
        output: what the user asked for: the file (of masks the folder) of one format, or a folder for several.
        source: the video.

    Returns:
        The path of each format.

    Raises:
        InputError: if the output is no name for what is to be written.
    """
    if len(formats) > 1:
        if output.suffix and not output.is_dir():
            folder = output.with_suffix("")
            raise InputError(f"{output} looks like one file; several formats need a folder: -o {folder}/")
        return {name: output / f"{source.stem}{SUFFIXES[name]}" for name in formats}
    (name,) = formats
    ending = Path(f"name{SUFFIXES[name]}").suffix
    if name == FILM:
        check_suffix(output)
    elif output.suffix.lower() != ending:
        what = f"a {ending} file" if ending else "a folder, whose name has no ending"
        raise InputError(f"{output} does not fit the format {name}; expected {what}")
    return {name: output}


def check_places(places: Mapping[str, Path], inputs: Iterable[Path], force: bool) -> None:
    """Make the folder for several formats, and refuse what cannot be written before any work is done.

    Args:
        places: the path of each format.
        inputs: what is read; it is never overwritten.
        force: whether what is there may be replaced.

    Raises:
        InputError: if a path cannot be written, is an input, or is there already and not to be replaced.
    """
    for folder in {path.parent for path in places.values()} if len(places) > 1 else ():
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"the folder {folder} cannot be made: {error.strerror}") from error
    check_output_files([path for name, path in places.items() if name != "masks"], inputs, force)
    if "masks" in places:
        check_masks_folder(places["masks"], force)


def write_exports(
    result: VideoSegmentation, places: Mapping[str, Path], category_ids: Mapping[int, int] | None
) -> None:
    """Write all formats but the film.

    Args:
        result: what was found.
        places: the path of each format.
        category_ids: the category of each class; None for the class id.
    """
    for name, path in places.items():
        if name != FILM:
            result.export(path, name, category_ids=category_ids)
