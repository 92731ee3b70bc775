"""Bodies: what workers log, print and warn of comes out in the parent."""

import contextlib
import io
import logging
import os
import sys
import threading
import warnings

import watch
from body import case, main, mp, raises
from pool_tasks import held, let_go, nothing

log = logging.getLogger("visible.one")


class OwnWarning(UserWarning):
    """One that only this program knows."""


class Seen(logging.Handler):
    """Keeps the records that it is given, and says when there are so many."""

    def __init__(self):
        super().__init__()
        self.records = []
        self.changed = threading.Condition()

    def emit(self, record):
        with self.changed:
            self.records.append(record)
            self.changed.notify_all()

    def wait_for(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.records) >= count, watch.WATCHDOG_S)
        return self.records


@contextlib.contextmanager
def seen(name=None, level=logging.DEBUG):
    """A handler of this process's logger."""
    handler, logger = Seen(), logging.getLogger(name)
    logger.setLevel(level)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def Executor(*args, **options):
    return mp.ProcessPoolExecutor(*args, forward_output=True, **options)


def messages(handler):
    return [record.getMessage() for record in handler.records]


def own(handler):
    """The records of this file's loggers."""
    return [record for record in handler.records if record.name.startswith("visible")]


# What tasks do.


def say(level, message, *args, **extra):
    logging.getLogger("visible.one").log(level, message, *args, **extra)
    return os.getpid()


def say_each_level():
    for name in ("visible", "visible.one", "visible.two.deep"):
        for level in (logging.DEBUG, 15, logging.INFO, logging.WARNING, logging.CRITICAL):
            logging.getLogger(name).log(level, "%s at %d", name, level)


def say_and_die():
    log.warning("last words")
    os.kill(os.getpid(), 9)


def fail_and_say():
    try:
        {}["no such key"]
    except KeyError:
        log.exception("it failed")


def say_and_hold(name):
    log.warning("held")
    with open(f"{name}.go") as go:
        go.read()


def say_in_threads(count, each):
    def speak(number):
        for i in range(each):
            log.warning("thread %d %d", number, i)
            print("thread", number, i)

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def write(*texts, to="stdout"):
    for text in texts:
        getattr(sys, to).write(text)
    return os.getpid()


def print_in_a_fork():
    """A child of a worker is not known to the parent: what it prints goes where it always went."""
    print("before")
    pid = os.fork()
    if pid == 0:
        log.warning("of the child")
        for _ in range(1000):
            print("of the child", flush=True)
        os._exit(0)
    print("after")
    return os.waitpid(pid, 0)[1]


def warn(category, text, times=1):
    for _ in range(times):
        warnings.warn(text, category, stacklevel=1)
    return os.getpid()


def say_much(number, size):
    for i in range(number):
        log.warning("%d %s", i, "x" * size)


def initialize():
    print("begun")
    log.warning("begun")


def fail_to_initialize():
    log.error("about to fail")
    raise ValueError("not today")


# Logging.


@case(ours=True)
def records_come_with_all_that_they_say():
    with seen() as handler, Executor(1) as pool:
        pool.submit(nothing).result()
        pid = pool.submit(
            say, logging.INFO, "%s of %d", "one", 2, extra={"colour": {1: 2}}
        ).result()
        assert pid != os.getpid()
        handler.wait_for(1)
        (record,) = own(handler)
        assert record.getMessage() == "one of 2"
        assert (record.process, record.name, record.levelno) == (pid, "visible.one", logging.INFO)
        assert (record.funcName, record.colour) == ("say", {1: 2})
        assert (record.workerId, record.task) == (0, 1)
        assert record.function == f"{__name__}.say"
        pool.submit(fail_and_say).result()
        record = handler.wait_for(2)[1]
        assert "KeyError: 'no such key'" in logging.Formatter().format(record)
        pool.submit(say, logging.INFO, "odd", extra={"lock": 1, "odd": float("nan")}).result()


