# SPDX-License-Identifier: Apache-2.0
"""Finds the code of a main program, and makes the module that it runs in.

Used in a child, which imports its parent's main as `__mp_main__`, and by ``python -m procession``.
"""

from __future__ import annotations

import os
import sys
from types import CodeType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any


def load_by_name(name: str) -> tuple[ModuleSpec, CodeType]:
    """The spec and code of a module that is not to be imported under its name.

    Imports the parent packages.
    """
    parent = name.rpartition(".")[0]
    path = None
    if parent:
        __import__(parent)
        path = sys.modules[parent].__path__
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path)
        if spec is not None:
            return spec, _code_of(spec)
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _code_of(spec: ModuleSpec) -> CodeType:
    get_code = getattr(spec.loader, "get_code", None)
    code = get_code and get_code(spec.name)
    if code is None:
        raise ImportError(f"No code object available for {spec.name}", name=spec.name)
    return code  # type: ignore[no-any-return]


def load_by_path(path: str) -> tuple[ModuleSpec | None, CodeType]:
    """The spec and code that ``python path`` runs; a spec only for a directory or zip."""
    if is_container(path):
        return _load_main_in(path)
    if path.endswith(".pyc"):
        from importlib.machinery import SourcelessFileLoader

        code = SourcelessFileLoader("__main__", path).get_code("__main__")
        assert code is not None
        return None, code
    import io

    with io.open_code(path) as stream:
        source = stream.read()
    return None, compile(source, path, "exec", dont_inherit=True)


def is_container(path: str) -> bool:
    """Whether modules can be imported from this path: a directory, a zip."""
    if os.path.isdir(path):
        return True
    importer = sys.path_importer_cache.get(path)
    if importer is not None:
        return True
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def _load_main_in(path: str) -> tuple[ModuleSpec, CodeType]:
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec("__main__", [path])
    if spec is None or spec.loader is None:
        raise ImportError(f"can't find '__main__' module in {path!r}")
    return spec, _code_of(spec)


def module_for(run_name: str, spec: ModuleSpec | None, path: str | None) -> ModuleType:
    """A module as Python makes it for the program of `spec`, of the file `path`, or of neither."""
    module = ModuleType(run_name)
    namespace = module.__dict__
    if spec is not None:
        origin: Any = spec.origin
        namespace.update(
            __loader__=spec.loader, __package__=spec.parent, __spec__=spec, __file__=origin
        )
        if sys.version_info < (3, 15):
            namespace["__cached__"] = spec.cached
    elif path is not None:
        from importlib import machinery

        compiled = path.endswith(".pyc")
        loader = machinery.SourcelessFileLoader if compiled else machinery.SourceFileLoader
        namespace.update(__loader__=loader(run_name, path), __file__=path)
        if sys.version_info < (3, 15):
            namespace["__cached__"] = None
    else:
        from importlib.machinery import BuiltinImporter

        namespace["__loader__"] = BuiltinImporter
    namespace["__builtins__"] = sys.modules["builtins"]
    return module
