"""Types a program into an interactive interpreter, or into a notebook's kernel."""

from __future__ import annotations

import ast
import os
import queue
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pexpect
import watch
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from jupyter_core.utils import ensure_event_loop
from programs import PYTHON, Programs, environment

OUTPUT = "~ "  # how every line that a seed program prints begins
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?<=>]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-Z0-9]|[=>78])")
# What was typed ahead leaves its prompts before the first line of output.
PROMPTS = re.compile(r"^(?:>>> |\.\.\. |In \[\d+\]: | +\.\.\.: )+")


def cells(text: str) -> list[str]:
    """The program's statements, each without blank lines, as one would type them."""
    lines = text.splitlines()
    made = []
    for node in ast.parse(text).body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        body = lines[first - 1 : node.end_lineno]
        made.append("\n".join(line for line in body if line.strip()))
    return made


class Terminal:
    """An interactive interpreter on a pseudo-terminal."""

    def __init__(
        self, programs: Programs, args: list[str], *, prompt: str, paste: bool = False, **env: str
    ) -> None:
        self.paste = paste
        self.transcript = ""
        self.child = pexpect.spawn(
            PYTHON,
            args,
            cwd=str(programs.cwd),
            env=environment(programs.mark, env),  # type: ignore[arg-type]
            encoding="utf-8",
            timeout=watch.WATCHDOG_S,
            dimensions=(60, 160),
        )
        self.child.delaybeforesend = None
        self.expect(prompt)

    def expect(self, pattern: Any) -> None:
        """Read until `pattern`."""
        try:
            self.child.expect(pattern)
        except (pexpect.TIMEOUT, pexpect.EOF) as error:
            seen = self.transcript + str(self.child.before)
            self.child.close(force=True)
            raise AssertionError(f"{type(error).__name__} before {pattern!r}:\n{seen}") from None
        self.transcript += self.child.before + (
            self.child.after if isinstance(self.child.after, str) else ""
        )

    def type(self, text: str) -> None:
        """Type one statement and wait until it has run."""
        number = len(self.transcript)
        block = "\n" in text
        if self.paste and block:
            self.child.send(f"\x1b[200~{text}\n\x1b[201~")
            # Python 3.14 takes what follows at once for a part of what is pasted: see it first.
            self.expect(r"[\s\S]*?".join(re.findall(r"\w+", text)))
            self.child.send("\r")
        else:
            for line in text.split("\n"):
                self.child.send(line + "\r")
            if block:
                self.child.send("\r")
        self.until_ready()
        self.child.send(f"print('typed', {number})\r")
        self.expect(f"typed {number}\r?\n")
        self.until_ready()

    def until_ready(self) -> None:
        """Wait for the next prompt: what comes while the terminal changes its mode can get lost."""
        if self.paste:
            self.expect(r"\x1b\[\?2004h")

    def leave(self) -> int | None:
        """Say exit() and wait; the exit code."""
        self.child.send("exit()\r")
        self.expect(pexpect.EOF)
        self.child.close()
        return self.child.exitstatus

    def printed(self) -> str:
        """The lines that the program printed."""
        plain = ESCAPES.sub("", self.transcript)
        lines = [PROMPTS.sub("", line) for line in re.split(r"[\r\n]+", plain)]
        return "".join(f"{line.rstrip()}\n" for line in lines if line.startswith(OUTPUT))


def typed(terminal: Terminal, text: str) -> str:
    """Type a whole program; what it printed, provided that nothing complained."""
    try:
        for cell in cells(text):
            terminal.type(cell)
        code = terminal.leave()
    finally:
        terminal.child.close(force=True)
    assert code == 0, terminal.transcript
    for word in ("Traceback", "Error", "Warning"):
        assert word not in terminal.transcript, terminal.transcript
    return terminal.printed()


def repl(programs: Programs, text: str) -> str:
    """python -i, with the plain line editor"""
    terminal = Terminal(programs, ["-i", "-q"], prompt=">>> ", PYTHON_BASIC_REPL="1")
    return typed(terminal, text)


