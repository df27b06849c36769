"""Writes the losses of 20 steps of a wider U-Net that the engine's tests compare with.

    python make_reference_losses.py [OUT]      (default: crates/segfit-engine/tests/data/unet_losses.json)

As `make_reference_step.py`, whose formulas give weights and input, with base width 16, depth 3 and 2 x 3 x 64 x 64 pixels:
wide enough for every form of convolution that the engine chooses from. Computed in float64; also in float32, whose largest
relative difference is the scale of a fair tolerance. Rounding grows with the steps, so the rates are small: SGD 0.01 (with 0.05
PyTorch's own float32 is off by 1e-3 after 20 steps), AdamW 2e-4.
"""

import json
import sys
from pathlib import Path

import torch

import make_reference_step as step

RATES = {"AdamW": 2e-4, "SGD": 0.01}
step.WIDTH, step.DEPTH, step.ROWS, step.COLUMNS = 16, 3, 64, 64


def losses(dtype, optimiser):
    t = torch.from_numpy(step.target())
    onehot = torch.stack([t == c for c in range(step.CHANNELS)], 1).numpy().astype("float32")
    image = 0.5 * step.uniform(1000, (step.BATCH, step.CHANNELS, step.ROWS, step.COLUMNS)) + 0.4 * onehot
    model = step.build(dtype)
    optimiser = optimiser(model)
    for group in optimiser.param_groups:
        group["lr"] = RATES[type(optimiser).__name__]
    return step.run(model, optimiser, torch.from_numpy(image.astype("float32")).to(dtype), t, step.STEPS)


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else step.OUT.with_name("unet_losses.json")
    result = {"width": step.WIDTH, "depth": step.DEPTH, "rows": step.ROWS, "columns": step.COLUMNS}
    for name, optimiser in [("adamw", step.adamw), ("sgd", step.sgd)]:
        double, single = losses(torch.float64, optimiser), losses(torch.float32, optimiser)
        result[name] = double
        result[f"{name}_float32_difference"] = max(abs(a - b) / a for a, b in zip(double, single))
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(out.read_text())


if __name__ == "__main__":
    main()
