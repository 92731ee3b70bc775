# SPDX-License-Identifier: Apache-2.0
"""What a parent tells a child that starts from nothing, and what the child does with it.

Shaped as `multiprocessing.spawn`. Imported in every spawned child, so it imports nothing that a
child can do without.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import context, process
from types import ModuleType

from . import main_plan as _main_plan
from .main_plan import MainPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "freeze_support",
    "get_executable",
    "get_preparation_data",
    "import_main_path",
    "is_forking",
    "main_plan",
    "prepare",
    "set_executable",
]

_process: Any = process  # ORIGINAL_DIR is not in its stubs
_standard_context: Any = context

_executable: bytes = os.fsencode(sys.executable or "")

# In the parent: the plan of the present main, and the reason for which importing it was given up.
_plan: MainPlan | None = None
_given_up: str | None = None
# In a child: what was told about the parent's main, and the mains that it replaced.
_told: dict[str, Any] | None = None
_told_main: ModuleType | None = None
_imported: tuple[str, str] | None = None
# Of the standard's preparation data.
_STANDARD_KEYS = frozenset(
    (
        *("authkey", "dir", "log_level", "log_to_stderr", "name", "orig_dir", "start_method"),
        *("init_main_from_name", "init_main_from_path", "sys_argv", "sys_path"),
    )
)

old_main_modules: list[ModuleType] = []

# Whether this process, or one that it was forked from, has started a child other than by fork.
has_spawned = False
is_zygote = False
# In a zygote and its children: what it was told, and whether it has done what that says.
zygote_data: dict[str, Any] = {}
zygote_is_prepared = False


def set_executable(exe: str | bytes | os.PathLike[str]) -> None:
    """The Python interpreter for children."""
    global _executable
    _executable = os.fsencode(exe)


def get_executable() -> bytes:
    """The Python interpreter for children."""
    return _executable


def is_forking(argv: list[str]) -> bool:
    """Whether this command line is a child's."""
    return len(argv) >= 2 and argv[1] == "--multiprocessing-fork"


def freeze_support() -> None:
    """Nothing: a child's entry is its own, never the program's."""


def main_plan(*, starting: bool = False) -> MainPlan:
    """How what lives in `__main__` travels from this process.

    `starting`: a process is being started by the calling thread. If its stack shows that
    importing main would run that start again, main is not imported from now on.
    """
    global _plan, _given_up
    main = sys.modules.get("__main__")
    if main is None:
        return MainPlan(ModuleType("__main__"), "value", "there is no main module")
    plan = _plan
    if plan is None or plan.main is not main:
        plan = _plan = _make_plan(main)
    if starting and plan.kind == "import" and _main_plan.runs_unguarded(plan):
        _given_up = "its top level starts processes outside of its guard"
        plan = _plan = MainPlan(main, "value", _given_up)
    return plan


def _make_plan(main: ModuleType) -> MainPlan:
    if _given_up is not None:
        return MainPlan(main, "value", _given_up)
    if _told is not None and main is _told_main:
        return MainPlan.from_data(main, _told)
    return _main_plan.read_plan(main, _process.ORIGINAL_DIR)


def get_preparation_data(name: str, plan: MainPlan | None = None) -> dict[str, Any]:
    """What the child needs before it can unpickle its process object; plain values only."""
    global has_spawned
    _check_not_importing_main()
    has_spawned = True
    plan = plan or main_plan(starting=True)
    data: dict[str, Any] = {
        "name": name,
        "authkey": process.current_process().authkey,
        "sys_path": [_process.ORIGINAL_DIR if p == "" else p for p in sys.path],
        "sys_argv": list(sys.argv),
        "orig_dir": _process.ORIGINAL_DIR,
        # Not fixed by a start from a context of the program's own choice (gh-109263).
        "start_method": _start_method_door().get_start_method(allow_none=True),
        "log_to_stderr": False,
    }
    # Nobody can have made a logger without it.
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        data["log_to_stderr"] = util._log_to_stderr
        if util._logger is not None:
            data["log_level"] = util._logger.getEffectiveLevel()
    if plan.kind == "import":
        key, value = ("name", plan.name) if plan.name else ("path", plan.path)
        data[f"init_main_from_{key}"] = value
    install = sys.modules.get(f"{__package__}._install")
    reduction = sys.modules.get(f"{__package__}.reduction")
    data["procession"] = {
        "installed": install is not None and install.is_installed(),
        "hooked": reduction is not None and reduction.is_hooked(),
        "default_method": _standard_context._default_context._default_context._name,
        "main": plan.to_data(),
    }
    data["procession"]["guests"] = _guests(name)
    return data


def prepare_zygotes_child(name: str) -> None:
    """Make a child ready whose data are those of its zygote, but for its name."""
    if zygote_is_prepared:
        process.current_process().name = name
    else:
        prepare({**zygote_data, "name": name})


def is_standard(function: Any) -> bool:
    """Whether a function of multiprocessing is its own, not what somebody has put in its place."""
    code = getattr(function, "__code__", None)
    own = sys.modules.get(getattr(function, "__module__", ""))
    is_ours = own is not None and own.__name__.startswith("multiprocessing.")
    return is_ours and code is not None and code.co_filename == getattr(own, "__file__", None)


def _guests(name: str) -> dict[str, Any]:
    """What others add to the standard's preparation data, to be unpickled in the child.

    coverage does, whose patches travel in this way.
    """
    standard = sys.modules.get("multiprocessing.spawn")
    if standard is None or is_standard(standard.get_preparation_data):
        return {}
    theirs: dict[str, Any] = standard.get_preparation_data(name)
    return {key: value for key, value in theirs.items() if key not in _STANDARD_KEYS}


