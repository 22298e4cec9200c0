"""The categories of a COCO file, without those that tools add and no annotation uses."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from lucid_mlx.data.coco_values import MAX_COCO_ID, Id, flag, whole
from lucid_mlx.data.notices import Notices
from lucid_mlx.data.validate import Problems
from lucid_mlx.utils.text import shown


class Categories(NamedTuple):
    """The classes of a COCO file.

    Attributes:
        names: of the classes, in the order of the ids of their categories.
        thing_ids: the classes that have countable objects.
        class_ids: the class of each category id.
    """

    names: tuple[str, ...]
    thing_ids: frozenset[int]
    class_ids: dict[Id, int]


class _Category(NamedTuple):
    name: str
    is_thing: bool
    parent: str | None


def read_categories(
    entries: Sequence[Any], used: Collection[Id | None], problems: Problems, notices: Notices
) -> Categories:
    """Read the list of categories.

    Of several categories of one name those are left out that no annotation uses; those that are used are one class. The
    root that Roboflow adds, which only names what the others belong to, is left out.

    Args:
        entries: the list.
        used: the ids of the categories that annotations have.
        problems: where to add what contradicts itself.
        notices: where to tell what is left out.

    Returns:
        The classes.
    """
    listed = _list(entries, problems, notices)
    parents = {category.parent for category in listed.values()}
    classes: dict[str, int] = {}
    class_ids: dict[Id, int] = {}
    things: dict[str, bool] = {}
    used_names = {category.name for id_, category in listed.items() if id_ in used}
    for id_ in sorted(listed):
        name, is_thing, parent = listed[id_]
        if id_ not in used and parent in (None, "", "none") and name in parents and len(listed) > 1:
            notices.add("category", "left out: no annotation uses it, it only names a group of others", name)
            continue
        if id_ not in used and (name in used_names or name in classes):
            notices.add("category", "left out: no annotation uses it, and another has its name", name)
            continue
        if name in classes and things[name] != is_thing:
            problems.add(f"several categories are called {shown(name)}, as a thing and as stuff; rename one of them")
        elif name in classes:
            notices.add("category", "taken for one class with another of the same name", name)
        class_ids[id_] = classes.setdefault(name, len(classes))
        things.setdefault(name, is_thing)
    thing_ids = frozenset(class_id for name, class_id in classes.items() if things[name])
    return Categories(tuple(classes), thing_ids, class_ids)


def _list(entries: Sequence[Any], problems: Problems, notices: Notices) -> dict[int, _Category]:
    listed: dict[int, _Category] = {}
    for index, entry in enumerate(entries):
        id_ = whole(entry.get("id")) if isinstance(entry, dict) else None
        name = entry.get("name") if isinstance(entry, dict) else None
        name = str(name) if type(name) is int and abs(name) <= MAX_COCO_ID else name
        if id_ is None or not isinstance(name, str):
            problems.add(f"category {index} of the list has no id or no name")
            continue
        is_thing = flag(entry.get("isthing", 1))
        if is_thing is None:
            problems.add(f"category {id_} has isthing={shown(entry['isthing'])}; expected 0 or 1")
        parent = entry.get("supercategory")
        category = _Category(name, bool(is_thing), parent if isinstance(parent, str) else None)
        if id_ not in listed:
            listed[id_] = category
        elif listed[id_].name == name:
            notices.add("category", "listed twice", name)
        else:
            problems.add(f"category {id_} appears twice, as {shown(listed[id_].name)} and {shown(name)}")
    return listed
