"""Writes the reference training step that the engine's tests compare with.

    python make_reference_step.py [OUT]      (default: crates/segfit-engine/tests/data/unet_step.safetensors)

The network is `pytorch_unet.UNet` of base width 4 and depth 2, 3 channels in, 3 classes; the input is 2 x 3 x 16 x 24.

Formulas of the initial values. u(t, i) is the i-th number (in memory order) of tensor number t, uniform in [-1, 1):
    z = (t * 2^32 + i + 1) * 0x9E3779B97F4A7C15;  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9
    z = (z ^ z >> 27) * 0x94D049BB133111EB;       z = z ^ z >> 31          (all modulo 2^64: SplitMix64)
    u = (z >> 40) / 2^23 - 1
Tensors are numbered in the order of `state_dict()` without `num_batches_tracked`, from 0; the input is number 1000.
    convolution weights         u * sqrt(6 / (elements of one output filter: shape[1] * kernel area))
    biases of convolutions      0.1 u
    batch norm weight           1 + 0.2 u           batch norm bias             0.1 u
    running_mean                0.1 u               running_var                 1 + 0.2 u
    target                      class 1 in a disc, class 2 in a rectangle (it covers the disc), else 0; see `target()`
    input                       0.5 u + 0.4 * (class == channel)

Optimisers: AdamW lr 1e-3, betas .9 and .999, eps 1e-8, decay 1e-4 on the convolution weights only; SGD lr 0.05, plain.
"""

import copy
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from pytorch_unet import UNet, cross_entropy_dice, parameter_groups

WIDTH, DEPTH, CHANNELS, CLASSES = 4, 2, 3, 3
BATCH, ROWS, COLUMNS = 2, 16, 24
STEPS = 20
ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "crates/segfit-engine/tests/data/unet_step.safetensors"


def uniform(number, shape):
    """u(number, 0..n) in `shape`, float32, exact."""
    with np.errstate(over="ignore"):
        i = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) + np.uint64(number << 32)
        z = i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) / 2**23 - 1).astype(np.float32).reshape(shape)


def initial_value(number, name, shape):
    u = uniform(number, shape)
    if len(shape) == 4:
        return u * np.float32(np.sqrt(6 / np.prod(shape[1:])))
    norm = ".norm" in name
    if name.endswith("running_var") or (norm and name.endswith(".weight")):
        return 1 + np.float32(0.2) * u
    return np.float32(0.1) * u


def target():
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    out = np.zeros((BATCH, ROWS, COLUMNS), np.int64)
    for n in range(BATCH):
        out[n][(rows - 6 - 2 * n) ** 2 + (columns - 7 - 5 * n) ** 2 <= 20] = 1
        out[n][(rows >= 9 - 5 * n) & (rows < 13 - 5 * n) & (columns >= 13 - 10 * n) & (columns < 22 - 10 * n)] = 2
    return out


def build(dtype):
    model = UNet(WIDTH, CHANNELS, CLASSES, DEPTH)
    names = [n for n in model.state_dict() if not n.endswith("num_batches_tracked")]
    state = {n: torch.from_numpy(initial_value(t, n, tuple(model.state_dict()[n].shape))) for t, n in enumerate(names)}
    model.load_state_dict(state, strict=False)
    return model.to(dtype).train()


def adamw(model):
    return torch.optim.AdamW(parameter_groups(model, 1e-4), lr=1e-3, betas=(0.9, 0.999), eps=1e-8)


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.05)


def run(model, optimiser, x, t, steps):
    """Losses before each step."""
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = cross_entropy_dice(model(x), t)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def state(model):
    return {n: v.detach().numpy().copy() for n, v in model.state_dict().items() if not n.endswith("num_batches_tracked")}


@torch.no_grad()
def evaluate(model, x):
    return copy.deepcopy(model).eval()(x).numpy()


def reference(dtype):
    """Everything computed in `dtype`, as numpy arrays by name."""
    t = torch.from_numpy(target())
    onehot = np.stack([(target() == c) for c in range(CHANNELS)], 1).astype(np.float32)
    image = np.float32(0.5) * uniform(1000, (BATCH, CHANNELS, ROWS, COLUMNS)) + np.float32(0.4) * onehot
    x = torch.from_numpy(image).to(dtype)

    model = build(dtype)
    out = {**state(model), "input": x.numpy(), "target": t.numpy().astype(np.uint8)}
    out["eval.initial.logits"] = evaluate(model, x)

    logits = model(x)
    loss = cross_entropy_dice(logits, t)
    loss.backward()
    out["logits"], out["loss"] = logits.detach().numpy(), loss.detach().numpy().reshape(1)
    out |= {f"grad.{n}": p.grad.numpy().copy() for n, p in model.named_parameters()}
    out["eval.updated_stats.logits"] = evaluate(model, x)

    stepped = build(dtype)
    run(stepped, adamw(stepped), x, t, 1)
    out |= {f"after1.{n}": v for n, v in state(stepped).items()}

    for name, make in [("adamw", adamw), ("sgd", sgd)]:
        model = build(dtype)
        out[f"losses.{name}"] = np.array(run(model, make(model), x, t, STEPS), np.float64)
    return out


def feeds_norm(name):
    """Biases that batch norm subtracts again: their gradient is rounding noise, and AdamW's first step its sign."""
    return name.endswith(".bias") and ".conv" in name


def difference(single, double):
    """What float32 itself differs from float64: the scale of a fair tolerance."""
    def worst(keys, relative):
        return max(np.abs(single[k] - double[k]).max() / (np.abs(double[k]).max() if relative else 1) for k in keys)

    grads = [k for k in single if k.startswith("grad.")]
    after = [k for k in single if k.startswith("after1.") and "running" not in k]
    return {
        "logits, training mode": worst(["logits"], False),
        "logits, evaluation mode": worst(["eval.initial.logits", "eval.updated_stats.logits"], False),
        "loss": worst(["loss"], False),
        "gradients, relative to each tensor's largest": worst([k for k in grads if not feeds_norm(k)], True),
        "gradients of biases before batch norm (true value 0)": worst([k for k in grads if feeds_norm(k)], False),
        "running statistics": worst([k for k in single if k.startswith("after1.") and "running" in k], False),
        "parameters after one AdamW step": worst([k for k in after if not feeds_norm(k)], False),
        "biases before batch norm after one AdamW step": worst([k for k in after if feeds_norm(k)], False),
        "losses of 20 AdamW steps": worst(["losses.adamw"], False),
        "losses of 20 SGD steps": worst(["losses.sgd"], False),
    }


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    single, double = reference(torch.float32), reference(torch.float64)
    tensors = {k: v.astype(np.float64) if k.startswith("losses.") else v for k, v in single.items()}
    for k, v in double.items():
        if k.startswith("grad."):
            tensors[f"f64.{k}"] = v.astype(np.float32)  # computed in float64, rounded once
        elif k == "loss" or k.startswith("losses."):
            tensors[f"f64.{k}"] = v
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, out, {"torch": torch.__version__, "script": "benchmarks/engine/make_reference_step.py"})
    print(f"{out.name}: {len(tensors)} tensors, {out.stat().st_size} bytes")
    print("loss", single["loss"], double["loss"])
    for name in ["losses.adamw", "losses.sgd"]:
        print(name, np.round(single[name], 4))
    print("largest difference of float32 from float64:")
    for what, value in difference(single, double).items():
        print(f"| {what} | {value:.1e} |")


if __name__ == "__main__":
    main()
