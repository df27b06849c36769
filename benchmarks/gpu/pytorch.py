"""Times training steps or inferences of the reference U-Net in PyTorch on a GPU, in many ways, to find its best.

    python pytorch.py --points train:w16:b16:s256 infer:w4:b1:s256 [--ways eager compile ...] [--numbers f32 tf32 bf16] [--device cuda]

Prints one JSON line for each point, way and kind of numbers: `ms.min` and `ms.median` of blocks of steps, per step, and
`copied_ms` with images (and targets, or logits) copied for every step, as segfit does, but from pinned memory; or `error` where a way does
not run. In inference bf16 is a network of bf16 weights, in training autocast. A training step is forward, loss, backward, AdamW. Data lie on the device otherwise.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "engine"))
from pytorch_step import parse_point  # noqa: E402
from pytorch_unet import UNet, cross_entropy_dice, parameter_groups  # noqa: E402

WAYS = ["eager", "channels_last", "graph", "channels_last_graph", "compile", "compile_graph", "channels_last_compile_graph"]
NUMBERS = ["f32", "tf32", "bf16"]
BLOCK = 10


class Case:
    """A network, its images and the step that is timed."""

    def __init__(self, point, way, numbers, device):
        self.mode, width, batch, size = point
        self.device, self.way = device, way
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = numbers == "tf32"
        torch.backends.cudnn.benchmark = True
        torch._dynamo.reset()
        torch.manual_seed(0)
        model = UNet(width, 1, 2).to(device)
        self.is_bf16 = numbers == "bf16"
        on_host = torch.randn(batch, 1, size, size)
        self.images, self.targets = on_host.to(device), (on_host[:, 0] > 0).long().to(device)
        if self.is_bf16 and self.mode == "infer":
            model, self.images = model.bfloat16(), self.images.bfloat16()
        if "channels_last" in way:
            model, self.images = (v.to(memory_format=torch.channels_last) for v in (model, self.images))
        self.on_host = [self.pinned(values) for values in (self.images, self.targets)]
        self.params = sum(p.numel() for p in model.parameters())
        self.model = model.train(self.mode == "train")
        self.step = self.training() if self.mode == "train" else self.inference()

    def pinned(self, values):
        copy = values.cpu()
        return copy.pin_memory() if self.device == "cuda" else copy

    def numbers(self):
        """Autocast in training with bf16."""
        return torch.autocast(self.device, torch.bfloat16) if self.is_bf16 else contextlib.nullcontext()

    def compiled(self, function):
        if "compile" not in self.way:
            return function
        return torch.compile(function, mode="reduce-overhead" if self.way.endswith("graph") else None)

    def training(self):
        captured = self.way.endswith("graph") and self.device == "cuda"
        fused = {"fused": True, "capturable": captured} if self.device == "cuda" else {}
        optimiser = torch.optim.AdamW(parameter_groups(self.model, 1e-4), lr=1e-3, **fused)

        def loss(images, targets):
            with self.numbers():
                logits = self.model(images)
            return cross_entropy_dice(logits.float(), targets)

        loss = self.compiled(loss)

        def step():
            optimiser.zero_grad(set_to_none=True)
            value = loss(self.images, self.targets)
            value.backward()
            optimiser.step()
            return value

        return self.captured(step)

    def inference(self):
        model = self.compiled(self.model)

        def step():
            with torch.inference_mode():
                return model(self.images)

        return self.captured(step)

    def captured(self, step):
        """The step as a CUDA graph of its own, where that is asked for."""
        if self.way not in ("graph", "channels_last_graph"):
            return step
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = step()

        def replay():
            graph.replay()
            return out

        return replay

    def wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def copied_step(self):
        images, targets = self.on_host
        self.images.copy_(images, non_blocking=True)
        if self.mode == "train":
            self.targets.copy_(targets, non_blocking=True)
        out = self.step()
        return out.item() if self.mode == "train" else out.cpu()

    def times(self, step, seconds):
        """Milliseconds per step, of blocks."""
        for _ in range(5):
            step()
        self.wait()
        times, begin = [], time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            for _ in range(BLOCK):
                step()
            self.wait()
            times.append((time.perf_counter() - start) * 1e3 / BLOCK)
        return times


def measured(point, way, numbers, device, seconds):
    try:
        case = Case(point, way, numbers, device)
        times = case.times(case.step, seconds)
        copied = min(case.times(case.copied_step, seconds / 2))
        return {"ms": {"min": min(times), "median": statistics.median(times)}, "copied_ms": copied, "params": case.params}
    except Exception as error:  # a way that this PyTorch or GPU lacks
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", nargs="+", required=True)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--numbers", nargs="+", choices=NUMBERS, default=NUMBERS)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--seconds", type=float, default=1.0, help="time spent on each, about")
    args = parser.parse_args()
    for text in args.points:
        for way in args.ways:
            for numbers in args.numbers:
                row = {"point": text, "way": way, "numbers": numbers, "torch": torch.__version__}
                row |= measured(parse_point(text), way, numbers, args.device, args.seconds)
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
