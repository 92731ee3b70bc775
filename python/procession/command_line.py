# SPDX-License-Identifier: Apache-2.0
"""``python -m procession PROGRAM``: runs a Python program on the engine, as Python would run it.

The program finds itself in a `__main__` of its own, with the `sys.argv` and `sys.path` that it
knows; what it raises is shown without the frames of this module.
"""

from __future__ import annotations

import os
import sys
from types import CodeType, ModuleType, TracebackType

from .main_module import is_container, load_by_path, module_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

USAGE = """\
usage: python -m procession [--start-method METHOD] PROGRAM [ARG ...]

Runs a program that uses multiprocessing on procession's engine.

PROGRAM is what Python itself takes:
  script.py            a script, or a directory or zip that holds a __main__.py
  -m MODULE            a module or package
  -c CODE              a string
  -                    what comes on stdin

options:
  --start-method METHOD  fork, spawn or forkserver, for a program that doesn't choose one
  -h, --help             show this text
"""

_METHODS = ("fork", "spawn", "forkserver")


def main(argv: list[str]) -> None:
    """Runs the command line after ``python -m procession``; returns when the program has ended."""
    method, program, arguments = _parse(argv)
    from . import install

    install()
    if method is not None:
        _set_default_start_method(method)
    if program == "-c":
        _run_string(arguments)
    elif program == "-m":
        _run_module(arguments)
    elif program == "-":
        _run_stdin(arguments)
    else:
        _run_path(program, arguments)


def _parse(argv: list[str]) -> tuple[str | None, str, list[str]]:
    method = None
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument in ("-h", "--help"):
            print(USAGE, end="")
            sys.exit(0)
        if argument.startswith("--start-method"):
            _, given, method = argument.partition("=")
            if argument not in ("--start-method", f"--start-method={method}"):
                _misuse(f"unknown option: {argument}")
            if not given:
                method = rest.pop(0) if rest else ""
            if method not in _METHODS:
                _misuse(f"unknown start method: {method!r} (choose from {', '.join(_METHODS)})")
        elif argument[:2] in ("-c", "-m"):
            # Python takes -mMODULE, too.
            values = [argument[2:], *rest] if argument[2:] else rest
            if not values:
                _misuse(f"argument expected for the {argument} option")
            return method, argument[:2], values
        elif argument == "-" or not argument.startswith("-"):
            return method, argument, rest
        else:
            _misuse(f"unknown option: {argument}")
    return _misuse("no program given")


def _misuse(message: str) -> NoReturn:
    print(f"python -m procession: {message}\n{USAGE}", end="", file=sys.stderr)
    sys.exit(2)


def _set_default_start_method(method: str) -> None:
    # Not by set_start_method(): the program may still call that, once.
    from multiprocessing import context

    default: Any = context._default_context
    default._default_context = default.get_context(method)
    default._actual_context = None


def _run_string(arguments: list[str]) -> None:
    source, *rest = arguments
    sys.argv = ["-c", *rest]
    _set_first_path("")
    if sys.version_info >= (3, 14):
        import textwrap

        source = textwrap.dedent(source)
    _run(_new_main(None), source, "<string>")


def _run_module(arguments: list[str]) -> None:
    name, *rest = arguments
    # Where Python looks, the working directory, has been put first by Python's own -m.
    sys.argv = ["-m", *rest]
    _run_by_runpy(name)


def _run_by_runpy(name: str, *, is_module: bool = True) -> None:
    """As Python itself runs a module, a directory or a zip: by this very function."""
    import runpy

    _replace_main(_new_main(None))
    with _own_frames_hidden():
        runpy._run_module_as_main(name, is_module)  # type: ignore[attr-defined]


def _run_stdin(arguments: list[str]) -> None:
    sys.argv = ["-", *arguments]
    _set_first_path("")
    source = sys.stdin.buffer.read()
    module = _new_main(None)
    module.__file__ = "<stdin>"
    if sys.version_info < (3, 15):
        module.__dict__["__cached__"] = None
    _run(module, source, "<stdin>")


def _run_path(path: str, arguments: list[str]) -> None:
    sys.argv = [path, *arguments]
    # Not normalised, but for this one: as Python has it.
    whole = os.getcwd() if path == "." else os.path.join(os.getcwd(), path)
    if is_container(whole):
        if sys.flags.safe_path:
            sys.path.insert(0, whole)
        _set_first_path(whole)
        _run_by_runpy("__main__", is_module=False)
        return
    _set_first_path(os.path.dirname(os.path.realpath(whole)))
    with _own_frames_hidden():
        try:
            _, code = load_by_path(whole)
        except OSError as error:
            text = f"[Errno {error.errno}] {error.strerror}"
            print(f"{sys.orig_argv[0]}: can't open file {whole!r}: {text}", file=sys.stderr)
            sys.exit(2)
    _run(_new_main(whole), code)


def _set_first_path(path: str) -> None:
    # Where Python has put the working directory, for its own -m.
    if not sys.flags.safe_path:
        sys.path[0] = path


def _show_source_lines(code: CodeType, source: str, name: str) -> None:
    """Lets tracebacks show lines of a source that has no file, where Python does, too."""
    import linecache

    # Kept by code object: warnings, which look a name up, show no lines of it.
    register = getattr(linecache, "_register_code", None)
    if register is not None:
        register(code, source, name)


def _new_main(path: str | None) -> ModuleType:
    module = module_for("__main__", None, path)
    if sys.version_info < (3, 14):
        module.__annotations__ = {}
    return module


def _replace_main(module: ModuleType) -> None:
    # The alias is what a child's main is called.
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def _run(module: ModuleType, source: CodeType | str | bytes, name: str = "") -> None:
    _replace_main(module)
    with _own_frames_hidden():
        code = source
        if not isinstance(code, CodeType):
            code = compile(code, name, "exec", dont_inherit=True)
            if isinstance(source, str) and sys.version_info >= (3, 13):
                _show_source_lines(code, source, name)
        exec(code, module.__dict__)


class _own_frames_hidden:  # noqa: N801
    """What is raised inside is shown without the frames of this package."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, SystemExit):
            return
        show = sys.excepthook
        inner = _without_own_frames(traceback)

        def show_inner(
            kind: type[BaseException], error: BaseException, _: TracebackType | None
        ) -> None:
            show(kind, error.with_traceback(inner), inner)

        # The interpreter shows it, and ends as it does for any program: with 1, or by SIGINT.
        sys.excepthook = show_inner


def _without_own_frames(traceback: TracebackType | None) -> TracebackType | None:
    here = os.path.dirname(__file__)
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if os.path.dirname(file) != here:
            break
        traceback = traceback.tb_next
    return traceback