def _start_method_door() -> Any:
    """The module whose default context is in force: this package, else `multiprocessing`."""
    package = sys.modules.get(__package__)
    if hasattr(package, "get_start_method"):
        return package
    return sys.modules["multiprocessing"]


def _check_not_importing_main() -> None:
    if not getattr(process.current_process(), "_inheriting", False):
        return
    main = sys.modules.get("__mp_main__")
    where = getattr(main, "__file__", None) or "the main module"
    raise RuntimeError(
        f"cannot start a process while {where} is being imported in a child: "
        "move what starts processes under `if __name__ == '__main__':`"
    )


def prepare(data: dict[str, Any]) -> None:
    """Makes the current process ready to unpickle its process object.

    What main raises when it is imported propagates, with a note that says so.
    """
    this = process.current_process()
    if "name" in data:
        this.name = data["name"]
    if "authkey" in data:
        this.authkey = data["authkey"]
    if data.get("log_to_stderr"):
        from multiprocessing import util

        util.log_to_stderr()
    if "log_level" in data:
        from multiprocessing import util

        util.get_logger().setLevel(data["log_level"])
    if "sys_path" in data:
        sys.path = data["sys_path"]
    if "sys_argv" in data:
        sys.argv = data["sys_argv"]
    if "orig_dir" in data:
        _process.ORIGINAL_DIR = data["orig_dir"]
    ours = data.get("procession", {})
    if ours.get("installed"):
        from ._install import install  # type: ignore[import-not-found, unused-ignore]

        install()
    if ours.get("hooked"):
        from .reduction import hook

        hook()
    if "default_method" in ours:
        default = _standard_context._default_context
        default._default_context = default.get_context(ours["default_method"])
    if "start_method" in data:
        _start_method_door().set_start_method(data["start_method"], force=True)
    _prepare_main(data)


def _prepare_main(data: dict[str, Any]) -> None:
    global _plan, _told, _told_main, _imported
    _plan = None
    _told = data.get("procession", {}).get("main")
    if "init_main_from_name" in data or "init_main_from_path" in data:
        preload_main(data)
    elif _told is not None:
        from .main_module import module_for

        # What travels by value is put into this module: it follows the parent's main.
        _replace_main(module_for("__main__", None, None))
        _imported = None
    _told_main = sys.modules["__main__"]


def follows_parent() -> bool:
    """Whether this process's main holds only what travelled here by value."""
    return _told is not None and _told["kind"] == "value" and is_main(_told_main)


def is_told() -> bool:
    """Whether this process began with no main but what its parent told."""
    return _told is not None


def is_child() -> bool:
    """Whether this process was started by another one, as its child."""
    return is_told() or process.parent_process() is not None


def is_main(module: ModuleType | None) -> bool:
    """Whether this module is the present `__main__`."""
    return module is not None and sys.modules.get("__main__") is module


def already_main(data: dict[str, Any]) -> bool:
    """Whether the main that `data` asks for has been imported in this process."""
    return _imported is not None and _imported == _wanted(data)


def preload_main(data: dict[str, Any]) -> None:
    """Imports the parent's main as `__mp_main__`, unless that has been done."""
    global _imported
    wanted = _wanted(data)
    if wanted is None or wanted == _imported:
        return
    _import_main(*wanted)
    _imported = wanted


def import_main_path(main_path: str) -> None:
    """Sets `sys.modules['__main__']` to the module at this path."""
    preload_main({"init_main_from_path": main_path})


def _wanted(data: dict[str, Any]) -> tuple[str, str] | None:
    for how in ("name", "path"):
        if f"init_main_from_{how}" in data:
            return how, data[f"init_main_from_{how}"]
    return None


def _import_main(how: str, value: str) -> None:
    from .main_module import load_by_name, load_by_path, module_for

    before = {name: sys.modules.get(name) for name in _main_plan.MAIN_NAMES}
    try:
        spec, code = load_by_name(value) if how == "name" else load_by_path(value)
        # Run in the module's own namespace: what a function rebinds there is seen in the module.
        module = module_for("__mp_main__", spec, None if spec else value)
        _replace_main(module)
        exec(code, module.__dict__)
    except BaseException as error:
        for name, old in before.items():
            if old is not None:
                sys.modules[name] = old
        note = f"while importing the main module {value!r} in a child{_line_in_main(error)}"
        if isinstance(error, SystemExit):
            # It would end the child in silence, the target never called.
            raise ImportError(f"{note}: it called sys.exit({error.code!r})") from error
        error.add_note(note)
        raise


def _line_in_main(error: BaseException) -> str:
    line = None
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__") == "__mp_main__":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return "" if line is None else f", at its line {line}"


def _replace_main(module: ModuleType) -> None:
    old = sys.modules.get("__main__")
    if old is not None:
        # Its globals are cleared when the last reference goes; code that ran in it may go on.
        old_main_modules.append(old)
    for name in _main_plan.MAIN_NAMES:
        sys.modules[name] = module


_home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def command_line() -> list[str]:
    """The command that becomes a child or a zygote; the engine gives it its socket."""
    from multiprocessing import util

    # The package must be found, but what lies in the working directory must not shadow a module.
    code = (
        f"import sys; sys.path = [p for p in sys.path if p] + [{_home!r}]; "
        "from procession._engine import child_main; child_main()"
    )
    flags = util._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [os.fsdecode(get_executable()), *flags, "-c", code, "--multiprocessing-fork"]
