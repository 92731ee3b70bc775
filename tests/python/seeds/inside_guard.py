"""The target and all that it uses are defined inside the guard."""

import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor

if __name__ == "__main__":
    # mp.set_start_method("fork")
    FACTOR = 3

    class Box:
        def __init__(self, n):
            self.n = n

    def triple(n):
        return Box(n * FACTOR)

    def show(n):
        print("triple", triple(n).n)

    process = mp.Process(target=show, args=(5,))
    process.start()
    process.join()
    print("exit code", process.exitcode)
    with ProcessPoolExecutor(max_workers=1) as executor:
        box = executor.submit(triple, 2).result()
        print(box.n, isinstance(box, Box))
    with mp.Pool(1) as pool:
        box = pool.apply(triple, (4,))
        print(box.n, isinstance(box, Box))
