"""A class inside a class: instances as arguments, its methods as targets, itself as a task."""

import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor


class Shop:
    class Item:
        tax = 2

        def __init__(self, price):
            self.price = price

        def total(self):
            return self.price + self.tax

        def show(self):
            print("total", self.total())

        @staticmethod
        def free():
            return Shop.Item(0)

        @classmethod
        def cheap(cls):
            return cls(1)


if __name__ == "__main__":
    # mp.set_start_method("fork")
    process = mp.Process(target=Shop.Item(40).show)
    process.start()
    process.join()
    print("exit code", process.exitcode)
    with ProcessPoolExecutor(max_workers=1) as executor:
        items = [executor.submit(f).result() for f in (Shop.Item.free, Shop.Item.cheap)]
        items += executor.map(Shop.Item, [5])
        print([item.total() for item in items], all(isinstance(i, Shop.Item) for i in items))
        print(executor.submit(Shop.Item(7).total).result())
    with mp.Pool(1) as pool:
        print([type(item) is Shop.Item for item in pool.map(Shop.Item, range(2))])
