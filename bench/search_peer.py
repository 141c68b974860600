"""Optuna's TPESampler with its defaults, asked for one trial after the other: `start` begins a study, `next` tells the
value of the last trial and asks for another. One JSON line a request."""

import json
import sys

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
study = None
space = {}
trial = None


def suggested(trial, name, parameter):
    if "values" in parameter:
        return trial.suggest_categorical(name, parameter["values"])
    low, high = parameter["min"], parameter["max"]
    distribution = parameter.get("distribution", "int_uniform")
    if distribution == "int_uniform":
        return trial.suggest_int(name, low, high)
    if distribution == "q_uniform":
        return trial.suggest_int(name, low, high, step=parameter["q"])
    return trial.suggest_float(name, low, high, log=distribution == "log_uniform_values")


for line in sys.stdin:
    request = json.loads(line)
    if request["command"] == "start":
        space = request["space"]
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=request["seed"]))
        print(json.dumps({"optuna": optuna.__version__}), flush=True)
        continue
    if "value" in request:
        study.tell(trial, request["value"])
    trial = study.ask()
    values = {}
    for name, parameter in space.items():
        if all(values.get(other) == wanted for other, wanted in parameter.get("when", {}).items()):
            values[name] = suggested(trial, name, parameter)
    print(json.dumps({"values": values}), flush=True)
