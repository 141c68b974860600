"""
Whole epochs of SimCLR as a user of PyTorch writes them: torchvision's transforms, a DataLoader with workers, Adam, and
at the end of each epoch the accuracy of nearest neighbours and a checkpoint.
"""

import json
import os
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset
from torch_networks import build_simclr, nt_xent
from torchvision.transforms import v2


class Files(Dataset):
    """Images in a folder of each class; small ones are kept decoded, as torchvision's CIFAR10 does."""

    def __init__(self, root, transform, keeps):
        self.transform = transform
        classes = sorted(os.listdir(root))
        self.files = [
            (os.path.join(root, name, file), label)
            for label, name in enumerate(classes)
            for file in sorted(os.listdir(os.path.join(root, name)))
        ]
        self.kept = [np.asarray(self.read(file)) for file, _ in self.files] if keeps else None

    def read(self, file):
        return Image.open(file).convert("RGB")

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        file, label = self.files[i]
        return self.transform(Image.fromarray(self.kept[i]) if self.kept else self.read(file)), label


def transforms(size):
    floats = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    view = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.2, 1)),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(0.2),
            *floats,
        ]
    )
    plain = v2.Compose([v2.Resize(size), v2.CenterCrop(size), *floats])
    return lambda image: torch.stack([view(image), view(image)]), plain


def loader(dataset, batch, workers, shuffle):
    return DataLoader(
        dataset,
        batch_size=batch,
        shuffle=shuffle,
        drop_last=shuffle,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def features_of(encoder, batches, device):
    encoder.eval()
    with torch.no_grad():
        pairs = [
            (F.normalize(encoder(x.to(device, memory_format=torch.channels_last)).mean((2, 3))), y) for x, y in batches
        ]
    encoder.train()
    return torch.cat([h for h, _ in pairs]), torch.cat([y for _, y in pairs])


def knn(bank, labels, queries, k, temperature, classes):
    similarity, index = (queries @ bank.T).topk(k)
    votes = torch.zeros(len(queries), classes, device=bank.device)
    votes.scatter_add_(1, labels.to(bank.device)[index], (similarity / temperature).exp())
    return votes.argmax(1).cpu()


def train(message):
    """Seconds of the epochs, with what comes at the end of each."""
    torch.manual_seed(0)
    torch.set_num_threads(message["threads"])
    device = torch.device(message["device"])
    pair, plain = transforms(message["size"])
    small = message["size"] < 100
    root = message["root"]
    samples = Files(os.path.join(root, "train"), pair, small)
    every = Files(os.path.join(root, "train"), plain, small)
    bank = Subset(every, np.linspace(0, len(every) - 1, min(len(every), message["bank"])).astype(int).tolist())
    queries = Files(os.path.join(root, "test"), plain, small)
    network = build_simclr(message["encoder"], message["width"], message["stem"])
    network = network.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def loss_of(x):
        return nt_xent(network(x), 0.1)

    step = torch.compile(loss_of) if message["compiled"] else loss_of
    workers, batch = message["workers"], message["batch"]
    batches = loader(samples, batch, workers, True)
    judged = [loader(each, batch, workers, False) for each in (bank, queries)]
    if message["compiled"]:
        # Compiling is no part of an epoch.
        blank = torch.rand(2 * batch, 3, message["size"], message["size"])
        step(blank.to(device, memory_format=torch.channels_last)).backward()
    started = time.perf_counter()
    for epoch in range(message["epochs"]):
        for views, _ in batches:
            x = views.transpose(0, 1).flatten(0, 1).to(device, memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            loss = step(x)
            loss.backward()
            optimizer.step()
        encoder = network[0]
        (bank_features, labels), (query_features, truth) = (features_of(encoder, each, device) for each in judged)
        votes = knn(bank_features, labels, query_features, message["k"], 0.07, int(labels.max()) + 1)
        accuracy = (votes == truth).float().mean().item()
        with tempfile.NamedTemporaryFile() as file:
            torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, file)
    return {"seconds": time.perf_counter() - started, "knn": accuracy, "loss": loss.item(), "torch": torch.__version__}


def main():
    for line in sys.stdin:
        print(json.dumps(train(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
