"""Writes a reference training step of a network with every form of convolution.

    python make_shapes_step.py [OUT]      (default: crates/segfit-engine/tests/data/shapes_step.safetensors)

The network is read from `crates/segfit-engine/tests/data/shapes_network.json`; the input is 2 x 3 x 20 x 28. Tensors are numbered
in the order of the layers (weight, bias, running_mean, running_var of each), from 0; the formulas of the initial values,
input and target are those of `make_reference_step.py`, with the layer's kind in the place of its name. Everything is computed
in float64; parameters and input are float32 numbers.
"""

import json
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from torch.nn import functional as F

import make_reference_step as reference
from pytorch_unet import cross_entropy_dice

DATA = reference.ROOT / "crates/segfit-engine/tests/data"
BATCH, CHANNELS, ROWS, COLUMNS = 2, 3, 20, 28
STEPS = 10


def parameters(network):
    """Initial values by name, in order, and each layer's channels."""
    width, channels, made = {g["name"]: g["channels"] for g in network["groups"]}, {}, {}

    def make(name, shape, low, spread):
        u = reference.uniform(len(made), shape)
        made[name] = (np.float32(low) + np.float32(spread) * u).astype(np.float32)

    for layer in network["layers"]:
        name, op, inputs = layer["name"], layer["op"], [channels[i] for i in layer.get("inputs", [])]
        channels[name] = width[layer["group"]] if "group" in layer else sum(inputs)
        if op in ("conv2d", "depthwise_conv2d", "conv_transpose2d"):
            groups = inputs[0] if op == "depthwise_conv2d" else layer.get("groups", 1)
            pair = (inputs[0], channels[name]) if op == "conv_transpose2d" else (channels[name], inputs[0] // groups)
            shape = (*pair, *layer["kernel"])
            make(f"{name}.weight", shape, 0, np.sqrt(6 / np.prod(shape[1:])))
            if layer["bias"]:
                make(f"{name}.bias", shape[1:2] if op == "conv_transpose2d" else shape[:1], 0, 0.1)
        elif op == "batch_norm":
            for suffix, low, spread in [("weight", 1, 0.2), ("bias", 0, 0.1), ("running_mean", 0, 0.1), ("running_var", 1, 0.2)]:
                make(f"{name}.{suffix}", (channels[name],), low, spread)
    return made


def forward(network, p, x, training):
    """Logits; in training the running statistics in `p` are updated."""
    values = {}
    for layer in network["layers"]:
        name, op = layer["name"], layer["op"]
        inputs = [values[i] for i in layer.get("inputs", [])]
        more = {k: layer[k] for k in ("stride", "padding", "dilation", "groups", "output_padding") if k in layer}
        if op == "input":
            y = x
        elif op == "conv2d":
            y = F.conv2d(inputs[0], p[f"{name}.weight"], p.get(f"{name}.bias"), **more)
        elif op == "depthwise_conv2d":
            y = F.conv2d(inputs[0], p[f"{name}.weight"], p.get(f"{name}.bias"), **more, groups=inputs[0].shape[1])
        elif op == "conv_transpose2d":
            more.setdefault("stride", layer["kernel"])
            y = F.conv_transpose2d(inputs[0], p[f"{name}.weight"], p.get(f"{name}.bias"), **more)
        elif op == "batch_norm":
            of = [p[f"{name}.{s}"] for s in ("running_mean", "running_var", "weight", "bias")]
            y = F.batch_norm(inputs[0], *of, training, layer["momentum"], layer["eps"])
        elif op == "max_pool":
            y = F.max_pool2d(inputs[0], layer["kernel"])
        else:
            y = {"relu": lambda: F.relu(inputs[0]), "concat": lambda: torch.cat(inputs, 1)}[op]()
        values[name] = y
    return values[network["output"]]


def doubles(initial):
    """Parameters for PyTorch; running statistics need no gradient."""
    p = {k: torch.from_numpy(v).double() for k, v in initial.items()}
    return p, {k: v.requires_grad_() for k, v in p.items() if "running" not in k}


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out = sys.argv[1] if len(sys.argv) > 1 else DATA / "shapes_step.safetensors"
    network = json.loads((DATA / "shapes_network.json").read_text())
    reference.ROWS, reference.COLUMNS = ROWS, COLUMNS
    classes = reference.target()
    onehot = np.stack([classes == c for c in range(CHANNELS)], 1).astype(np.float32)
    image = np.float32(0.5) * reference.uniform(1000, (BATCH, CHANNELS, ROWS, COLUMNS)) + np.float32(0.4) * onehot
    x, t, initial = torch.from_numpy(image).double(), torch.from_numpy(classes), parameters(network)

    tensors = {**initial, "input": image, "target": classes.astype(np.uint8)}
    p, trained = doubles(initial)
    tensors["eval.logits"] = forward(network, p, x, False).detach().numpy().astype(np.float32)
    loss = cross_entropy_dice(forward(network, p, x, True), t)
    loss.backward()
    tensors["loss"] = loss.detach().numpy().reshape(1)
    tensors |= {f"grad.{k}": v.grad.numpy().astype(np.float32) for k, v in trained.items()}
    tensors |= {f"after1.{k}": v.numpy().astype(np.float32) for k, v in p.items() if "running" in k}

    p, trained = doubles(initial)
    optimiser, losses = torch.optim.SGD(trained.values(), lr=0.05), []
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = cross_entropy_dice(forward(network, p, x, True), t)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    tensors["losses.sgd"] = np.array(losses)
    about = {"torch": torch.__version__, "script": "benchmarks/engine/make_shapes_step.py"}
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, out, about)
    print(f"{len(tensors)} tensors, losses {np.round(losses, 4)}")
    print("smallest of the largest gradients", min(float(np.abs(v.grad.numpy()).max()) for v in trained.values()))


if __name__ == "__main__":
    main()
