"""Subclasses of Process defined in main, with state and with an overridden run()."""

import multiprocessing as mp


class Base(mp.Process):
    greeting = "hello"

    def __init__(self, who, connection, **options):
        super().__init__(**options)
        self.who = who
        self.connection = connection

    def run(self):
        self.connection.send((self.text(), self.name, type(self).__name__))
        self.connection.close()

    def text(self):
        return f"{self.greeting} {self.who}"


class Loud(Base):
    greeting = "HELLO"

    def run(self):
        super().run()
        raise SystemExit(3)


if __name__ == "__main__":
    # mp.set_start_method("fork")
    for kind in (Base, Loud):
        reader, writer = mp.Pipe(duplex=False)
        process = kind("bob", writer, name="greeter")
        process.start()
        writer.close()
        print(*reader.recv())
        process.join()
        print("exit code", process.exitcode, isinstance(process, mp.Process))
        reader.close()