@case(ours=True)
def levels_are_the_parents():
    logging.getLogger("visible").setLevel(15)
    logging.getLogger("visible.two").setLevel(logging.ERROR)
    with seen(level=logging.WARNING) as handler:
        with Executor(1) as pool:
            pool.submit(say_each_level).result()
        wanted = [
            *(("visible", level) for level in (15, 20, 30, 50)),
            *(("visible.one", level) for level in (15, 20, 30, 50)),
            ("visible.two.deep", 50),
        ]
        assert [(record.name, record.levelno) for record in own(handler)] == wanted
        handler.records.clear()
        logging.disable(logging.INFO)
        wanted = [each for each in wanted if each[1] > logging.INFO]
        with Executor(1) as pool:
            pool.submit(say_each_level).result()
            handler.wait_for(len(wanted))
            # What is changed here while a worker is there holds here.
            logging.getLogger("visible.one").setLevel(logging.CRITICAL)
            pool.submit(say_each_level).result()
        wanted += [each for each in wanted if each != ("visible.one", 30)]
        assert [(record.name, record.levelno) for record in own(handler)] == wanted


@case(ours=True, stderr="out: last words\n")
def handlers_write_once():
    """Those that a forked worker inherits are the parent's to use."""
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(logging.Formatter("out: %(message)s"))
    log.addHandler(handler)
    log.propagate = False
    with Executor(1, on_worker_death="fail_task") as pool, raises(mp.WorkerDied):
        pool.submit(say_and_die).result()


@case(ours=True)
def filters_and_disabled_loggers_are_the_parents():
    with seen() as handler, Executor(1) as pool:
        log.addFilter(lambda record: "secret" not in record.getMessage())
        for text in ("secret", "open"):
            pool.submit(say, logging.INFO, text).result()
        handler.wait_for(1)
        log.disabled = True
        pool.submit(say, logging.INFO, "disabled").result()
        pool.shutdown()
        assert messages(handler) == ["open"]


@case(ours=True)
def records_come_while_nobody_waits():
    with seen() as handler, Executor(1) as pool:
        os.mkfifo("a.go")
        future = pool.submit(say_and_hold, "a")
        handler.wait_for(1)
        assert not future.done()
        # Also while somebody waits for something else.
        other = threading.Thread(target=future.result)
        other.start()
        let_go("a")
        other.join()
        future = pool.submit(say_and_hold, "a")
        waits = threading.Thread(target=future.result)
        waits.start()
        handler.wait_for(2)
        let_go("a")
        waits.join()


@case(ours=True)
def all_has_come_when_the_pool_has_ended():
    for _ in range(20):
        with seen() as handler:
            with Executor(2) as pool:
                for _ in pool.map(say_much, [10] * 10, [10] * 10):
                    pass
            assert len(own(handler)) == 100


@case(ours=True)
def threads_of_a_worker_speak():
    out = io.StringIO()
    with seen() as handler, contextlib.redirect_stdout(out), Executor(1) as pool:
        pool.submit(say_in_threads, 8, 200).result()
        pool.submit(nothing).result()
        pool.shutdown()
    assert len(own(handler)) == 1600
    for number in range(8):
        said = [text for text in messages(handler) if text.startswith(f"thread {number} ")]
        assert said == [f"thread {number} {i}" for i in range(200)]
    assert out.getvalue().count("thread ") == 1600


@case(ours=True)
def a_handler_may_use_the_pool():
    """Even while the ring is full: whoever waits for a result takes in what workers say."""

    class Asks(Seen):
        def emit(self, record):
            if len(self.records) % 50 == 0:
                assert pool.submit(abs, -5).result() == 5
            super().emit(record)

    handler = Asks()
    logging.getLogger().addHandler(handler)
    with Executor(2) as pool:
        futures = [pool.submit(say_much, 1000, 3000) for _ in range(2)]
        for future in futures:
            future.result()
        handler.wait_for(2000)
    assert len(own(handler)) == 2000
    logging.getLogger().removeHandler(handler)


