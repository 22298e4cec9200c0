"""What every public docstring says; pydoclint checks beside this that what it says fits the signature."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted([*ROOT.glob("lucid_mlx/**/*.py"), *ROOT.glob("convert/*.py")])
MODULES = [path for path in MODULES if "lucid_mlx/convert" not in path.as_posix()]

# Where a docstring may send a reader for the rest.
REFERENCE = re.compile(
    r"\b([Aa]rguments|[Oo]ptions|[Rr]esults?|[Oo]therwise|the same)( and \w+)?,? (as|of)\b|[Aa]s `|as there"
)
SHAPE = re.compile(r"\((\d|\w|\.\.\.)[^()]*(\([^()]*\)[^()]*)*\)|scalar|same shape|as given|shapes?\b")
ARRAY = re.compile(r"\bmx\.array|np\.ndarray|\bPixels\b")


def public_functions(path):
    """The public functions and methods of a module, with their dotted names."""

    def walk(body, prefix):
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from walk(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__call__"):
                decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
                if not decorators & {"overload"} and not any("setter" in name for name in decorators):
                    yield f"{prefix}{node.name}", node

    yield from walk(ast.parse(path.read_text(encoding="utf-8")).body, "")


FUNCTIONS = [
    pytest.param(node, id=f"{path.relative_to(ROOT).with_suffix('').as_posix()}:{name}")
    for path in MODULES
    for name, node in public_functions(path)
]


def arguments(node):
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    return [argument for argument in given if argument is not None and argument.arg not in ("self", "cls")]


@pytest.mark.parametrize("node", FUNCTIONS)
def test_every_public_function_is_annotated_and_says_what_it_takes_and_returns(node):
    given, text = arguments(node), ast.get_docstring(node) or ""
    assert all(argument.annotation is not None for argument in given)
    assert node.returns is not None
    assert text
    command = any("click" in ast.unparse(decorator) for decorator in node.decorator_list)
    referred = REFERENCE.search(text) is not None
    if len(given) > 1 and not command and not referred:
        section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", text, re.M)
        assert section, "has no Args"
        named = set(re.findall(r"^    \*{0,2}(\w+):", section[1], re.M))
        assert named == {argument.arg for argument in given}
    if ARRAY.search(ast.unparse(node.returns)) and not referred:
        assert SHAPE.search(text), "does not say the shape of what it returns"
