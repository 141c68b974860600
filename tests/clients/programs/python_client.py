"""A client by openapi-python-client."""

import json
import sys

from latent_loom_client import Client
from latent_loom_client.api.runs import runs_get, runs_list, runs_submit
from latent_loom_client.models import PretrainInput, PretrainInputKind, Run, RunDetail, SubmitRun
from latent_loom_client.models.runs_list_kind_item import RunsListKindItem

url, dataset = sys.argv[1:]
client = Client(base_url=url)
spec = PretrainInput(kind=PretrainInputKind.PRETRAIN, dataset=dataset, epochs=2)
submitted = runs_submit.sync(client=client, body=SubmitRun(spec=spec))
assert isinstance(submitted, Run), submitted
run = runs_get.sync(submitted.id, client=client)
assert isinstance(run, RunDetail), run
runs = runs_list.sync(client=client, kind=[RunsListKindItem.PRETRAIN], limit=5)
print(json.dumps({"run": run.to_dict(), "listed": len(runs.items)}))
