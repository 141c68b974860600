"""Optuna on Postgres. `enqueue` lays trials out before anything runs, as a submit of ours does; `ask` has the
sampler draw each. One JSON line a request."""

import json
import sys
import time

import optuna
from optuna.distributions import FloatDistribution

optuna.logging.set_verbosity(optuna.logging.ERROR)
space = {"temperature": FloatDistribution(0.05, 1.0)}
storage = None

for line in sys.stdin:
    request = json.loads(line)
    if request["command"] == "start":
        storage = optuna.storages.RDBStorage(request["url"].replace("postgresql://", "postgresql+psycopg://"))
        print(json.dumps({"optuna": optuna.__version__}), flush=True)
    else:
        study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
        started = time.perf_counter()
        for i in range(request["count"]):
            if request["command"] == "enqueue":
                study.enqueue_trial({"temperature": 0.05 + 0.9 * i / request["count"]})
            else:
                study.ask(space)
        seconds = time.perf_counter() - started
        assert len(study.get_trials(deepcopy=False)) == request["count"]
        print(json.dumps({"seconds": seconds}), flush=True)
