# SPDX-License-Identifier: Apache-2.0
"""The documents say what is so: links lead somewhere, programs print what they are said to print.

A block of code after `<!-- run -->` is a whole program. Python's runs under each start method, or
under those that the comment names; a block of text that follows is its output, in which `…` stands
for anything. Tables after `<!-- figures: FILE -->` have no number that FILE hasn't.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from programs import METHODS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))

LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(
    r"^<!-- run(?:: ([\w ]+))? -->\n```(python|cpp)\n(.*?)^```\n(?:```text\n(.*?)^```)?",
    re.MULTILINE | re.DOTALL,
)
FIGURES = re.compile(r"^<!-- figures: (\S+) -->\n(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+(?:\.\d+)?")
LIBRARIES = ("build/release/src/libprocession.a", "build/dev/src/libprocession.a")


@dataclasses.dataclass(frozen=True)
class Block:
    """A program of a document."""

    where: str
    language: str
    text: str
    methods: tuple[str, ...]
    output: str | None


def blocks() -> list[Block]:
    """All whole programs, in order."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text()
        for match in PROGRAM.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            methods = tuple(match[1].split()) if match[1] else METHODS
            found.append(Block(f"{path.name}:{line}", match[2], match[3], methods, match[4]))
    return found


def ran(language: str) -> list[pytest.param]:
    """The programs of one language, each with each of its start methods."""
    return [
        pytest.param(block, method, id=f"{block.where}-{method}")
        for block in blocks()
        if block.language == language
        for method in block.methods
    ]


def check_output(block: Block, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    if block.output is not None:
        parts = map(re.escape, block.output.strip().split("…"))
        assert re.fullmatch(".*".join(parts), done.stdout.strip()), done.stdout


@pytest.mark.parametrize(("block", "method"), ran("python"))
def test_python_programs(block: Block, method: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(block.text)
    command = [sys.executable, "-m", "procession", "--start-method", method, "program.py"]
    check_output(
        block, subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    )


@pytest.fixture(scope="module")
def library() -> Path:
    """The C++ library, if it has been built here."""
    for name in LIBRARIES:
        if (ROOT / name).exists():
            return ROOT / name
    pytest.skip("the C++ library has not been built: tools/test cpp")


@pytest.fixture(scope="module")
def built(library: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where the C++ programs are that were compiled already."""
    return {}


def compile_program(block: Block, library: Path, folder: Path) -> Path:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no g++")
    (folder / "program.cpp").write_text(block.text)
    program = folder / "program"
    sanitize = ["-fsanitize=address,undefined"] if "/dev/" in str(library) else []
    command = [compiler, "-std=c++20", "-O1", *sanitize, f"-I{ROOT / 'include'}"]
    command += [str(folder / "program.cpp"), "-o", str(program), "-Wl,--wrap=main"]
    command += [str(library.with_name("libprocession_main.a")), str(library), "-pthread", "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("block", "method"), ran("cpp"))
def test_cpp_programs(
    block: Block,
    method: str,
    library: Path,
    built: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if block.where not in built:
        built[block.where] = compile_program(block, library, tmp_path_factory.mktemp("cpp"))
    command = [str(built[block.where]), method]
    check_output(block, subprocess.run(command, capture_output=True, text=True, timeout=60))


def anchors(path: Path) -> set[str]:
    """The names of a document's headings, as its links have them."""
    headings = HEADING.findall(FENCE.sub("", path.read_text()))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    assert path.exists()
    for link in LINK.findall(FENCE.sub("", path.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{path.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{path.name}: {link}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_figures_are_measured_ones(path: Path) -> None:
    for file, text in FIGURES.findall(path.read_text()):
        rows = [line for line in text.splitlines() if line.startswith("|")]
        if rows:
            known = set(NUMBER.findall((ROOT / file).read_text()))
            unknown = [
                number for row in rows for number in NUMBER.findall(row) if number not in known
            ]
            assert not unknown, f"{path.name}: {file} has no {unknown}"


def test_the_documents_have_programs() -> None:
    assert len(ran("python")) >= 10
    assert ran("cpp")
