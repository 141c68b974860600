"""torchvision v2's SimCLR views a second, in each of its ways, by two worker processes."""

import io
import json
import sys
import time

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2


class Images(Dataset):
    def __init__(self, pixels, pipeline, as_pil):
        self.pixels, self.pipeline, self.as_pil = pixels, pipeline, as_pil

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, i):
        image = Image.fromarray(self.pixels[i]) if self.as_pil else torch.from_numpy(self.pixels[i]).permute(2, 0, 1)
        return self.pipeline(image)


def pipeline(size, blur, as_pil):
    steps = [
        v2.RandomResizedCrop(size, scale=(0.08, 1), antialias=False),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        v2.RandomGrayscale(0.2),
    ]
    if blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(size // 10 // 2 * 2 + 1, (0.1, 2.0))], p=0.5))
    return v2.Compose(steps + ([v2.ToImage()] if as_pil else []) + [v2.ToDtype(torch.float32, scale=True)])


def main():
    loaders = {}
    for line in sys.stdin:
        message = json.loads(line)
        if message["command"] == "start":
            torch.set_num_threads(1)
            pixels = np.random.default_rng(0).integers(
                0, 256, (message["count"], message["size"], message["size"], 3), dtype=np.uint8
            )
            for way in ("pil", "tensor"):
                dataset = Images(pixels, pipeline(message["size"], message["blur"], way == "pil"), way == "pil")
                loaders[way] = DataLoader(
                    dataset, batch_size=min(128, message["count"] // 4), num_workers=2, persistent_workers=True
                )
                for _ in loaders[way]:
                    pass
            import torchvision

            print(json.dumps({"torchvision": torchvision.__version__}), flush=True)
        else:
            started, views = time.perf_counter(), 0
            for batch in loaders[message["way"]]:
                views += len(batch)
            print(json.dumps({"viewsPerSecond": views / (time.perf_counter() - started)}), flush=True)


if __name__ == "__main__":
    main()
