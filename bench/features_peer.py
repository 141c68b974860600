"""Features that torchvision's networks give, with weights and running statistics that are drawn."""

import json
import os
import sys

import numpy as np
import torch
import torchvision


def network(name, seed):
    """A network without its classifier, with statistics as after a training."""
    torch.manual_seed(seed)
    model = getattr(torchvision.models, name)(weights=None)
    model.fc = torch.nn.Identity()
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.running_mean, 0, 0.2)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.0)
            torch.nn.init.normal_(layer.bias, 0, 0.2)
    return model.eval()


def main():
    for line in sys.stdin:
        message = json.loads(line)
        model = network(message["network"], message["seed"])
        images = torch.rand(message["count"], 3, message["size"], message["size"])
        with torch.no_grad():
            features = model(images)
        folder = message["folder"]
        shapes = {}
        weights = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
        for name, tensor in {**weights, "images": images.permute(0, 2, 3, 1), "features": features}.items():
            # Kernels [out, in, height, width] as TensorFlow has them.
            values = tensor.permute(2, 3, 1, 0) if tensor.ndim == 4 and name != "images" else tensor
            values.contiguous().numpy().astype(np.float32).tofile(os.path.join(folder, name))
            shapes[name] = list(values.shape)
        print(json.dumps({"torchvision": torchvision.__version__, "shapes": shapes}), flush=True)


if __name__ == "__main__":
    main()
