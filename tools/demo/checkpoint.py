"""Training state on disk, written whole or not at all."""

import os

import torch


def save(path, network, optimizers, state):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    content = {"network": network.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "state": state, "config": network.config}
    torch.save(content, path + ".part")
    os.replace(path + ".part", path)


def load(path, network, optimizers):
    content = torch.load(path, map_location=network.lm_head.weight.device, weights_only=True)
    network.load_state_dict(content["network"])
    for optimizer, saved in zip(optimizers, content["optimizers"]):
        optimizer.load_state_dict(saved)
    return content["state"]
