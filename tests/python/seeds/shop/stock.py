"""What the shop has."""

import dataclasses


@dataclasses.dataclass
class Item:
    name: str
    price: int


def item(name):
    return Item(name, len(name))
