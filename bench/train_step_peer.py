"""Training steps in PyTorch eager, channels_last: the networks, batches and losses of the bench's other side."""

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
        self.shortcut = (
            nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
            if stride != 1 or inputs != outputs
            else nn.Identity()
        )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


# Stride of the stem, and (width factor, stride) of each residual block.
ENCODERS = {
    "small-resnet": (2, [(1, 1), (2, 2), (4, 2)]),
    "resnet18": (1, [(1, 1), (1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1)]),
}


def build_encoder(name, width):
    stem_stride, blocks = ENCODERS[name]
    layers, inputs = [conv(3, width, 3, stem_stride), nn.BatchNorm2d(width), nn.ReLU(inplace=True)], width
    for factor, stride in blocks:
        layers.append(Block(inputs, factor * width, stride))
        inputs = factor * width
    return nn.Sequential(*layers), inputs


def build_simclr(name, width):
    encoder, features = build_encoder(name, width)
    last = nn.BatchNorm1d(64)
    # It has no offset.
    last.register_parameter("bias", None)
    head = nn.Sequential(
        nn.Linear(features, 256, bias=False),
        nn.BatchNorm1d(256),
        nn.ReLU(inplace=True),
        nn.Linear(256, 64, bias=False),
        last,
    )
    return nn.Sequential(encoder, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def build_autoencoder(name, width, latent):
    encoder, features = build_encoder(name, width)
    side = 4
    layers, inputs = (
        [
            nn.Flatten(),
            nn.Linear(side * side * features, latent),
            nn.Linear(latent, side * side * features),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (features, side, side)),
        ],
        features,
    )
    while side < 32:
        side, outputs = 2 * side, max(width, inputs // 2)
        layers += [
            nn.Upsample(scale_factor=2, mode="nearest"),
            conv(inputs, outputs, 3),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
        inputs = outputs
    return nn.Sequential(encoder, *layers, nn.Conv2d(inputs, 3, 3, padding=1), nn.Sigmoid())


def nt_xent(z, temperature):
    z = F.normalize(z)
    n = z.shape[0] // 2
    logits = z @ z.T / temperature
    logits.fill_diagonal_(-1e9)
    index = torch.arange(n, device=z.device)
    labels = torch.cat([index + n, index])
    return F.cross_entropy(logits, labels)


def main():
    model = optimizer = x = loss_of = None
    for line in sys.stdin:
        message = json.loads(line)
        if message["command"] == "start":
            torch.manual_seed(0)
            torch.set_num_threads(message["threads"])
            device = torch.device(message["device"])
            if device.type == "cuda":
                # As TensorFlow does: TF32 products, and each convolution by the kernel that was fastest when tried.
                torch.set_float32_matmul_precision("high")
                torch.backends.cudnn.benchmark = True
            name, width, contrasts = message["encoder"], message["width"], message["kind"] == "simclr"
            model = build_simclr(name, width) if contrasts else build_autoencoder(name, width, message["latent"])
            model = model.to(device, memory_format=torch.channels_last).train()
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
            x = torch.rand(message["batch"] * (2 if contrasts else 1), 3, 32, 32).to(
                device, memory_format=torch.channels_last
            )
            loss_of = (lambda: nt_xent(model(x), 0.1)) if contrasts else (lambda: F.mse_loss(model(x), x))
            parameters = sum(p.numel() for p in model.parameters())
            print(json.dumps({"parameters": parameters, "torch": torch.__version__}), flush=True)
        else:
            started = time.perf_counter()
            for _ in range(message["steps"]):
                optimizer.zero_grad(set_to_none=True)
                loss = loss_of()
                loss.backward()
                optimizer.step()
                loss.item()
            print(json.dumps({"ms": (time.perf_counter() - started) * 1000 / message["steps"]}), flush=True)


main()
