# SPDX-License-Identifier: Apache-2.0
"""What workers log, print and warn of, taken to the parent: `forward_output=True`.

    worker: logging, sys.stdout, sys.stderr, warnings ──► tell() ──► [result ring]
    parent: deliver() ──► the parent's loggers, sys.stdout, sys.stderr, warnings

A worker makes what its parent would take and formats nothing but the message itself; handlers,
filters and streams are the parent's. `deliver` runs in the thread that looks after the pool.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import re
import sys
import threading
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    from ._engine import PoolWorker

    Tell = Callable[[int, bytes], None]

_RECORD, _STDOUT, _STDERR, _WARNING = range(4)
_PROTOCOL = pickle.HIGHEST_PROTOCOL


# --- the parent's side, before


class Settings:
    """How the parent logs and warns: what a worker needs to know to do so in its place."""

    def __init__(self) -> None:
        loggers = logging.root.manager.loggerDict.items()
        self.disable = logging.root.manager.disable
        self.levels = {
            name: logger.level
            for name, logger in loggers
            if isinstance(logger, logging.Logger) and logger.level
        }
        self.levels["root"] = logging.root.level
        self.names = {
            level: name for level, name in logging._levelToName.items() if level % 10 or level > 50
        }
        self.filters = [entry for entry in map(_plain, warnings.filters) if entry is not None]


def _plain(entry: tuple[Any, ...]) -> bytes | None:
    """Pickle an entry of warnings.filters, if it can be."""
    action, message, category, module, line = entry
    where = _pattern(module)
    if where and re.match(where, "__main__"):  # there it may have its other name
        where = rf"(?:{where})|__mp_main__\Z"
    try:
        return pickle.dumps((action, _pattern(message), category, where, line))
    except Exception:
        return None


def _pattern(wanted: Any) -> str:
    if wanted is None:
        return ""
    if isinstance(wanted, re.Pattern):
        return str(wanted.pattern)
    return re.escape(str(wanted)) + r"\Z"


# --- the worker's side


def begin(worker: PoolWorker, settings: Settings) -> None:
    """Have all that this process says told to its parent."""
    pid = os.getpid()
    handler = _Handler(worker.tell)
    streams = [_Lines(worker.tell, _STDOUT, sys.stdout), _Lines(worker.tell, _STDERR, sys.stderr)]
    before = sys.stdout, sys.stderr
    _log_to(handler, settings)
    _warn_by(worker.tell, settings)
    sys.stdout, sys.stderr = streams

    def end_lines() -> None:
        for stream in streams:
            stream.end_line()

    def leave() -> None:  # a forked child of this worker is nobody that the parent knows
        if os.getpid() == pid:
            return
        for stream in streams:
            stream.leave()
        if sys.stdout is streams[0]:
            sys.stdout = before[0]
        if sys.stderr is streams[1]:
            sys.stderr = before[1]
        logging.root.removeHandler(handler)
        warnings.showwarning = _standard_showwarning

    worker.on_call_end(end_lines)
    os.register_at_fork(after_in_child=leave)
    import atexit

    atexit.register(end_lines)


def _log_to(handler: logging.Handler, settings: Settings) -> None:
    """Make a handler the only one there is. Those that came by fork are the parent's."""
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers[:] = []
            logger.filters[:] = []
            logger.propagate = True
            logger.disabled = False
            logger.setLevel(logging.NOTSET)
    for level, name in settings.names.items():
        logging.addLevelName(level, name)
    for name, number in settings.levels.items():
        logging.getLogger(None if name == "root" else name).setLevel(number)
    logging.disable(settings.disable)
    logging.root.addHandler(handler)


class _Handler(logging.Handler):
    """Tells the parent of records, which any handler there can take."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self.tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of one."""
        try:
            self.tell(_RECORD, _pickled(self.plain(record)))
        except Exception:
            self.handleError(record)

    def plain(self, record: logging.LogRecord) -> dict[str, Any]:
        """Give its attributes, with the message made, and the exception as text."""
        about = dict(record.__dict__)
        about["msg"], about["args"] = record.getMessage(), None
        if record.exc_info and not record.exc_text:
            about["exc_text"] = logging.Formatter().formatException(record.exc_info)
        about["exc_info"] = None
        return about


def _pickled(about: dict[str, Any]) -> bytes:
    try:
        return pickle.dumps(about, _PROTOCOL)
    except Exception:
        return pickle.dumps({name: _or_repr(value) for name, value in about.items()}, _PROTOCOL)


def _or_repr(value: Any) -> Any:
    try:
        pickle.dumps(value, _PROTOCOL)
    except Exception:
        return repr(value)
    return value


_LONGEST = 1 << 16  # characters that wait for the end of their line


def _seen(line: str) -> str:
    """Return what a terminal shows of a line that was written over, as progress bars are."""
    return line.rstrip("\r").rpartition("\r")[2] if "\r" in line[:-1] else line


