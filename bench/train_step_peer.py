"""SimCLR's training step in PyTorch eager, channels_last: the network, batch and loss of the bench's other side."""
import json
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


def conv(inputs, outputs, size, stride=1):
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)) if stride != 1 or inputs != outputs else nn.Identity()

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


def build(width):
    encoder = nn.Sequential(conv(3, width, 3, 2), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
                            Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = nn.Sequential(nn.Linear(4 * width, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU(inplace=True), nn.Linear(256, 64, bias=False), nn.BatchNorm1d(64))
    return nn.Sequential(encoder, head).to(memory_format=torch.channels_last)


def nt_xent(z, temperature):
    z = F.normalize(z)
    n = z.shape[0] // 2
    logits = z @ z.T / temperature
    logits.fill_diagonal_(-1e9)
    labels = torch.cat([torch.arange(n) + n, torch.arange(n)])
    return F.cross_entropy(logits, labels)


def main():
    model = optimizer = views = None
    for line in sys.stdin:
        message = json.loads(line)
        if message["command"] == "start":
            torch.manual_seed(0)
            torch.set_num_threads(message["threads"])
            model = build(message["width"]).train()
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
            views = torch.rand(2 * message["batch"], 3, 32, 32).to(memory_format=torch.channels_last)
            parameters = sum(p.numel() for p in model.parameters())
            print(json.dumps({"parameters": parameters, "torch": torch.__version__}), flush=True)
        else:
            started = time.perf_counter()
            for _ in range(message["steps"]):
                optimizer.zero_grad(set_to_none=True)
                loss = nt_xent(model(views), 0.1)
                loss.backward()
                optimizer.step()
                loss.item()
            print(json.dumps({"ms": (time.perf_counter() - started) * 1000 / message["steps"]}), flush=True)


main()
