# SPDX-License-Identifier: Apache-2.0
"""The floors hold: no include points upward, and what belongs to one floor stays there.

The drawing is in docs/architecture.md. The checker itself is tested on made-up trees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]

# Lowest first: a floor may include itself and those before it.
FLOORS = (
    *("base", "os", "shm", "channel", "launch", "pool"),
    *("include", "api", "main_shim", "bindings"),
)
FOLDERS = {"include": "include", "bindings": "python/bindings"}
SUFFIXES = {".hpp", ".cpp", ".h", ".cc", ".c"}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"\n]+)[>"]', re.MULTILINE)
COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
OS_HEADER = re.compile(
    r"(sys|linux|asm|bits|net|netinet|arpa|mach)/.*|"
    r"(aio|dirent|dlfcn|elf|fcntl|grp|link|mqueue|netdb|poll|pthread|pwd|sched|semaphore|signal|"
    r"spawn|syslog|termios|ucontext|unistd|windows)\.h"
)
OS_MACRO = re.compile(
    r"^[ \t]*#[ \t]*(?:if|ifdef|ifndef|elif|elifdef|elifndef)\b.*"
    r"\b(__linux__|__linux|linux|__gnu_linux__|__APPLE__|__MACH__|__FreeBSD__|__unix__|__unix|"
    r"__ANDROID__|_WIN32|_WIN64|__CYGWIN__)\b.*$",
    re.MULTILINE,
)
PYTHON = re.compile(r"\b(Python\.h|PyObject|Py[A-Z]\w*_\w+|Py_\w+|nanobind|pybind11)\b")


def violations(root: Path) -> list[str]:
    """What breaks the floors in the tree at `root`, a line each."""
    return [f"{path}: {what}" for path, text in _sources(root) for what in _faults(path, text)]


def _sources(root: Path) -> Iterator[tuple[PurePosixPath, str]]:
    for top in ("src", "include", "python/bindings"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix in SUFFIXES:
                yield PurePosixPath(path.relative_to(root).as_posix()), path.read_text()


def _faults(path: PurePosixPath, text: str) -> Iterator[str]:
    floor = _floor_of(path)
    if floor is None:
        yield "is in no room that FLOORS names"
        return
    code = _without_comments(text)
    for included in INCLUDE.findall(code):
        yield from _include_faults(floor, included)
    if floor != "os":
        for match in OS_MACRO.finditer(code):
            yield f"asks for an operating system ({match[1]}) outside of os"
    if floor != "bindings":
        for name in sorted(set(PYTHON.findall(code))):
            yield f"names {name}, which only bindings knows"


def _floor_of(path: PurePosixPath) -> str | None:
    for floor, folder in FOLDERS.items():
        if path.is_relative_to(folder):
            return floor
    room = path.parts[1]
    return room if room in FLOORS and room not in FOLDERS else None


def _include_faults(floor: str, included: str) -> Iterator[str]:
    if OS_HEADER.fullmatch(included) and floor != "os":
        yield f"includes <{included}>, a header of the operating system, outside of os"
    if ".." in PurePosixPath(included).parts:
        yield f"includes {included}: a header of another room is named by its room"
        return
    first, _, rest = included.partition("/")
    target = {"procession": "include"}.get(first, first) if rest else floor
    if target not in FLOORS:
        return
    if FLOORS.index(target) > FLOORS.index(floor):
        yield f"includes {included}: {floor} may not see {target}, which is above it"
    elif floor == "include" and target != "include":
        yield f"includes {included}: users have no headers of the engine"


def _without_comments(text: str) -> str:
    return COMMENT.sub(lambda found: " " if found[0][0] == "/" else found[0], text)


def test_the_floors_hold() -> None:
    assert len(list(_sources(ROOT))) > 50
    assert violations(ROOT) == []


GOOD = {
    "src/base/error.hpp": "#include <system_error>\n",
    "src/os/fd.cpp": '#include <unistd.h>\n#include "base/error.hpp"\n#ifdef __linux__\n#endif\n',
    "src/launch/child.cpp": '#include "os/fd.hpp"\n#include <csignal>\n// PyObject is a word\n',
    "src/api/start.cpp": '#include "launch/child.hpp"\n#include "procession/process.hpp"\n',
    "src/main_shim/main.cpp": '#include "procession/detail/main_shim.hpp"\n',
    "include/procession/process.hpp": '#include "procession/context.hpp"\n#if __aarch64__\n#endif\n',  # noqa: E501
    "python/bindings/module.cpp": '#include <nanobind/nanobind.h>\n#include "os/cpu.hpp"\nPyObject* x;\n',  # noqa: E501
}

BAD = {
    "upward within src": ("src/os/fd.cpp", '#include "launch/child.hpp"', "may not see launch"),
    "upward in angle brackets": ("src/base/a.hpp", "#include <os/fd.hpp>", "may not see os"),
    "upward to a front door": ("src/launch/a.cpp", '#include "api/start.hpp"', "may not see api"),
    "upward to the public headers": (
        "src/channel/a.cpp",
        '#include "procession/process.hpp"',
        "may not see include",
    ),
    "by another path": ("src/base/a.hpp", '#include "../os/fd.hpp"', "named by its room"),
    "indented": ("src/base/a.hpp", '  #  include "os/fd.hpp"', "may not see os"),
    "system header": ("src/launch/a.cpp", "#include <unistd.h>", "<unistd.h>"),
    "sys": ("src/channel/a.hpp", "#include <sys/socket.h>", "<sys/socket.h>"),
    "linux": ("src/base/a.hpp", "#include <linux/futex.h>", "<linux/futex.h>"),
    "pthread": ("include/procession/a.hpp", "#include <pthread.h>", "<pthread.h>"),
    "system header in bindings": ("python/bindings/a.cpp", "#include <signal.h>", "<signal.h>"),
    "ifdef": ("src/launch/a.cpp", "#ifdef __linux__\n#endif", "(__linux__)"),
    "if defined": ("src/api/a.cpp", "#if defined(_WIN32)\n#endif", "(_WIN32)"),
    "elif in a public header": (
        "include/procession/a.hpp",
        "#if 0\n#elif defined __APPLE__\n#endif",
        "(__APPLE__)",
    ),
    "Python's header": ("src/api/a.cpp", "#include <Python.h>", "Python.h"),
    "nanobind": ("src/launch/a.hpp", "#include <nanobind/nanobind.h>", "nanobind"),
    "a Python object": ("src/launch/a.hpp", "struct A { PyObject* object; };", "PyObject"),
    "a call of Python's": (
        "src/os/a.cpp",
        "void f() { PyErr_CheckSignals(); }",
        "PyErr_CheckSignals",
    ),
    "engine header for users": (
        "include/procession/a.hpp",
        '#include "launch/child.hpp"',
        "no headers of the engine",
    ),
    "the implementation for users": (
        "include/procession/a.hpp",
        '#include "api/start.hpp"',
        "may not see api",
    ),
    "unknown room": ("src/util/a.cpp", "", "in no room"),
    "beside the rooms": ("src/a.cpp", "", "in no room"),
}


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_tidy_tree_passes(tmp_path: Path) -> None:
    _write(tmp_path, GOOD)
    assert violations(tmp_path) == []


@pytest.mark.parametrize("case", BAD)
def test_each_violation_is_caught(tmp_path: Path, case: str) -> None:
    name, text, wanted = BAD[case]
    _write(tmp_path, {**GOOD, name: text + "\n"})
    (found,) = violations(tmp_path)
    assert found.startswith(f"{name}: ")
    assert wanted in found


@pytest.mark.parametrize("text", ['// #include "api/start.hpp"', "/* x\n#include <unistd.h>\n*/"])
def test_comments_are_no_includes(tmp_path: Path, text: str) -> None:
    _write(tmp_path, {"src/os/a.hpp": text, "src/base/a.hpp": text})
    assert violations(tmp_path) == []
