"""PyTorch's times of the shapes that `crates/segfit-engine/examples/conv_shapes.rs` measures, in milliseconds.

    python conv_shapes.py [THREADS]

forward is `conv(x)` with bias; data and weights are the two halves of `torch.ops.aten.convolution_backward` (weights with
the bias).
"""

import sys
import time

import torch

BATCH = 4
# Name, input and output channels, groups, kernel, stride, padding, dilation, size of the input, transposed.
CASES = [
    ("strided 3x3", 32, 64, 1, 3, 2, 1, 1, 128, False),
    ("strided 3x3", 128, 256, 1, 3, 2, 1, 1, 32, False),
    ("strided 1x1", 64, 128, 1, 1, 2, 0, 1, 64, False),
    ("stem 7x7", 3, 64, 1, 7, 2, 3, 1, 128, False),
    ("stem 3x3", 3, 16, 1, 3, 2, 1, 1, 128, False),
    ("depthwise 3x3", 64, 64, 64, 3, 1, 1, 1, 128, False),
    ("depthwise 5x5", 64, 64, 64, 5, 1, 2, 1, 64, False),
    ("depthwise 3x3", 256, 256, 256, 3, 1, 1, 1, 16, False),
    ("depthwise strided", 64, 64, 64, 3, 2, 1, 1, 128, False),
    ("grouped 3x3", 64, 64, 4, 3, 1, 1, 1, 64, False),
    ("dilated 3x3", 64, 64, 1, 3, 1, 4, 4, 64, False),
    ("valid 3x3", 64, 64, 1, 3, 1, 0, 1, 64, False),
    ("transposed 4x4", 64, 32, 1, 4, 2, 1, 1, 64, True),
    ("transposed 3x3", 64, 32, 1, 3, 2, 1, 1, 64, True),
]


def best(call):
    """Milliseconds of the fastest call in a fifth of a second."""
    fastest, total = float("inf"), 0.0
    while total < 0.2:
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
        fastest, total = min(fastest, seconds), total + seconds
    return fastest * 1e3


@torch.no_grad()
def measure(inputs, outputs, groups, kernel, stride, padding, dilation, size, transposed):
    shape = (inputs, outputs // groups) if transposed else (outputs, inputs // groups)
    x, weight, bias = torch.rand(BATCH, inputs, size, size), torch.rand(*shape, kernel, kernel), torch.rand(outputs)
    more = [kernel % 2 if transposed else 0] * 2
    options = ([stride] * 2, [padding] * 2, [dilation] * 2, transposed, more, groups)
    forward = lambda: torch.ops.aten.convolution(x, weight, bias, *options)
    dy = torch.rand_like(forward())
    backward = lambda *wanted: torch.ops.aten.convolution_backward(dy, x, weight, [outputs], *options, wanted)
    return best(forward), best(lambda: backward(True, False, False)), best(lambda: backward(False, True, True))


def main():
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, batch {BATCH}; milliseconds, the best of many")
    print(f"{'shape':>40} {'forward':>9} {'data':>9} {'weights':>9}")
    for name, *case in CASES:
        times = measure(*case)
        print(f"{f'{name} {case[0]}->{case[1]} at {case[7]}':>40} " + " ".join(f"{t:9.3f}" for t in times), flush=True)


if __name__ == "__main__":
    main()
