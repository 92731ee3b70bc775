from multiprocessing import set_start_method, Process

def hello():
    print("hello")

if __name__ == '__main__':
    # set_start_method('fork')       # this works and prints hello (default in python 3.13)
    # set_start_method('forkserver') # this fails with `AttributeError: module '__main__' has no attribute 'hello'` (default in python 3.14)
    p = Process(target=hello)
    p.start()
    p.join()
