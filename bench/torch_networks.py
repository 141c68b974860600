"""The networks and the loss of our side, in PyTorch: layers are called what they are called there."""

import os
import re
from collections import OrderedDict

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


def conv(inputs, outputs, size, stride=1):
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def shortcut(inputs, outputs, stride):
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x), inplace=True)


class Positions(nn.Module):
    """Behind a token for the class of an image those of its squares, plus where each is, by sines and cosines."""

    def __init__(self, side, width):
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(width))
        waves = torch.arange(width // 4) / (width // 4)
        squares = torch.arange(side * side)
        angles = [places[:, None] / 10_000**waves for places in (squares % side, squares // side)]
        rows = torch.cat([wave for each in angles for wave in (each.sin(), each.cos())], 1)
        self.register_buffer("rows", torch.cat([torch.zeros(1, width), rows]))

    def forward(self, x):
        return torch.cat([self.class_token.expand(len(x), 1, -1), x.flatten(2).transpose(1, 2)], 1) + self.rows


class TransformerBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp1, self.mlp2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        count, tokens, width = x.shape
        apart = self.qkv(self.norm1(x)).reshape(count, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        taken = F.scaled_dot_product_attention(*apart.unbind(0))
        x = x + self.proj(taken.transpose(1, 2).reshape(count, tokens, width))
        return x + self.mlp2(F.gelu(self.mlp1(self.norm2(x))))


class FirstToken(nn.Module):
    def forward(self, x):
        return x[:, 0]


# Kind of block, stride of the small stem, and (width factor, stride) of each residual block.
ENCODERS = {
    "small-resnet": (Block, 2, [(1, 1), (2, 2), (4, 2)]),
    "resnet18": (Block, 1, [(1, 1), (1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1)]),
    "resnet50": (
        Bottleneck,
        1,
        [
            (factor, 2 if i == 0 and factor > 1 else 1)
            for factor, count in ((1, 3), (2, 4), (4, 6), (8, 3))
            for i in range(count)
        ],
    ),
}
# Heads, each of `width`, and blocks.
TRANSFORMERS = {"vit-small": (6, 12)}


def build_encoder(name, width, stem="small"):
    kind, stem_stride, blocks = ENCODERS[name]
    first = conv(3, width, 7, 2) if stem == "imagenet" else conv(3, width, 3, stem_stride)
    layers = OrderedDict(stem_conv=first, stem_bn=nn.BatchNorm2d(width), stem_relu=nn.ReLU(inplace=True))
    if stem == "imagenet":
        layers["stem_pool"] = nn.MaxPool2d(3, 2, 1)
    inputs = width
    for i, (factor, stride) in enumerate(blocks):
        layers[f"block{i + 1}"] = kind(inputs, factor * width, stride)
        inputs = factor * width * (4 if kind is Bottleneck else 1)
    return nn.Sequential(layers), inputs


def build_transformer(name, width, patch, side):
    heads, blocks = TRANSFORMERS[name]
    wide = heads * width
    layers = OrderedDict(patches=nn.Conv2d(3, wide, patch, patch), positions=Positions(side // patch, wide))
    for i in range(blocks):
        layers[f"block{i + 1}"] = TransformerBlock(wide, heads)
    layers.update(norm=nn.LayerNorm(wide, eps=1e-6), first=FirstToken())
    return nn.Sequential(layers), wide


def build_simclr(name, width, stem="small", patch=16, side=32):
    if name in TRANSFORMERS:
        encoder, features = build_transformer(name, width, patch, side)
        pool = nn.Identity()
    else:
        encoder, features = build_encoder(name, width, stem)
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    last = nn.BatchNorm1d(64)
    # It has no offset.
    last.register_parameter("bias", None)
    head = OrderedDict(
        dense1=nn.Linear(features, 256, bias=False),
        bn1=nn.BatchNorm1d(256),
        relu1=nn.ReLU(inplace=True),
        dense2=nn.Linear(256, 64, bias=False),
        bn2=last,
    )
    return nn.Sequential(OrderedDict(encoder=encoder, pool=pool, projection=nn.Sequential(head)))


def load(model, folder, shapes):
    """The weights of our side, by their names there, each a file of float32."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for key, shape in shapes.items():
            network, layer, weight = key.split("/")
            layer = re.sub(r"^(block\d+)_", r"\1.", layer).replace("shortcut_bn", "shortcut.1")
            layer = re.sub(r"shortcut$", "shortcut.0", layer)
            weight = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(weight, weight)
            values = torch.from_numpy(np.fromfile(os.path.join(folder, key.replace("/", ".")), np.float32))
            values = values.reshape(shape)
            # Kernels [height, width, in, out] and [in, out].
            order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(shape)) if weight == "weight" else None
            parameters.pop(f"{network}.{layer}.{weight}").copy_(values.permute(order) if order else values)
    assert not parameters, f"expected values of all weights, got none of {list(parameters)}"


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
