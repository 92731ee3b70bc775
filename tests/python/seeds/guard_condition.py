"""A guard with a second condition, and a main function that ends in sys.exit."""

import multiprocessing as mp
import sys
from concurrent.futures import ProcessPoolExecutor

ENABLED = True


def square(n):
    return n * n


def show(n):
    print("square", square(n))


def main():
    print("main")
    process = mp.Process(target=show, args=(3,))
    process.start()
    process.join()
    with ProcessPoolExecutor(max_workers=1) as executor:
        print(list(executor.map(square, range(3))))
    return process.exitcode


if __name__ == "__main__" and ENABLED:
    # mp.set_start_method("fork")
    sys.exit(main())
