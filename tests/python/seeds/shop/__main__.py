"""The package's main: targets here, data in a sibling."""

import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor

from . import stock
from .stock import Item


class Receipt:
    def __init__(self, items):
        self.items = items


def buy(*names):
    return Receipt([stock.item(name) for name in names])


def show(receipt):
    print(type(receipt) is Receipt, [isinstance(item, Item) for item in receipt.items])
    print(buy("tea").items)


def main():
    process = mp.Process(target=show, args=(buy("milk", "bread"),))
    process.start()
    process.join()
    print("exit code", process.exitcode)
    with ProcessPoolExecutor(max_workers=1) as executor:
        receipt = executor.submit(buy, "jam").result()
    print(isinstance(receipt, Receipt), receipt.items)
    with mp.Pool(1) as pool:
        print(pool.map(stock.item, ["egg"]), type(pool.apply(buy)) is Receipt)


if __name__ == "__main__":
    # mp.set_start_method("fork")
    main()