def pyrepl(programs: Programs, text: str) -> str:
    """The multi-line prompt that came with Python 3.13"""
    history = str(programs.cwd / "history")
    terminal = Terminal(
        programs,
        ["-q"],
        prompt=">>> ",
        paste=True,
        TERM="xterm",
        PYTHON_HISTORY=history,
        HOME=str(programs.cwd),
    )
    return typed(terminal, text)


def ipython(programs: Programs, text: str) -> str:
    """IPython, with its plain prompt"""
    options = ["--simple-prompt", "--no-banner", "--no-confirm-exit", "--colors=NoColor"]
    options.append("--HistoryManager.enabled=False")
    terminal = Terminal(
        programs,
        ["-m", "IPython", *options],
        prompt=r"In \[1\]: ",
        IPYTHONDIR=str(programs.cwd / "ipython"),
    )
    return typed(terminal, text)


def notebook(programs: Programs, text: str) -> str:
    """A Jupyter kernel"""
    # Its children's lines arrive on another way than its own, in no certain order: sorted.

    folder = programs.cwd
    path, _ = write_connection_file(
        str(folder / "kernel.json"), transport="ipc", ip=str(folder / "s")
    )
    log = open(folder / "kernel.log", "w")  # noqa: SIM115
    with log:
        kernel = programs.start(
            [PYTHON, "-m", "ipykernel_launcher", "-f", path],
            env={"IPYTHONDIR": str(folder / "ipython"), "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    client = BlockingKernelClient()
    client.load_connection_file(path)
    client.start_channels()
    try:
        wait_for_kernel(client, kernel)
        printed = executed(client, cells(text))
        # Asked to shut down, ipykernel signals its children and waits half a minute for the
        # standard library's resource tracker, which ignores that.
        kernel.terminate()
        assert kernel.wait(watch.WATCHDOG_S) == -signal.SIGTERM, Path(log.name).read_text()
        programs.nothing_left()
    finally:
        client.stop_channels()
        client.context.term()
        ensure_event_loop().close()
        programs.end_all()
    return printed


def wait_for_kernel(client: Any, kernel: subprocess.Popen[bytes]) -> None:
    """Wait until the kernel answers, on the shell and in what it publishes.

    As the client's `wait_for_ready`, which takes a kernel for dead that is slow to beat its heart.
    """
    deadline = time.monotonic() + watch.WATCHDOG_S
    heard = {"shell": False, "iopub": False}
    while not all(heard.values()):
        assert kernel.poll() is None, "the kernel has ended"
        assert time.monotonic() < deadline, f"the kernel is silent, heard: {heard}"
        client.kernel_info()
        for channel, get in (("shell", client.get_shell_msg), ("iopub", client.get_iopub_msg)):
            try:
                get(timeout=1)
                heard[channel] = True
            except queue.Empty:
                pass


def executed(client: Any, statements: list[str]) -> str:
    """Run each statement in the kernel; the sorted lines of its standard output."""
    out = ""
    for number, statement in enumerate([*statements, "print('typed everything')"]):
        request = client.execute(statement, store_history=False)
        deadline = time.monotonic() + watch.WATCHDOG_S
        idle = False
        while not idle:
            assert time.monotonic() < deadline, f"statement {number} hangs, so far:\n{out}"
            try:
                message = client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            content = message["content"]
            assert message["msg_type"] != "error", "\n".join(content["traceback"])
            if message["msg_type"] == "stream":
                assert content["name"] == "stdout", content["text"]
                out += content["text"]
            ours = message["parent_header"].get("msg_id") == request
            idle = ours and content.get("execution_state") == "idle"
    return "".join(sorted(line + "\n" for line in out.splitlines() if line.startswith(OUTPUT)))


def has_pyrepl() -> bool:
    """Whether this interpreter has the new prompt."""
    return sys.version_info >= (3, 13) and os.name == "posix"
