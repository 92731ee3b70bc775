"""Closures: over values, over other functions of main, over a class made in a function."""

import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor


def shout(text):
    return text.upper()


def make(prefix, log):
    class Line:
        def __init__(self, text):
            self.text = text

    def line(text):
        log.append(text)
        return Line(shout(f"{prefix}: {text} {len(log)}"))

    return Line, line


def show(line, text):
    print(line(text).text)


if __name__ == "__main__":
    # mp.set_start_method("fork")
    log = ["before"]
    Line, line = make("info", log)
    process = mp.Process(target=show, args=(line, "started"))
    process.start()
    process.join()
    process = mp.Process(target=lambda: show(line, "again"))
    process.start()
    process.join()
    with ProcessPoolExecutor(max_workers=1) as executor:
        made = executor.submit(line, "submitted").result()
        print(made.text, isinstance(made, Line))
    with mp.Pool(1) as pool:
        made = pool.apply(line, ("applied",))
        print(made.text, isinstance(made, Line))
    print(log)
