"""Lambdas: as a target, as a task, as an argument, in a container."""

import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor

double = lambda n: 2 * n


def apply(function, n):
    print("argument", function(n))


if __name__ == "__main__":
    # mp.set_start_method("fork")
    for process in (
        mp.Process(target=lambda: print("target", double(4))),
        mp.Process(target=double, args=(1,)),
        mp.Process(target=apply, args=(lambda n: double(n) + 1, 5)),
        mp.Process(target=lambda table: print("table", table["f"](6)), args=({"f": double},)),
    ):
        process.start()
        process.join()
        assert process.exitcode == 0, process
    with ProcessPoolExecutor(max_workers=1) as executor:
        print("submit", executor.submit(lambda: double(7)).result())
        print("map", list(executor.map(lambda n: n + 1, range(3))))
    with mp.Pool(1) as pool:
        print("Pool.map", pool.map(double, range(3)))
        print("Pool.apply", pool.apply(lambda: double(8)))
