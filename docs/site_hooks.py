"""What the documentation site needs beside its pages; mkdocs calls the functions named on_*."""

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")
PACKAGE = re.compile(r"^::: (lucid_mlx\.\w+)$", re.MULTILINE)
MEMBER = "::: {path}\n    options: {{show_root_heading: true, show_root_toc_entry: true, heading_level: 2}}\n"


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Change a page before it is rendered."""
    folder = (Path(config.docs_dir) / page.file.src_uri).parent
    markdown = LINK.sub(lambda link: _source_link(link, folder, config.repo_url), markdown)
    return PACKAGE.sub(_members, markdown) if page.file.src_uri.startswith("api/") else markdown


def _source_link(link: re.Match[str], folder: Path, repository: str | None) -> str:
    """Link to a file of the repository, or name it alone as long as nobody knows the repository's address."""
    text, target, anchor = link.groups()
    path = (folder / target).resolve()
    if path.is_relative_to(ROOT / "docs"):
        return link[0]
    if not path.exists():
        raise PluginError(f"{target} does not exist")
    place = path.relative_to(ROOT).as_posix()
    if not repository:
        return text if place in text else f"{text} (`{place}`)"
    return f"[{text}]({repository.rstrip('/')}/blob/main/{place}{anchor or ''})"


def _members(package: re.Match[str]) -> str:
    """Write what a package exports, each by the module that defines it.

    A package and one of its modules may give a name to two things: `preprocessing.preprocess` is the function, and
    the module. mkdocstrings would take the module.
    """
    name = package[1]
    path = ROOT.joinpath(*name.split("."), "__init__.py")
    if not path.exists():  # a module by itself
        return package[0]
    homes: dict[str, str] = {}
    exported: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            homes |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            exported = ast.literal_eval(node.value)
    intro = f"::: {name}\n    options: {{members: false}}\n"
    return "\n".join([intro, *(MEMBER.format(path=homes[member]) for member in exported)])
