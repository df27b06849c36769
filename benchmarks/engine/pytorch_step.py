"""Times one training step or one inference of the reference U-Net in PyTorch or ONNX Runtime.

    python pytorch_step.py                              the points of the engine's table, eager
    python pytorch_step.py --engine channels_last --points infer:w4:b1:s256
    python pytorch_step.py --write-onnx unet.onnx --points infer:w4:b1:s256      no timing: the network for other engines

Prints one JSON line per point: `engine`, `point`, `ms.min`, `ms.median`, `n`, `peak_bytes` (largest resident set of the
process so far, so use one process per point to compare memory) and `library_bytes` (the part of it that importing the
library alone takes), `params`. A training step is forward, loss, backward, AdamW. Images have one channel, there are two classes.
`onnxruntime` has the settings of a new session, `onnxruntime_tuned` the fastest of one thread up to `--threads`, with spinning
threads and all graph optimisations; it says which in `settings`.
"""

import argparse
import importlib
import io
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

POINTS = ["train:w64:b1:s256", "train:w16:b4:s128", "train:w8:b4:s256", "train:w4:b8:s128", "train:w2:b8:s128"]
POINTS += ["infer:w64:b1:s256", "infer:w16:b1:s256", "infer:w4:b1:s256", "infer:w2:b1:s256"]
PYTORCH = ["eager", "channels_last", "compile"]
ONNX_RUNTIME = ["onnxruntime", "onnxruntime_tuned"]
ENGINES = PYTORCH + ONNX_RUNTIME


def parse_point(text):
    """`train:w16:b4:s128` -> (mode, width, batch, size)."""
    mode, width, batch, size = text.split(":")
    if mode not in ("train", "infer") or (width[0], batch[0], size[0]) != ("w", "b", "s"):
        raise argparse.ArgumentTypeError(f"expected for example train:w16:b4:s128, got {text}")
    return mode, int(width[1:]), int(batch[1:]), int(size[1:])


def build(engine, width, batch, size, threads):
    import torch
    from pytorch_unet import UNet

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = UNet(width, 1, 2)
    x = torch.randn(batch, 1, size, size)
    t = (x[:, 0] > 0).long()
    if engine == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    return model, x, t


def training_step(engine, width, batch, size, threads):
    import torch
    from pytorch_unet import cross_entropy_dice, parameter_groups

    model, x, t = build(engine, width, batch, size, threads)
    model.train()
    optimiser = torch.optim.AdamW(parameter_groups(model, 1e-4), lr=1e-3)
    forward_loss = lambda x, t: cross_entropy_dice(model(x), t)
    if engine == "compile":
        forward_loss = torch.compile(forward_loss)

    def step():
        optimiser.zero_grad()
        forward_loss(x, t).backward()
        optimiser.step()

    return step, sum(p.numel() for p in model.parameters())


def inference(engine, width, batch, size, threads):
    import torch

    model, x, _ = build(engine, width, batch, size, threads)
    params = sum(p.numel() for p in model.parameters())
    model.eval()
    if engine == "compile":
        model = torch.compile(model)

    def step():
        with torch.inference_mode():
            model(x)

    return step, params


def onnx_bytes(width, batch, size):
    """The network as ONNX and its parameters (made in another process, so that PyTorch's memory is not counted)."""
    import torch
    from pytorch_unet import UNet

    torch.manual_seed(0)
    out, model = io.BytesIO(), UNet(width, 1, 2).eval()
    torch.onnx.export(model, (torch.randn(batch, 1, size, size),), out, dynamo=False, opset_version=17)
    return out.getvalue(), sum(p.numel() for p in model.parameters())


def onnxruntime_inference(model, batch, size, threads, tuned):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if tuned:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    x = np.random.default_rng(0).standard_normal((batch, 1, size, size), np.float32)
    return lambda: session.run(None, {name: x})


def onnxruntime_times(engine, point, threads, seconds):
    """Milliseconds of each call, what was set, and the parameters."""
    import multiprocessing

    _, width, batch, size = point
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        model, params = pool.apply(onnx_bytes, (width, batch, size))
    if engine == "onnxruntime":
        return measure(onnxruntime_inference(model, batch, size, threads, False), seconds), {"threads": threads}, params
    tried = []
    for n in range(1, threads + 1):
        ms = measure(onnxruntime_inference(model, batch, size, n, True), seconds / threads)
        tried.append((min(ms), ms, {"threads": n, "spinning": True, "optimisations": "all"}))
    _, ms, settings = min(tried, key=lambda t: t[0])
    return ms, settings, params


def largest_resident_bytes():
    """VmHWM of this process (Linux)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def measure(step, seconds, warm_up=2, least=3):
    """Milliseconds of each call, for about `seconds`, at least `least` calls."""
    for _ in range(warm_up):
        step()
    times = []
    begin = time.perf_counter()
    while len(times) < least or time.perf_counter() - begin < seconds:
        t = time.perf_counter()
        step()
        times.append((time.perf_counter() - t) * 1e3)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENGINES, default="eager")
    parser.add_argument("--points", nargs="+", default=POINTS)
    parser.add_argument("--write-onnx", type=Path, metavar="FILE")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="time spent on each point, about")
    args = parser.parse_args()
    points = [(text, parse_point(text)) for text in args.points]
    if args.write_onnx:
        model, params = onnx_bytes(*points[0][1][1:])
        args.write_onnx.write_bytes(model)
        print(json.dumps({"params": params}))
        return
    importlib.import_module("onnxruntime" if args.engine in ONNX_RUNTIME else "torch")
    library = largest_resident_bytes()
    for text, point in points:
        mode, width, batch, size = point
        row = {"engine": args.engine, "point": text, "threads": args.threads}
        if args.engine in ONNX_RUNTIME:
            if mode == "train":
                print(f"skipped {text}: ONNX Runtime is compared in inference only", file=sys.stderr)
                continue
            ms, settings, params = onnxruntime_times(args.engine, point, args.threads, args.seconds)
            row |= {"settings": settings}
        else:
            step, params = (training_step if mode == "train" else inference)(args.engine, width, batch, size, args.threads)
            ms = measure(step, args.seconds)
        row |= {"n": len(ms), "params": params, "peak_bytes": largest_resident_bytes(), "library_bytes": library}
        print(json.dumps(row | {"ms": {"min": min(ms), "median": statistics.median(ms)}}), flush=True)


if __name__ == "__main__":
    main()
