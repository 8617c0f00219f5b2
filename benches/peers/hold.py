"""HOLD on SimPy: one repetition, printed as `hold --once` prints it.

Each pending event is a process that waits an exponential delay, again and again.
"""

import itertools
import random
import time

import simpy


def hold(env, delays):
    while True:
        yield env.timeout(next(delays))


def rate(pending, events):
    draws = random.Random(1)
    delays = itertools.cycle([draws.expovariate(1.0) for _ in range(1 << 16)])
    env = simpy.Environment()
    for _ in range(pending):
        env.process(hold(env, delays))
    for _ in range(pending):  # the processes' own starts
        env.step()
    step = env.step
    start = time.perf_counter()
    for _ in range(events):
        step()
    return events / (time.perf_counter() - start) / 1e6


if __name__ == "__main__":
    for pending, events in [(1_000, 200_000), (100_000, 200_000)]:
        print(f"SimPy {simpy.__version__}\t{pending}\t{rate(pending, events):.3f}")
