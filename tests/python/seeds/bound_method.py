"""Bound methods of an instance whose class is main's; the child changes its own copy."""

import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor


class Counter:
    def __init__(self):
        self.count = 10

    def add(self, n):
        self.count += n
        print("count", self.count)
        return self

    def __call__(self, n):
        return self.count + n


if __name__ == "__main__":
    # mp.set_start_method("fork")
    counter = Counter()
    process = mp.Process(target=counter.add, args=(5,))
    process.start()
    process.join()
    print("mine", counter.count)
    with ProcessPoolExecutor(max_workers=1) as executor:
        print(list(executor.map(counter, range(3))))
    with mp.Pool(1) as pool:
        print(pool.map(counter, range(3)))
        other = pool.apply(Counter().__call__, (1,))
        print(other)
    with ProcessPoolExecutor(max_workers=1) as executor:
        other = executor.submit(counter.add, 1).result()
    print(other.count, type(other) is Counter, other is counter)