@case(ours=True)
def large_records_come():
    with seen() as handler, Executor(1) as pool:
        pool.submit(say_much, 5, 500_000).result()
        assert len(handler.wait_for(5)[4].getMessage()) > 500_000
        assert pool.stats().arena_in_use == 0


@case(ours=True, stderr=r"(?s).*RuntimeError: no good\n.*")
def a_handler_that_raises_harms_nothing():
    class Bad(Seen):
        def handle(self, record):
            raise RuntimeError("no good")

    handler = Bad()
    log.addHandler(handler)
    with Executor(1) as pool:
        pool.submit(say, logging.ERROR, "one").result()
        pool.submit(say, logging.ERROR, "two").result()
        assert pool.submit(abs, -1).result() == 1
    log.removeHandler(handler)


@case(ours=True)
def initializers_speak():
    out = io.StringIO()
    with seen() as handler, contextlib.redirect_stdout(out):
        with Executor(1, initializer=initialize) as pool:
            pool.submit(nothing).result()
            (worker,) = [each.pid for each in pool.stats().workers]
        (record,) = own(handler)
        assert (record.getMessage(), record.task, record.function) == ("begun", None, None)
    assert out.getvalue() == f"[worker {worker}] begun\n"
    with seen() as handler, Executor(1, initializer=fail_to_initialize) as pool:
        assert "not today" in str(pool.submit(nothing).exception())
        pool.shutdown()
        assert messages(handler) == ["about to fail", "Exception in initializer:"]


@case(ours=True)
def workers_of_a_pool_speak():
    out = io.StringIO()
    pool = mp.Pool(2, forward_output=True)
    with seen() as handler, contextlib.redirect_stdout(out):
        pid = pool.apply(say, (logging.WARNING, "one"))
        assert handler.wait_for(1)[0].process == pid
        pid = pool.apply(write, ("a\n",))
        pool.close()
        pool.join()
    assert out.getvalue() == f"[worker {pid} {__name__}.write] a\n"


# Printing.


def printed(pool, *texts):
    """What comes of a task that writes these, without the prefix, which must be there."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for stream in ("stdout", "stderr"):
            pid = pool.submit(write, *texts, to=stream).result()
        for stream in ("stdout", "stderr"):
            pool.submit(write, "END\n", to=stream)
        for stream in (out, err):
            watch.until(lambda told=stream: told.getvalue().endswith("END\n"), "what was printed")
    prefix = f"[worker {pid} {__name__}.write] "
    lines = out.getvalue().splitlines()[:-1]
    assert err.getvalue() == out.getvalue()
    assert all(line.startswith(prefix) for line in lines), lines
    return [line.removeprefix(prefix) for line in lines]


@case(ours=True)
def lines_come_whole():
    with Executor(1) as pool:
        assert printed(pool, "a\n") == ["a"]
        assert printed(pool, "a", "b", "\n", "c\n\nd\n") == ["ab", "c", "", "d"]
        assert printed(pool, "no end") == ["no end"]
        assert printed(pool, "ä€𝄞 \udc80\n".replace("\udc80", "x")) == ["ä€𝄞 x"]
        assert printed(pool, *(f"\r{i} %" for i in range(100)), "\n") == ["99 %"]
        assert printed(pool, "x" * 300_000, "\n") == ["x" * 300_000, ""]  # it was too long to wait


@case(ours=True, before="of the child\n" * 1000, stderr="of the child\n")
def a_forked_child_of_a_worker_prints_as_ever():
    out = io.StringIO()
    with seen() as handler, Executor(1) as pool:
        pid = pool.submit(os.getpid).result()
        with contextlib.redirect_stdout(out):
            assert pool.submit(print_in_a_fork).result() == 0
            pool.shutdown()
    prefix = f"[worker {pid} {__name__}.print_in_a_fork] "
    assert out.getvalue() == f"{prefix}before\n{prefix}after\n"
    assert messages(handler) == []


@case(ours=True)
def streams_are_still_streams():
    with Executor(1) as pool:
        future = pool.submit(eval, "(__import__('sys').stdout.fileno(), "
                             "__import__('sys').stderr.isatty(), "
                             "__import__('sys').stdout.writable(), "
                             "__import__('sys').stdout.encoding)")  # fmt: skip
        assert future.result() == (1, False, True, sys.__stdout__.encoding)


def say_in_a_fork_while_redirected():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        pid = os.fork()
        if pid == 0:
            sys.stdout = sys.__stdout__
            handlers = list(logging.root.handlers)
            log.warning("of the child")
            warnings.warn("of the child", OwnWarning, stacklevel=1)
            os._exit(len(handlers))
        os.waitpid(pid, 0)
        print("not told")
    return out.getvalue()


@case(ours=True, stderr=r"(?s)of the child\n.*OwnWarning: of the child\n.*")
def a_forked_child_tells_nothing():
    with seen() as handler, Executor(1) as pool:
        assert pool.submit(say_in_a_fork_while_redirected).result() == "not told\n"
        pool.submit(say, logging.INFO, "after").result()
        pool.shutdown()
    assert messages(handler) == ["after"]


class Held(logging.Handler):
    """Deals with nothing before it is let go."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.count = 0

    def emit(self, record):
        assert self.gate.wait(watch.WATCHDOG_S)
        self.count += 1


