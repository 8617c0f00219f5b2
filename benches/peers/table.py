"""Medians of HOLD rates and their ratio to splitwave's.

Reads lines `engine <tab> pending <tab> million events per second`, any number
per engine, from standard input; prints one table per number of pending events.
"""

import statistics
import sys

OURS = "splitwave"


def main():
    rates = {}
    for line in sys.stdin:
        engine, pending, rate = line.rstrip("\n").split("\t")
        rates.setdefault(int(pending), {}).setdefault(engine, []).append(float(rate))
    for pending, engines in sorted(rates.items()):
        ours = statistics.median(engines[OURS])
        print(f"HOLD, {pending} pending events       M events/s   of ours   lowest  highest  runs")
        for engine, found in sorted(engines.items(), key=lambda item: -statistics.median(item[1])):
            median = statistics.median(found)
            print(
                f"  {engine:<42}{median:>8.2f}{median / ours:>10.3f}"
                f"{min(found):>9.2f}{max(found):>9.2f}{len(found):>6}"
            )


if __name__ == "__main__":
    main()
