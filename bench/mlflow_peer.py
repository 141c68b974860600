"""MLflow on Postgres, called in this process without its server: it takes in metrics by `log_batch` and finds runs
by `search_runs`. One JSON line a request."""

import json
import logging
import os
import sys
import time

os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] = "false"
logging.disable(logging.WARNING)
sys.stdout, answers = sys.stderr, sys.stdout

import mlflow  # noqa: E402
import psycopg2  # noqa: E402
from mlflow.entities import Metric  # noqa: E402
from psycopg2.extras import execute_values  # noqa: E402

client = experiment = url = None
STATUS = {"succeeded": "FINISHED", "failed": "FAILED", "running": "RUNNING"}


def copy_runs(source):
    """The same runs with the same last metrics, straight into the tables that `search_runs` reads: by its API it
    would take an hour."""
    with psycopg2.connect(source) as ours:
        cursor = ours.cursor()
        cursor.execute(
            "SELECT id, name, kind, status::text, (extract(epoch FROM created_at) * 1000)::bigint, (extract(epoch"
            " FROM finished_at) * 1000)::bigint, tags, spec->>'seed', spec->>'temperature', spec->>'batchSize' "
            "FROM run",
        )
        runs = [(row[0].replace("-", ""), *row[1:]) for row in cursor.fetchall()]
        cursor.execute("SELECT run_id, key, value, step FROM run_metric")
        metrics = [(row[0].replace("-", ""), *row[1:]) for row in cursor.fetchall()]
    with psycopg2.connect(url) as theirs:
        cursor = theirs.cursor()
        execute_values(
            cursor,
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, "
            "start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id) VALUES %s",
            [
                (
                    id,
                    name,
                    "LOCAL",
                    "",
                    "",
                    "bench",
                    STATUS.get(status, "KILLED"),
                    created,
                    finished,
                    "",
                    "active",
                    f"file:///nowhere/{id}",
                    int(experiment),
                )
                for id, name, _, status, created, finished, *_ in runs
            ],
            page_size=2000,
        )
        execute_values(
            cursor,
            "INSERT INTO tags (key, value, run_uuid) VALUES %s",
            [(tag, "1", row[0]) for row in runs for tag in row[6]]
            + [("mlflow.runName", row[1], row[0]) for row in runs],
            page_size=5000,
        )
        execute_values(
            cursor,
            "INSERT INTO params (key, value, run_uuid) VALUES %s",
            [
                (key, value, row[0])
                for row in runs
                for key, value in (("kind", row[2]), ("seed", row[7]), ("temperature", row[8]), ("batchSize", row[9]))
                if value is not None
            ],
            page_size=5000,
        )
        execute_values(
            cursor,
            "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES %s",
            [(key, value, 0, step, False, id) for id, key, value, step in metrics],
            page_size=5000,
        )
    connection = psycopg2.connect(url)
    connection.autocommit = True
    connection.cursor().execute("VACUUM ANALYZE")
    connection.close()
    return len(runs)


def log(rows, batch, keys):
    """Seconds for so many rows of one new run."""
    run = client.create_run(experiment).info.run_id
    step = 0
    started = time.perf_counter()
    for _ in range(rows // batch):
        now = int(time.time() * 1000)
        client.log_batch(
            run,
            metrics=[
                Metric(key, 1.0 / (1 + step + i), now, step + i) for i in range(batch // len(keys)) for key in keys
            ],
        )
        step += batch // len(keys)
    seconds = time.perf_counter() - started
    return seconds


def search(filter, order, page):
    started = time.perf_counter()
    found = client.search_runs([experiment], filter_string=filter, max_results=50, order_by=order, page_token=page)
    return {
        "ms": 1000 * (time.perf_counter() - started),
        "names": [run.info.run_name for run in found],
        "next": found.token.decode() if isinstance(found.token, bytes) else found.token,
    }


for line in sys.stdin:
    request = json.loads(line)
    command = request.pop("command")
    if command == "start":
        url = request["url"]
        client = mlflow.MlflowClient(tracking_uri=url.replace("postgresql://", "postgresql+psycopg2://"))
        experiment = client.create_experiment("bench", artifact_location="file:///nowhere")
        answer = {"mlflow": mlflow.__version__}
    elif command == "copy":
        answer = {"runs": copy_runs(**request)}
    elif command == "log":
        answer = {"seconds": log(**request)}
    else:
        answer = search(**request)
    print(json.dumps(answer), file=answers, flush=True)
