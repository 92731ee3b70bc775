"""A script without a guard: its top level must run once."""

import multiprocessing as mp

# mp.set_start_method("fork")

GREETING = "hello"


class Card:
    def __init__(self, text):
        self.text = text


def greet(who):
    print(GREETING, who)


def write(who):
    return Card(f"{GREETING} {who}")


print("begin")
process = mp.Process(target=greet, args=("bob",))
process.start()
process.join()
print("exit code", process.exitcode)
with mp.Pool(2) as pool:
    cards = pool.map(write, ["ann", "eve"])
print([card.text for card in cards], all(type(card) is Card for card in cards))
print("end")
