"""functools.partial over functions of main, of the library, over a lambda, over a method."""

import functools
import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor


class Power:
    def __init__(self, base):
        self.base = base

    def raised(self, exponent, offset=0):
        return self.base**exponent + offset


def show(label, *values, end):
    print(label, *values, end=end)


if __name__ == "__main__":
    # mp.set_start_method("fork")
    process = mp.Process(target=functools.partial(show, "partial", 1, end="!\n"), args=(2,))
    process.start()
    process.join()
    print("exit code", process.exitcode)
    with ProcessPoolExecutor(max_workers=1) as executor:
        print(list(executor.map(functools.partial(pow, 2), range(4))))
        print(executor.submit(functools.partial(lambda a, b: a - b, 9), 4).result())
    with mp.Pool(1) as pool:
        print(pool.map(functools.partial(Power(3).raised, offset=1), range(3)))
