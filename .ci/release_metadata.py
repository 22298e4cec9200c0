"""Fill in what the repository does not know of itself, its address, before a release is built. In place:

    python .ci/release_metadata.py https://github.com/OWNER/NAME v1.2.3

pyproject.toml gets the addresses of the project, and the README's links lead to the repository: the package index shows
the README without the files beside it.
"""

import re
import sys
from pathlib import Path

LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!https?://|#)(?P<path>[^)\s]+)\)")


def main(address: str, tag: str, root: Path) -> None:
    """Change pyproject.toml and README.md."""
    address = address.rstrip("/")
    if not re.fullmatch(r"https://[^/\s]+/[^/\s]+/[^/\s]+", address):
        sys.exit(f"{address} is no repository; expected https://github.com/OWNER/NAME")
    project, readme = root / "pyproject.toml", root / "README.md"
    before = project.read_text(encoding="utf-8")
    if "[project.urls]" in before:
        sys.exit("pyproject.toml has addresses already")
    urls = {
        "Repository": address,
        "Documentation": f"{address}/tree/{tag}/docs",
        "Changelog": f"{address}/blob/{tag}/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }
    lines = "".join(f'{name} = "{url}"\n' for name, url in urls.items())
    project.write_text(before.replace("[project.scripts]", f"[project.urls]\n{lines}\n[project.scripts]"), "utf-8")

    def absolute(link: re.Match[str]) -> str:
        kind = "raw" if link["image"] else "blob"
        return f"{link['image']}[{link['text']}]({address}/{kind}/{tag}/{link['path']})"

    readme.write_text(LINK.sub(absolute, readme.read_text(encoding="utf-8")), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], Path(__file__).parents[1])