class _Lines(io.TextIOBase):
    """A stream whose lines the parent writes; all else is the stream that it stands for."""

    def __init__(self, tell: Tell, form: int, instead: TextIO | None) -> None:
        self._tell = tell
        self._form = form
        self._instead = instead
        self._begun: dict[int, str] = {}  # by thread
        self._lock = threading.RLock()  # a signal's handler may print as well

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_instead"], name)

    def write(self, text: str) -> int:
        """Tell of the lines that are complete."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            thread = threading.get_ident()
            lines, end, rest = (self._begun.pop(thread, "") + text).rpartition("\n")
            if len(rest) > _LONGEST:
                lines, end, rest = lines + end + rest, "\n", ""
            if rest:
                self._begun[thread] = _seen(rest)
            if end:
                said = "\n".join(map(_seen, lines.split("\n")))
                self._tell(self._form, said.encode("utf-8", "surrogatepass"))
        return len(text)

    def writable(self) -> bool:
        """It is."""
        return True

    def end_line(self) -> None:
        """Tell of lines that nobody will complete: their task has ended."""
        with self._lock:
            while self._begun:
                _, line = self._begun.popitem()
                self._tell(self._form, line.encode("utf-8", "surrogatepass"))

    def leave(self) -> None:
        """Write to the stream itself from now on."""
        self._lock = threading.RLock()
        self._begun.clear()
        self._tell = self._write_past

    def _write_past(self, _: int, lines: bytes) -> None:
        if self._instead is not None:
            self._instead.write(lines.decode("utf-8", "surrogatepass") + "\n")

    def fileno(self) -> int:
        """Of the stream itself, for what writes past this one."""
        return self._instead.fileno() if self._instead is not None else super().fileno()

    def isatty(self) -> bool:
        """Whether the parent's was one when this process started."""
        return self._instead is not None and self._instead.isatty()

    def flush(self) -> None:
        """Flush what was written past this one."""
        if self._instead is not None:
            self._instead.flush()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream itself."""
        return getattr(self._instead, "encoding", "utf-8")

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """Of the stream itself."""
        return getattr(self._instead, "errors", None)


_standard_showwarning = warnings.showwarning


def _warn_by(tell: Tell, settings: Settings) -> None:
    """Tell of each warning that isn't an error or ignored there."""
    warnings.resetwarnings()
    warnings.simplefilter("always")
    for data in reversed(settings.filters):
        try:
            action, message, category, module, line = pickle.loads(data)
        except Exception:  # its category isn't known here
            continue
        here: Any = action if action in ("error", "ignore") else "always"
        warnings.filterwarnings(here, message, category, module, line)

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        *_: object,
    ) -> None:
        tell(_WARNING, _dumped(message, category, filename, lineno))

    global _standard_showwarning
    _standard_showwarning = warnings.showwarning
    warnings.showwarning = show  # type: ignore[assignment]


def _dumped(message: Warning | str, category: type[Warning], filename: str, lineno: int) -> bytes:
    where = filename, lineno, _module_of(filename)
    try:
        whole = pickle.dumps((message, category), _PROTOCOL)
    except Exception:
        whole = b""
    return pickle.dumps((whole, str(message), category.__name__, *where), _PROTOCOL)


_modules: dict[str, str | None] = {}


def _module_of(filename: str) -> str | None:
    """Return the name of the module that a file is."""
    if filename not in _modules:
        found = [
            name
            for name, module in list(sys.modules.items())
            if getattr(module, "__file__", None) == filename
        ]
        is_main = "__main__" in found or "__mp_main__" in found
        _modules[filename] = "__main__" if is_main else found[0] if found else None
    return _modules[filename]


# --- the parent's side


def deliver(
    form: int, place: int, pid: int, task: int | None, function: str, payload: bytes
) -> None:
    """Do with what a worker said as if it had been said here."""
    if form == _RECORD:
        about = pickle.loads(payload)
        about.update(workerId=place, task=task, function=function or None)
        record = logging.makeLogRecord(about)
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    elif form == _WARNING:
        _warn(pickle.loads(payload))
    else:
        stream = sys.stdout if form == _STDOUT else sys.stderr
        if stream is None:
            return
        text = payload.decode("utf-8", "surrogatepass")
        prefix = f"[worker {pid} {function}] " if function else f"[worker {pid}] "
        lines = "".join(f"{prefix}{line}\n" for line in text.split("\n"))
        with contextlib.suppress(ValueError):  # it has been closed
            stream.write(_writable(lines, stream))
            stream.flush()


def _writable(text: str, stream: TextIO) -> str:
    """Escape what a stream can't write."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding, getattr(stream, "errors", None) or "strict")
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:
        pass
    return text


_registries: dict[str, dict[Any, Any]] = {}  # of warnings that have been shown, by file


def _warn(said: tuple[Any, ...]) -> None:
    whole, text, kind, filename, lineno, module = said
    message: Any = f"{kind}: {text}"
    category: type[Warning] = UserWarning
    with contextlib.suppress(Exception):
        if whole:
            message, category = pickle.loads(whole)
    registry = _registries.setdefault(filename, {})
    warnings.warn_explicit(message, category, filename, lineno, module, registry)
