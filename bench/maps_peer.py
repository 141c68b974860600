"""
Maps by openTSNE and umap-learn with their defaults: what the maps of a run are measured beside.
"""

import json
import sys
import time

import numpy as np
import umap
from openTSNE import TSNE


def mapped(name, points, threads):
    # A seed would have umap-learn work on one thread.
    maker = TSNE(n_jobs=threads, random_state=0) if name == "tsne" else umap.UMAP(n_jobs=threads)
    return np.asarray(maker.fit(points) if name == "tsne" else maker.fit_transform(points))


def main():
    # What is compiled when it is first called.
    mapped("umap", np.random.default_rng(0).normal(size=(5000, 8)).astype(np.float32), 2)
    for line in sys.stdin:
        message = json.loads(line)
        points = np.fromfile(message["points"], np.float32).reshape(-1, message["width"])
        started = time.perf_counter()
        found = mapped(message["map"], points, message["threads"])
        seconds = time.perf_counter() - started
        found.astype(np.float32).tofile(message["file"])
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
