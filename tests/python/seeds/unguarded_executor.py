"""A script of three lines, as in a first experiment: no guard, an executor and a lambda."""

import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor

# mp.set_start_method("fork")
print("cpus", mp.cpu_count() > 0)
with ProcessPoolExecutor(max_workers=2) as executor:
    print(list(executor.map(lambda n: n**2, range(5))))
