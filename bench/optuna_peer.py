"""Optuna on Postgres: `ask` makes a trial and writes its parameter, as a worker's first act. One JSON line a request."""
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
        for _ in range(request["count"]):
            study.ask(space)
        seconds = time.perf_counter() - started
        assert len(study.get_trials(deepcopy=False)) == request["count"]
        print(json.dumps({"seconds": seconds}), flush=True)
