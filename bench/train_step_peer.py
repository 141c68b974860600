"""
Training steps in PyTorch, channels_last, eager or compiled: the networks, batches and losses of the bench's other side.
"""

import json
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch_networks import build_autoencoder, build_simclr, load, nt_xent


class Steps:
    """Steps of one network; `mode` is torch.compile's, or None for eager."""

    def __init__(self, message, mode):
        torch.manual_seed(0)
        torch._dynamo.reset()
        device = torch.device(message["device"])
        name, width, side = message["encoder"], message["width"], message["side"]
        contrasts = message["kind"] == "simclr"
        model = (
            build_simclr(name, width, message["stem"], message["patch"], side)
            if contrasts
            else build_autoencoder(name, width, message["latent"])
        )
        x = torch.rand(message["batch"] * (2 if contrasts else 1), 3, side, side)
        if message["given"]:
            folder, shapes = message["given"]["folder"], message["given"]["shapes"]
            load(model, folder, shapes)
            x = torch.from_numpy(np.fromfile(os.path.join(folder, "x"), np.float32)).reshape(-1, side, side, 3)
            x = x.permute(0, 3, 1, 2)
        self.model = model.to(device, memory_format=torch.channels_last).train()
        # One kernel for all weights.
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        self.x = x.to(device, memory_format=torch.channels_last)
        loss = (lambda x: nt_xent(self.model(x), 0.1)) if contrasts else (lambda x: F.mse_loss(self.model(x), x))
        self.plain = loss
        self.loss = loss if mode is None else torch.compile(loss, mode=mode)

    def run(self, steps):
        """Milliseconds a step."""
        started = time.perf_counter()
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(self.x)
            loss.backward()
            self.optimizer.step()
            loss.item()
        return (time.perf_counter() - started) * 1000 / steps


# Graphs of CUDA are recorded by two of the modes; without a GPU these are the others.
MODES = {
    "cpu": ["default", "max-autotune-no-cudagraphs"],
    "cuda": ["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"],
}


def fastest_mode(message):
    """The mode of torch.compile in which this network trains fastest; one in which it does not train is told of."""
    times = {}
    for mode in MODES[message["device"]]:
        try:
            steps = Steps(message, mode)
            # The first compiles, the second still finds its memory.
            steps.run(2)
            times[mode] = min(steps.run(message["trial"]) for _ in range(3))
        except Exception as error:
            print(f"torch.compile does not train this in mode {mode}: {error}", file=sys.stderr)
    return min(times, key=times.get)


def main():
    steps = None
    for line in sys.stdin:
        message = json.loads(line)
        if message["command"] == "start":
            torch.set_num_threads(message["threads"])
            if message["device"] == "cuda":
                # As TensorFlow does: TF32 products, and each convolution by the kernel that was fastest when tried.
                torch.set_float32_matmul_precision("high")
                torch.backends.cudnn.benchmark = True
            mode = fastest_mode(message) if message["compiled"] else None
            steps = Steps(message, mode)
            parameters = sum(p.numel() for p in steps.model.parameters())
            with torch.no_grad():
                loss = steps.plain(steps.x).item()
            started = {"parameters": parameters, "torch": torch.__version__, "mode": mode, "loss": loss}
            print(json.dumps(started), flush=True)
        else:
            print(json.dumps({"ms": steps.run(message["steps"])}), flush=True)


main()
