"""The parts of `python -m procession`: its options, the frames it hides, the modules it makes."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path

import pytest

from procession import command_line, main_module

PARSED = {
    "script": (["script.py", "-x"], (None, "script.py", ["-x"])),
    "method": (["--start-method", "spawn", "s.py"], ("spawn", "s.py", [])),
    "method in one": (
        ["--start-method=fork", "s.py", "--start-method"],
        ("fork", "s.py", ["--start-method"]),
    ),
    "module": (["-m", "pkg.mod", "-h"], (None, "-m", ["pkg.mod", "-h"])),
    "module in one": (["-mpkg", "a"], (None, "-m", ["pkg", "a"])),
    "code": (["-c", "x = 1", "-m"], (None, "-c", ["x = 1", "-m"])),
    "stdin": (["-", "a"], (None, "-", ["a"])),
}


@pytest.mark.parametrize(("argv", "parsed"), PARSED.values(), ids=PARSED)
def test_parse(argv: list[str], parsed: tuple[str | None, str, list[str]]) -> None:
    assert command_line._parse(argv) == parsed


MISUSE = {
    "nothing": ([], "no program given"),
    "no module": (["-m"], "argument expected for the -m option"),
    "no code": (["-c"], "argument expected for the -c option"),
    "option": (["--foo", "s.py"], "unknown option: --foo"),
    "short option": (["-x", "s.py"], "unknown option: -x"),
    "longer": (["--start-methods=fork", "s.py"], "unknown option: --start-methods=fork"),
    "method": (["--start-method", "thread", "s.py"], "unknown start method: 'thread'"),
    "no method": (["--start-method"], "unknown start method: ''"),
}


@pytest.mark.parametrize(("argv", "message"), MISUSE.values(), ids=MISUSE)
def test_misuse(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line._parse(argv)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"python -m procession: {message}")
    assert "usage:" in err


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line._parse(["--start-method", "fork", option])
    assert ended.value.code == 0
    assert capsys.readouterr().out == command_line.USAGE


def test_own_frames_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[list[str]] = []

    def show(kind: object, error: BaseException, traceback: object) -> None:
        assert error.__traceback__ is traceback
        frames = []
        while traceback is not None:
            frames.append(traceback.tb_frame.f_code.co_name)  # type: ignore[attr-defined]
            traceback = traceback.tb_next  # type: ignore[attr-defined]
        shown.append(frames)

    for name in ("__main__", "__mp_main__"):
        monkeypatch.setitem(sys.modules, name, sys.modules["__main__"])
    monkeypatch.setattr(sys, "excepthook", show)
    main = command_line._new_main(None)
    with pytest.raises(ZeroDivisionError) as raised:
        command_line._run(main, "def f(): 1 / 0\nf()", "<string>")
    sys.excepthook(raised.type, raised.value, raised.tb)
    assert shown == [["<module>", "f"]]
    assert sys.modules["__main__"] is sys.modules["__mp_main__"] is main


def test_no_future_statement_leaks_into_the_program() -> None:
    with command_line._own_frames_hidden():
        code = compile("def f(x: y): pass", "<string>", "exec", dont_inherit=True)
    assert not code.co_flags & 0x1000000  # CO_FUTURE_ANNOTATIONS


def test_system_exit_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.excepthook
    with pytest.raises(SystemExit), command_line._own_frames_hidden():
        sys.exit(3)
    assert sys.excepthook is before


def test_start_method_is_a_default_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing
    from multiprocessing import context

    for name in ("_default_context", "_actual_context"):
        monkeypatch.setattr(context._default_context, name, getattr(context._default_context, name))
    command_line._set_default_start_method("spawn")
    assert multiprocessing.get_start_method(allow_none=True) is None
    assert multiprocessing.get_start_method() == "spawn"
    command_line._set_default_start_method("forkserver")
    multiprocessing.set_start_method("fork")
    assert multiprocessing.get_start_method() == "fork"


def test_module_of_a_script() -> None:
    module = main_module.module_for("__mp_main__", None, "/x/script.py")
    assert (module.__name__, module.__file__, module.__spec__) == (
        "__mp_main__",
        "/x/script.py",
        None,
    )
    assert module.__loader__.get_filename("__mp_main__") == "/x/script.py"  # type: ignore[union-attr]
    assert module.__dict__["__builtins__"] is sys.modules["builtins"]


def test_module_of_a_spec() -> None:
    spec = importlib.util.find_spec("json.tool")
    assert spec is not None
    module = main_module.module_for("__main__", spec, None)
    assert (module.__package__, module.__file__) == ("json", spec.origin)
    assert module.__spec__ is spec


def test_module_of_nothing() -> None:
    module = main_module.module_for("__main__", None, None)
    assert not hasattr(module, "__file__")
    assert module.__spec__ is None


def test_load_by_name_runs_nothing_but_parents() -> None:
    spec, code = main_module.load_by_name("json.tool")
    assert (spec.name, code.co_name) == ("json.tool", "<module>")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'json\.nothing'"):
        main_module.load_by_name("json.nothing")
    with pytest.raises(ModuleNotFoundError):
        main_module.load_by_name("no_such_package.mod")


def test_load_by_path(tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text("here = 1")
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.write(tmp_path / "__main__.py", "__main__.py")
    for path in (tmp_path, archive):
        assert main_module.is_container(str(path))
        spec, code = main_module.load_by_path(str(path))
        assert spec is not None
        assert code.co_filename == str(path / "__main__.py")
    spec, code = main_module.load_by_path(str(tmp_path / "__main__.py"))
    assert spec is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImportError, match="can't find '__main__' module"):
        main_module.load_by_path(str(tmp_path / "empty"))
