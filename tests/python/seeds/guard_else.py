"""A guard that says what to do when main is only imported; main's body is its else."""

import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor


def square(n):
    return n * n


def show(n):
    print("square", square(n))


if __name__ != "__main__":
    IMPORTED = True
else:
    # mp.set_start_method("fork")
    print("main")
    process = mp.Process(target=show, args=(3,))
    process.start()
    process.join()
    with ProcessPoolExecutor(max_workers=1) as executor:
        print(list(executor.map(square, range(3))))
