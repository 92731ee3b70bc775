"""The ways to make a program main: files to write, and the command line that runs them."""

from __future__ import annotations

import dataclasses
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"


@dataclasses.dataclass(frozen=True)
class Main:
    """A program ready to run: what follows the interpreter's name, its input, the folder."""

    args: list[str]
    cwd: Path
    stdin: str = ""


def source(name: str) -> str:
    """A seed program as it is, for multiprocessing."""
    return (SEEDS / name).read_text()


def wanted(name: str) -> str:
    """What a seed program prints."""
    return (SEEDS / f"{name}.txt").read_text()


def imported(text: str, method: str) -> str:
    """The program with `procession` for its imports and the start method set."""
    text = text.replace("multiprocessing", "procession")
    text = text.replace("from concurrent.futures import", "from procession import")
    setter = r"""^( *)# ((?:mp\.)?set_start_method\(['"])fork(['"]\)).*$"""
    text, count = re.subn(setter, rf"\1\g<2>{method}\3", text, flags=re.MULTILINE)
    assert count == 1, "a seed program must show where it would set its start method"
    return text


def with_context(text: str, method: str) -> str:
    """The program with a context of procession in place of the module."""
    text = text.replace(
        "import multiprocessing as mp",
        f"import procession\n\nmp = procession.get_context({method!r})",
    )
    text = text.replace("from concurrent.futures import", "from procession import")
    return re.sub(r"(ProcessPoolExecutor\(max_workers=\d)\)", r"\1, mp_context=mp)", text)


def script(text: str, cwd: Path) -> Main:
    """python whole.py"""
    (cwd / "whole.py").write_text(text)
    return Main(["whole.py"], cwd)


def script_elsewhere(text: str, cwd: Path) -> Main:
    """python ../programs/whole.py, then a change of folder before anything starts"""
    folder, work = cwd / "programs", cwd / "work"
    folder.mkdir()
    work.mkdir()
    future = "import os\nos.chdir('/')\n"
    (folder / "whole.py").write_text(text.replace("\nimport ", f"\n{future}import ", 1))
    return Main(["../programs/whole.py"], work)


def module(text: str, cwd: Path) -> Main:
    """python -m pkg.mod"""
    package(text, cwd, "mod.py")
    return Main(["-m", "pkg.mod"], cwd)


def package_main(text: str, cwd: Path) -> Main:
    """python -m pkg"""
    package(text, cwd, "__main__.py")
    return Main(["-m", "pkg"], cwd)


def package_main_named(text: str, cwd: Path) -> Main:
    """python -m pkg.__main__"""
    package(text, cwd, "__main__.py")
    return Main(["-m", "pkg.__main__"], cwd)


def directory(text: str, cwd: Path) -> Main:
    """python pkg/"""
    package(text, cwd, "__main__.py")
    return Main(["pkg"], cwd)


def archive(text: str, cwd: Path) -> Main:
    """python pkg.zip"""
    with zipfile.ZipFile(cwd / "pkg.zip", "w") as made:
        made.writestr("__main__.py", text)
    return Main(["pkg.zip"], cwd)


def command(text: str, cwd: Path) -> Main:
    """python -c '…'"""
    return Main(["-c", text], cwd)


def standard_input(text: str, cwd: Path) -> Main:
    """python < whole.py"""
    return Main([], cwd, text)


def standard_input_dash(text: str, cwd: Path) -> Main:
    """python - < whole.py"""
    return Main(["-"], cwd, text)


def package(text: str, cwd: Path, name: str) -> None:
    """Write a package with `text` as its module `name`."""
    (cwd / "pkg").mkdir()
    (cwd / "pkg" / "__init__.py").write_text("")
    (cwd / "pkg" / name).write_text(text)


def copied(name: str, cwd: Path, change: Callable[[str], str]) -> None:
    """Copy a seed package, with each of its mains changed."""
    shutil.copytree(SEEDS / name, cwd / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (cwd / name).glob("*.py"):
        if "__main__" in path.read_text():
            path.write_text(change(path.read_text()))


NAMED = (
    script,
    script_elsewhere,
    module,
    package_main,
    package_main_named,
    directory,
    archive,
    command,
)
PIPED = (standard_input, standard_input_dash)
