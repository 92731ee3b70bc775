"""Bodies: bars that count calls as they end."""

import sys
import types

import watch
from body import case, main, mp, raises
from pool_tasks import add, fail, let_go, make_pipes, same, told_by
from pool_tasks import hold as wait_to_go

BARS = []


class Bar:
    """What tqdm.auto.tqdm is to its users; keeps what it was told."""

    def __init__(self, *, total, desc, **options):
        self.total, self.desc, self.options = total, desc, options
        self.n = 0
        self.closed = 0
        BARS.append(self)

    def update(self, count):
        assert not self.closed
        self.n += count

    def close(self):
        self.closed += 1


def fake():
    """Put a tqdm in place that tells what it was told."""
    auto = types.ModuleType("tqdm.auto")
    auto.tqdm = Bar
    sys.modules["tqdm"], sys.modules["tqdm.auto"] = types.ModuleType("tqdm"), auto


def the_bar():
    (bar,) = BARS
    BARS.clear()
    return bar


def ended(n, total, desc=None):
    """There was one bar, which counted so many of so many and was closed."""
    bar = the_bar()
    watch.until(lambda: bar.closed, "the bar to be closed")
    assert (bar.n, bar.total, bar.desc) == (n, total, desc), vars(bar)


def hold(name):
    return wait_to_go(name)


@case(ours=True)
def an_executors_map():
    fake()
    with mp.ProcessPoolExecutor(2) as pool:
        assert list(pool.map(add, range(20), progress=True)) == list(range(1, 21))
        ended(20, 20)
        assert list(pool.map(add, range(20), range(9), progress="adds")) == list(range(0, 18, 2))
        ended(9, 9, "adds")
        assert list(pool.map(add, iter(range(20)), progress=True)) == list(range(1, 21))
        ended(20, None)
        assert list(pool.map(add, range(20), chunksize=6, progress=True)) == list(range(1, 21))
        ended(20, 20)
        assert list(pool.map(add, [], progress=True)) == []
        assert BARS == []
        list(pool.map(add, range(5), progress=False))
        assert BARS == []
        if sys.version_info >= (3, 14):
            assert list(pool.map(add, range(20), buffersize=3, progress=True))[-1] == 20
            ended(20, 20)


@case(ours=True)
def calls_count_as_they_end():
    fake()
    with mp.ProcessPoolExecutor(2) as pool:
        for name in "ab":
            make_pipes(name)
        results = pool.map(hold, "ab", progress=True)
        for name in "ab":
            told_by(name, "began")
        let_go("b")  # the second, while the first is not there, and nobody iterates
        watch.until(lambda: BARS and BARS[0].n == 1, "the second call to be counted")
        let_go("a")
        assert list(results) == [None, None]
    ended(2, 2)


@case(ours=True)
def bars_are_closed_on_errors():
    fake()
    with mp.ProcessPoolExecutor(1) as pool:
        with raises(ZeroDivisionError):
            list(pool.map(divmod, [1] * 100, [1, 0] * 50, progress=True))
        bar = the_bar()
        assert bar.closed
        assert 2 <= bar.n <= 100
        with raises(TypeError):
            pool.map(add, 5, progress=True)
        assert BARS == []
        pool.map(add, range(10), progress=True)  # nobody iterates
        ended(10, 10)
        next(pool.map(add, range(10), progress=True))
        assert the_bar().closed


@case(ours=True)
def the_maps_of_a_pool():
    fake()
    with mp.Pool(2) as pool:
        assert pool.map(add, range(20), progress=True) == list(range(1, 21))
        ended(20, 20)
        assert pool.map(add, iter(range(20)), 1, progress="adds") == list(range(1, 21))
        ended(20, 20, "adds")
        assert pool.starmap(add, zip(range(9), range(9), strict=True), progress=True)[-1] == 16
        ended(9, 9)
        assert list(pool.imap(add, range(200), progress=True)) == list(range(1, 201))
        ended(200, 200)
        assert sorted(pool.imap_unordered(add, range(200), 7, progress=True))[-1] == 200
        ended(200, 200)
        assert list(pool.imap(add, iter(range(5)), 2, progress="five")) == list(range(1, 6))
        ended(5, None, "five")
        with raises(ValueError):
            pool.map(fail, [ValueError] * 3, progress=True)
        ended(3, 3)
        with raises(ValueError):
            pool.starmap(add, [()], 0, progress=True)
        assert BARS == []


@case(ours=True, stderr=r"(?s).*adds: 100%\|.*\| 20/20 .*")
def a_real_bar():
    with mp.ProcessPoolExecutor(2) as pool:
        assert list(pool.map(add, range(20), progress="adds"))[-1] == 20
        assert list(pool.map(same, range(20), progress=True, chunksize=3))[-1] == 19


@case(ours=True)
def without_tqdm():
    sys.modules["tqdm"] = sys.modules["tqdm.auto"] = None
    with mp.ProcessPoolExecutor(1) as pool:
        with raises(ImportError, "pip install tqdm", "procession[progress]"):
            pool.map(add, range(3), progress=True)
        assert pool.submit(add, 1).result() == 2


if __name__ == "__main__":
    main()
