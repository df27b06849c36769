"""Writes what PyTorch gives for every operation that is neither a convolution nor batch norm.

    python make_ops_reference.py [OUT]      (default: crates/segfit-engine/tests/data/ops.safetensors)

Every case is a layer as a network file writes it, run on three small inputs of odd shapes. The values of the first input are
multiples of 1/2, so that corners of activations and ties of pooling occur; those of the others are not. Everything is computed
in float64 from float32 numbers and rounded to float32. The formula of the numbers is that of `make_reference_step.py`.

    cases (metadata)                 [{"name", "layer", "shapes": [{"xs", "own", "y"}]}], shapes as batch x channels x rows x columns
    x.SHAPE, gate.SHAPE, dy.SHAPE    inputs (a further one of Add or Mul is a gate) and gradients of outputs
    own.CASE.SHAPE                   the layer's parameters, one after the other
    CASE.SHAPE.y|dx0|dx1|own         output and gradients; SHAPE is that of the first input
"""

import json
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from torch.nn import functional as F

import make_reference_step as reference

OUT = reference.ROOT / "crates/segfit-engine/tests/data/ops.safetensors"
SHAPES = [(2, 4, 4, 5), (1, 2, 4, 19), (3, 2, 7, 3)]

ACTIVATIONS = {
    "relu": F.relu,
    "elu": F.elu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": F.silu,
    "hard_sigmoid": F.hardsigmoid,
    "hard_swish": F.hardswish,
}
POOLS = [
    ([2, 2], [], [0, 0]),
    ([3, 3], [2, 2], [1, 1]),
    ([3, 2], [1, 3], [1, 0]),
    ([2, 3], [2, 1], [1, 1]),
]
MODES = {"nearest": ("nearest", None), "bilinear": ("bilinear", False), "bilinear_corners": ("bilinear", True)}


def cases():
    """(name, layer, function of x, gate and parameters, shape of the gate, number of parameters) for each case."""
    one = lambda name, layer, f: (name, layer, lambda x, g, p: f(x), None, lambda c: 0)
    for name, f in ACTIVATIONS.items():
        yield one(name, {"op": name}, f)
    for slope in (0.1, -0.5):
        yield one(f"leaky_relu_{slope}", {"op": "leaky_relu", "slope": slope}, lambda x, s=slope: F.leaky_relu(x, s))
    yield one("relu6", {"op": "clamp", "low": 0.0, "high": 6.0}, F.relu6)
    yield one("clamp", {"op": "clamp", "low": -1.5, "high": 2.0}, lambda x: x.clamp(-1.5, 2.0))
    for shared in (False, True):
        yield (f"prelu_{shared}", {"op": "prelu", "shared": shared}, lambda x, g, p: F.prelu(x, p), None,
               lambda c, s=shared: 1 if s else c)
    affine = lambda c: 2 * c
    halves = lambda p: (p[: len(p) // 2], p[len(p) // 2 :])
    yield one("instance_norm", {"op": "instance_norm", "eps": 1e-5, "affine": False}, lambda x: F.instance_norm(x, eps=1e-5))
    yield ("instance_norm_affine", {"op": "instance_norm", "eps": 1e-3, "affine": True},
           lambda x, g, p: F.instance_norm(x, None, None, *halves(p), eps=1e-3), None, affine)
    for groups in (1, 2):
        yield (f"group_norm_{groups}", {"op": "group_norm", "groups": groups, "eps": 1e-5},
               lambda x, g, p, n=groups: F.group_norm(x, n, *halves(p), eps=1e-5), None, affine)
    for i, (kernel, stride, padding) in enumerate(POOLS):
        layer = {"kernel": kernel, "stride": stride, "padding": padding}
        more = (kernel, stride or kernel, padding)
        yield one(f"max_pool_{i}", {"op": "max_pool", **layer}, lambda x, m=more: F.max_pool2d(x, *m))
        for count in (False, True) if padding != [0, 0] else (False,):
            yield one(f"average_pool_{i}_{count}", {"op": "average_pool", **layer, "count_padding": count},
                      lambda x, m=more, c=count: F.avg_pool2d(x, *m, count_include_pad=c))
    yield one("global_average_pool", {"op": "global_average_pool"}, lambda x: x.mean((2, 3), keepdim=True))
    for interpolation, (mode, corners) in MODES.items():
        for factor in ([2, 2], [3, 1], [1, 4]):
            size = lambda x, f=factor: (x.shape[2] * f[0], x.shape[3] * f[1])
            yield one(f"upsample_{interpolation}_{factor[0]}{factor[1]}",
                      {"op": "upsample", "factor": factor, "interpolation": interpolation},
                      lambda x, s=size, m=mode, c=corners: F.interpolate(x, s(x), mode=m, align_corners=c))
    before, after = [1, 2], [3, 0]
    for mode, name in (("zero", "constant"), ("replicate", "replicate"), ("reflect", "reflect")):
        yield one(f"pad_{mode}", {"op": "pad", "before": before, "after": after, "mode": mode},
                  lambda x, n=name: F.pad(x, (before[1], after[1], before[0], after[0]), mode=n))
    full, pixel, channel = lambda s: s, lambda s: (*s[:2], 1, 1), lambda s: (s[0], 1, *s[2:])
    yield ("add", {"op": "add"}, lambda x, g, p: x + g, full, lambda c: 0)
    single = lambda s: (s[0], 1, 1, 1)
    for name, gate in (("full", full), ("pixel", pixel), ("channel", channel), ("single", single)):
        yield (f"mul_{name}", {"op": "mul"}, lambda x, g, p: x * g, gate, lambda c: 0)


def named(shape):
    return "x".join(map(str, shape))


def main():
    torch.set_num_threads(1)
    out = sys.argv[1] if len(sys.argv) > 1 else OUT
    tensors, listed = {}, []

    def given(name, shape, scale, step=0):
        """The stored tensor of this name, made when it is first asked for."""
        if name not in tensors:
            u = np.float32(scale) * reference.uniform(len(tensors), shape)
            tensors[name] = (np.round(u / step) * step if step else u).astype(np.float32)
        return torch.from_numpy(tensors[name]).double().requires_grad_()

    for case, layer, f, gate, count in cases():
        shapes = []
        for k, shape in enumerate(SHAPES):
            x = given(f"x.{named(shape)}", shape, 8 if k == 0 else 4, 0.5 if k == 0 else 0)
            g = gate and given(f"gate.{named(gate(shape))}", gate(shape), 2)
            p = given(f"own.{case}.{named(shape)}", (count(shape[1]),), 1.5) if count(shape[1]) else None
            y = f(x, g, p)
            (y * given(f"dy.{named(y.shape)}", y.shape, 1).detach()).sum().backward()
            results = {"y": y, "dx0": x.grad, "dx1": g.grad if gate else None, "own": None if p is None else p.grad}
            for key, value in results.items():
                if value is not None:
                    tensors[f"{case}.{named(shape)}.{key}"] = value.detach().numpy().astype(np.float32)
            xs = [list(shape)] + ([list(gate(shape))] if gate else [])
            shapes.append({"xs": xs, "own": count(shape[1]), "y": list(y.shape)})
        listed.append({"name": case, "layer": layer, "shapes": shapes})
    about = {"torch": torch.__version__, "script": "benchmarks/engine/make_ops_reference.py", "cases": json.dumps(listed)}
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, out, about)
    print(f"{len(listed)} cases, {len(tensors)} tensors")


if __name__ == "__main__":
    main()
