"""Compares `segfit network cost` with plain PyTorch models of every family: parameters, and multiply-accumulates by fvcore.

    python benchmarks/networks/counts.py target/release/segfit [--check]

Every family is built at its full width and at a narrow one, each for two image sizes. Parameters must be equal, MACs (of
convolutions, ordinary and transposed) within 0.1%. Writes counts.md beside this script; with --check it writes nothing. Needs
torch and fvcore.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from fvcore.nn import FlopCountAnalysis
from reference_models import MODELS

CHANNELS, CLASSES, NARROW, SIZES = 3, 2, 12, (64, 256)


def reference(model, size):
    """Parameters of a PyTorch model, and MACs of its convolutions as fvcore counts them in the traced graph."""
    analysis = FlopCountAnalysis(model.eval(), torch.zeros(1, CHANNELS, size, size))
    analysis.unsupported_ops_warnings(False)
    return sum(p.numel() for p in model.parameters()), int(analysis.by_operator()["conv"])


def segfit(program, family, width, size):
    options = ["--channels", CHANNELS, "--classes", CLASSES, "--width", width, "--size", size]
    command = [program, "network", "cost", "--network", family, *map(str, options), "--json"]
    cost = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return cost["params"], cost["macs"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the segfit program")
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()

    rows, wrong = [], []
    for family, (build, full) in MODELS.items():
        for width in (full, NARROW):
            model = build(CHANNELS, CLASSES, width)
            for size in SIZES:
                params, macs = reference(model, size)
                got_params, got_macs = segfit(args.program, family, width, size)
                difference = (got_macs - macs) / macs
                if got_params != params or abs(difference) > 1e-3:
                    wrong.append(f"{family} width {width} size {size}: {got_params} and {got_macs}, "
                                 f"reference {params} and {macs}")
                row = [family, width, size, params, got_params, macs, got_macs, f"{difference:+.4%}"]
                rows.append([f"{v:,}" if isinstance(v, int) else v for v in row])
                print(*rows[-1], flush=True)

    head = ["family", "width", "size", "parameters, PyTorch", "segfit", "MACs, fvcore", "segfit", "difference"]
    table = ["| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * 3 + ["---:"] * 5] + rows]
    text = (
        "# Parameters and multiply-accumulates of the families\n\n"
        f"`segfit network cost` against the PyTorch models of `reference_models.py`, RGB images, {CLASSES} classes. Parameters "
        "must be\nequal, MACs of the convolutions within 0.1%; fvcore finds them in the traced graph. Made by `counts.py`.\n\n"
        + "\n".join(table) + "\n"
    )
    if not args.check:
        Path(__file__).with_name("counts.md").write_text(text)
    print(f"{len(rows) - len(wrong)} of {len(rows)} agree", *wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
