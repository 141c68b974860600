"""Ray Tune with 8 slots on a trial that reports one metric and ends. One JSON line a request; the cluster is
started before and not counted."""

import json
import os
import sys
import tempfile
import time

os.environ["RAY_DEDUP_LOGS"] = "0"
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
import ray
from ray import tune


def no_op(config):
    tune.report({"knn": config["seed"] / 1000})


with tempfile.TemporaryDirectory() as folder:
    for line in sys.stdin:
        request = json.loads(line)
        if request["command"] == "start":
            ray.init(num_cpus=request["slots"], include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            print(json.dumps({"ray": ray.__version__}), flush=True)
            continue
        tuner = tune.Tuner(
            no_op,
            param_space={"seed": tune.grid_search(list(range(request["trials"])))},
            tune_config=tune.TuneConfig(reuse_actors=request["reuse"]),
            run_config=tune.RunConfig(verbose=0, storage_path=folder),
        )
        started = time.perf_counter()
        results = tuner.fit()
        seconds = time.perf_counter() - started
        assert len(results) == request["trials"] and results.num_errors == 0, results
        print(json.dumps({"seconds": seconds}), flush=True)
    ray.shutdown()
