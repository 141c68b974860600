"""The networks and the loss of our side, in PyTorch."""

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


def build_encoder(name, width, stem="small"):
    stem_stride, blocks = ENCODERS[name]
    first = conv(3, width, 7, 2) if stem == "imagenet" else conv(3, width, 3, stem_stride)
    layers, inputs = [first, nn.BatchNorm2d(width), nn.ReLU(inplace=True)], width
    if stem == "imagenet":
        layers.append(nn.MaxPool2d(3, 2, 1))
    for factor, stride in blocks:
        layers.append(Block(inputs, factor * width, stride))
        inputs = factor * width
    return nn.Sequential(*layers), inputs


def build_simclr(name, width, stem="small"):
    encoder, features = build_encoder(name, width, stem)
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
