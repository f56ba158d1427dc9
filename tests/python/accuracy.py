"""Prints how often training runs are right on their validation and on their test images.

The arguments are files of `maskline train --wait --json`, one for each seed. A file has a line for
each run. The last row of a network has the mean and the standard deviation over the seeds.
"""

import collections
import json
import statistics
import sys
from pathlib import Path

COLUMNS = "{:<24} {:<12} {:>14} {:>14} {:>14}"


def in_words(values):
    """The mean of some percentages and their standard deviation, or the only one."""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def row(network, seed, runs):
    validation = [100 * run["validation"]["accuracy"] for run in runs]
    test = [100 * run["test"]["accuracy"] for run in runs]
    differences = [mine - other for mine, other in zip(validation, test)]
    print(COLUMNS.format(network, seed, *map(in_words, (validation, test, differences))))


def main(files):
    by_network = collections.defaultdict(dict)
    for file in map(Path, files):
        for run in map(json.loads, file.read_text().splitlines()):
            if run["state"] != "done":
                sys.exit(f"the run {run['id']} is not done: {run}")
            by_network[run["network"]][file.stem] = run["evaluation"]
    print(COLUMNS.format("network", "seed", "validation, %", "left out, %", "difference"))
    for network, runs in by_network.items():
        for seed, run in runs.items():
            row(network, seed, [run])
        row(network, "mean ± sd", list(runs.values()))


main(sys.argv[1:])
