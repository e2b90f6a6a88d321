"""The counted long run: `python -m tests.policy.long_run --cases 1000000 --seed 7`.

Prints what was compared and exits with 1 at the first disagreement, naming the seed that repeats it.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.policy import engine, generate, generate_json

CHUNK = 10_000


def main() -> int:
    """Run the comparison as the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m tests.policy.long_run", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000, help="decisions to compare (default: %(default)s)")
    parser.add_argument("--texts", type=int, help="json texts to compare (default: a tenth of the cases)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9, help="first seed (default: from the clock)")
    options = parser.parse_args()
    texts = options.cases // 10 if options.texts is None else options.texts
    for name, take, total in (("decisions", generate.take, options.cases), ("json texts", generate_json.take, texts)):
        started = time.monotonic()
        for number, begin in enumerate(range(0, total, CHUNK)):
            seed = f"{options.seed}-{number}"
            count, found = engine.disagreements(take(seed, min(CHUNK, total - begin)))
            if found:
                print(f"{len(found)} disagreements in {count} {name} of seed {seed}; the first:\n{found[0]}")
                return 1
            print(f"\r{name}: {begin + count:,} of {total:,} agree", end="", flush=True, file=sys.stderr)
        print(file=sys.stderr)
        print(f"{name}: {total:,} compared, 0 disagreements, seed {options.seed}, {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
