"""The rules of the house that no linter knows: sizes, places, docstrings, nothing from outside."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = {"appliance", "transports", "store", "sync", "cli", "client"}
FOLDERS = PACKAGES | {"tests", "packaging", "docs", "benchmarks", "requirements", ".ci"}
FILES = {".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "pyproject.toml"}
# Tests of more than one room; every other folder of tests mirrors the code.
TEST_FOLDERS = {"project", "packaging", "benchmarks", "docs", "system"}

LONGEST_FILE_LINES = 700
LONGEST_FUNCTION_LINES = 90
LARGEST_FILE_BYTES = 1_000_000

Function = ast.FunctionDef | ast.AsyncFunctionDef


def project_files() -> list[PurePosixPath]:
    """List what is in the repository or about to be: tracked, or neither tracked nor ignored."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    command += ["--cached", "--others", "--exclude-standard"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    paths = (PurePosixPath(name) for name in output.split("\0") if name)
    return sorted({path for path in paths if (ROOT / path).is_file()})


def python_files(*folders: str) -> list[PurePosixPath]:
    return [path for path in project_files() if path.suffix == ".py" and path.parts[0] in folders]


def functions(source: str) -> Iterator[Function]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            yield node


def code_lines(function: Function) -> int:
    """Count a function's lines without its docstring."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def leads_outside(path: PurePosixPath, text: str) -> list[str]:
    """List the relative paths in a file that climb out of the repository, from where it is.

    In Python every climbing path counts unless it stands in a test: code has no reason for one,
    and tests send hostile ones.
    """
    if path.suffix == ".py":
        return [] if path.parts[0] == "tests" else re.findall(r"(?:\.\./)+\S*", text)
    climbs = re.findall(r"(?:\.\./)+", text)
    return [climb for climb in climbs if climb.count("../") > len(path.parts) - 1]


def broken_rules(path: PurePosixPath, source: str) -> list[str]:
    """List what a Python file of the product breaks."""
    found = []
    lines = source.count("\n")
    if lines > LONGEST_FILE_LINES:
        found.append(f"{lines} lines; at most {LONGEST_FILE_LINES}")
    for function in functions(source):
        size = code_lines(function)
        if size > LONGEST_FUNCTION_LINES:
            found.append(f"{function.name} has {size} lines; at most {LONGEST_FUNCTION_LINES}")
    if ast.get_docstring(ast.parse(source)) is None:
        found.append("no module docstring")
    if mark := re.search(r"\b(TODO|FIX" r"ME|XX" r"X)\b", source):
        found.append(f"{mark[0]} is work left undone")
    return [f"{path}: {rule}" for rule in found]


def test_product_code_keeps_the_rules_of_the_house() -> None:
    paths = python_files(*PACKAGES, "packaging", "benchmarks")
    assert paths
    broken = [broken_rules(path, (ROOT / path).read_text("utf-8")) for path in paths]
    assert [rule for rules in broken for rule in rules] == []


def test_each_test_module_says_what_it_is_for() -> None:
    paths = python_files("tests")
    sources = {path: (ROOT / path).read_text("utf-8") for path in paths}
    assert [str(path) for path in paths if not ast.get_docstring(ast.parse(sources[path]))] == []


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ('"""One."""\n' + "x = 1\n" * LONGEST_FILE_LINES, "lines; at most"),
        ('"""One."""\ndef f() -> None:\n' + "    print()\n" * LONGEST_FUNCTION_LINES, "f has 91"),
        ("x = 1\n", "no module docstring"),
        ('"""One."""\n# TODO: all\n', "left undone"),
    ],
)
def test_a_broken_rule_is_found(source: str, rule: str) -> None:
    path = PurePosixPath("store/one.py")
    assert [rule in found for found in broken_rules(path, source)] == [True]


def test_a_docstring_does_not_make_a_function_long() -> None:
    (function,) = functions('def f() -> None:\n    """One.\n\n    Two.\n    """\n    return\n')
    assert code_lines(function) == 2


def test_the_top_level_holds_what_was_agreed_and_nothing_else() -> None:
    paths = project_files()
    assert {path.parts[0] for path in paths if len(path.parts) > 1} == FOLDERS
    assert {path.name for path in paths if len(path.parts) == 1} == FILES


def test_every_package_is_a_regular_package() -> None:
    folders = {path.parent for path in python_files(*PACKAGES)}
    assert [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("folder", ["packaging", "tests", "benchmarks"])
def test_folders_of_scripts_shadow_no_installed_package(folder: str) -> None:
    found = [str(path) for path in python_files(folder) if path.name == "__init__.py"]
    assert found == []


def test_the_folders_of_tests_mirror_the_rooms() -> None:
    folders = {path.parent.relative_to("tests") for path in python_files("tests")}
    strays = [
        str(folder)
        for folder in folders
        if folder.parts
        and folder.parts[0] not in TEST_FOLDERS
        and not (ROOT / folder).is_dir()
        and not (ROOT / folder).with_suffix(".py").is_file()
    ]
    assert strays == []


def test_nothing_refers_to_files_outside_the_repository() -> None:
    found = []
    for path in project_files():
        text = (ROOT / path).read_text("utf-8")
        machine = re.findall(r"(?<![\w.])/(?:work|root)" r"/\S*", text)
        found += [f"{path}: {where}" for where in [*leads_outside(path, text), *machine]]
    assert found == []


@pytest.mark.parametrize(
    ("path", "text", "outside"),
    [
        ("README.md", "see ../else.md", True),
        ("docs/adr/0001.md", "see ../../README.md", False),
        ("docs/adr/0001.md", "see ../../../README.md", True),
        ("store/writer.py", "open('../x')", True),
        ("tests/transports/test_http.py", "GET /../../etc/passwd", False),
    ],
)
def test_a_path_that_leads_outside_is_found(path: str, text: str, outside: bool) -> None:
    assert bool(leads_outside(PurePosixPath(path), text)) is outside


def is_small_text(path: Path) -> bool:
    content = path.read_bytes()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in content and len(content) <= LARGEST_FILE_BYTES


def test_the_repository_holds_small_text_files_only() -> None:
    assert [str(path) for path in project_files() if not is_small_text(ROOT / path)] == []


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b", b"a" * (LARGEST_FILE_BYTES + 1)])
def test_a_binary_or_large_file_is_found(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert not is_small_text(path)