def say_many(count, said):
    for _ in range(count):
        log.info("%s", "x" * 1000)
        said += 1


@case(ours=True)
def who_says_more_than_is_heard_waits():
    handler = Held()
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    said = mp.shared_counter()
    with Executor(1) as pool:
        future = pool.submit(say_many, 4000, said)
        (worker,) = pool._processes
        watch.until(
            lambda: int(said) > 200 and watch.stat(worker)[0] == "S",
            "the worker to wait, or to have ended",
        )
        assert int(said) < 3000
        handler.gate.set()
        future.result()
    assert handler.count == 4000


# Warnings.


def warned(*filters, run):
    """The warnings that come of it under these filters."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        for entry in filters:
            warnings.filterwarnings(*entry)
        with Executor(1) as pool:
            run(pool)
    return [each for each in caught if each.filename == __file__]


@case(ours=True)
def warnings_come():
    (one,) = warned(("always",), run=lambda pool: pool.submit(warn, OwnWarning, "careful").result())
    assert (one.category, str(one.message)) == (OwnWarning, "careful")
    with open(__file__) as file:
        assert "warnings.warn(text" in file.read().splitlines()[one.lineno - 1]


@case(ours=True)
def filters_of_warnings_are_the_parents():
    def run(pool):
        for _ in range(3):
            pool.submit(warn, OwnWarning, "careful", 2).result()
            pool.submit(warn, DeprecationWarning, "old", 2).result()

    assert len(warned(("always",), run=run)) == 12
    found = warned(("always",), ("ignore", "", DeprecationWarning), run=run)
    assert [each.category for each in found] == [OwnWarning] * 6
    assert len(warned(("once",), run=run)) == 2
    assert len(warned(("ignore",), ("always", "care.*"), run=run)) == 6
    assert len(warned(("ignore",), ("always", "", Warning, "__main__"), run=run)) == 12


@case(ours=True)
def warnings_that_are_errors_are_raised_in_the_task():
    def run(pool):
        with raises(OwnWarning, "careful"):
            pool.submit(warn, OwnWarning, "careful").result()

    assert warned(("error", "", OwnWarning), run=run) == []


@case(ours=True)
def off_by_default():
    with seen() as handler:
        with mp.ProcessPoolExecutor(1) as pool:
            assert pool.submit(eval, "type(__import__('sys').stdout).__name__").result() != "_Lines"
            _, worker = held(pool, "a")
            assert worker
            let_go("a")
        assert own(handler) == []


if __name__ == "__main__":
    main()
