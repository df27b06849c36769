"""Networks of others through segfit and back, checked with ONNX Runtime.

    python round_trip.py SEGFIT RUN_NETWORK [--only TEXT] [--work DIR]

SEGFIT is the program, RUN_NETWORK the engine's example of that name. Each network of models.py gets random weights and random
running statistics and is exported by PyTorch in two ways: with the current exporter (dynamo, image of 64 x 64) and with
the older one (rows and columns left open). Then

1. `segfit network import` reads the file, `segfit network export` writes it again: both files must give the same output in
   ONNX Runtime, at 64 x 64 and, where the file allows it, at 128 x 96;
2. the engine runs the imported network: the same output;
3. `segfit network narrow --multiplier 0.5`, random weights, export: ONNX Runtime runs it at both sizes, and the engine gives
   the same output.

Differences are the largest one divided by the largest magnitude of the original's output. Writes round_trip.md.
"""

import argparse
import json
import logging
import re
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

import models

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
HERE = Path(__file__).resolve().parent
SIZES = [(64, 64), (128, 96)]
LIMIT = 1e-4


def export(net, channels, path, exporter):
    image = torch.randn(1, channels, *SIZES[0])
    with torch.no_grad():
        if exporter == "dynamo":
            torch.onnx.export(net, (image,), dynamo=True, verbose=False, input_names=["image"]).save(path, external_data=False)
        else:
            torch.onnx.export(net, (image,), path, dynamo=False, input_names=["image"],
                              dynamic_axes={"image": {0: "batch", 2: "rows", 3: "columns"}})


def run_onnx(path, image):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def is_open(path):
    dims = onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape.dim
    return not dims[2].dim_value


def difference(expected, got):
    if expected.shape != got.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(expected - got).max() / np.abs(expected).max())


class Refused(Exception):
    pass


class Tools:
    def __init__(self, segfit, runner, folder):
        self.segfit, self.runner, self.folder = segfit, runner, folder

    def call(self, *words):
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
        if done.returncode:
            raise Refused(done.stderr.strip().replace(str(self.folder) + "/", ""))
        return done.stdout

    def engine(self, network, weights, image, classes):
        source, result = self.folder / "image.raw", self.folder / "logits.raw"
        image.astype("<f4").tofile(source)
        rows, columns = image.shape[2:]
        self.call(self.runner, "run", network, weights, rows, columns, source, result)
        return np.fromfile(result, "<f4").reshape(1, classes, -1)


def check(tools, name, exporter):
    """One row of the table."""
    folder = tools.folder
    net, channels = models.build(name)
    source, again = folder / "source.onnx", folder / "again.onnx"
    network, weights = folder / "network.json", folder / "network.safetensors"
    half, half_weights, half_onnx = folder / "half.json", folder / "half.safetensors", folder / "half.onnx"
    row = {"network": name, "exporter": exporter}
    try:
        export(net, channels, str(source), exporter)
    except Exception as e:  # The exporters raise all kinds of errors.
        return row | {"result": f"not exported: {type(e).__name__}"}
    try:
        report = json.loads(tools.call(tools.segfit, "network", "import", source, "--out", network, "--json"))
    except Refused as e:
        return row | {"result": "refused: " + e.args[0].split("found ", 1)[-1].split("\nhint")[0]}
    row |= {k: report[k] for k in ("opset", "params", "layers", "groups", "free_groups", "notes")}
    tools.call(tools.segfit, "network", "export", network, "--weights", weights, "--out", again)
    tools.call(tools.segfit, "network", "narrow", "--network", network, "--multiplier", "0.5", "--out", half)
    tools.call(tools.runner, "random", half, half_weights, "1")
    tools.call(tools.segfit, "network", "export", half, "--weights", half_weights, "--out", half_onnx)
    row["half_params"] = json.loads(tools.call(tools.segfit, "network", "cost", "--network", half, "--json"))["params"]
    sigmoid = any("sigmoid at the end" in note for note in report["notes"])
    finish = (lambda x: 1 / (1 + np.exp(-x.astype(np.float64)))) if sigmoid else (lambda x: x)
    worst = {"file": 0.0, "engine": 0.0, "half": 0.0}
    for size in SIZES if is_open(source) else SIZES[:1]:
        image = np.random.default_rng(7).standard_normal((1, channels, *size)).astype(np.float32)
        expected = run_onnx(source, image)
        worst["file"] = max(worst["file"], difference(expected, finish(run_onnx(again, image))))
        narrow = run_onnx(half_onnx, image)
        if narrow.shape != expected.shape:
            return row | {"result": f"half: shape {narrow.shape} instead of {expected.shape}"}
        flat = lambda x: x.reshape(1, x.shape[1], -1)
        for key, reference, spec, values, ending in [
            ("engine", flat(expected), network, weights, finish),
            ("half", flat(narrow), half, half_weights, lambda x: x),
        ]:
            try:
                got = ending(tools.engine(spec, values, image, expected.shape[1]))
            except Refused as e:
                worst[key] = f"engine: {e.args[0].splitlines()[-1][:120]}"
                continue
            if not isinstance(worst[key], str):
                worst[key] = max(worst[key], difference(reference, got))
    numbers = [v for v in worst.values() if not isinstance(v, str)]
    good = len(numbers) == 3 and max(numbers) <= LIMIT
    return row | worst | {"result": "works" if good else "differs" if numbers and max(numbers) > LIMIT else "engine refuses"}


def table(rows):
    lines = ["| network | exporter | opset | parameters | layers | groups (free) | file | engine | half: parameters | half: engine | result |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    show = lambda v: v if isinstance(v, str) else "" if v is None else f"{v:.1e}"
    for r in rows:
        counts = [r.get("opset", ""), f"{r['params']:,}" if "params" in r else "", r.get("layers", "")]
        counts.append(f"{r['groups']} ({r['free_groups']})" if "groups" in r else "")
        half = f"{r['half_params']:,}" if "half_params" in r else ""
        cells = [r["network"], r["exporter"], *counts, show(r.get("file")), show(r.get("engine")), half, show(r.get("half"))]
        lines.append("| " + " | ".join(str(c).replace("|", "/") for c in [*cells, r["result"].replace("\n", " ")]) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segfit", type=Path)
    parser.add_argument("run_network", type=Path)
    parser.add_argument("--only", default="", help="only networks whose name has this text; round_trip.md is not written")
    parser.add_argument("--work", type=Path, help="folder to keep the files in")
    options = parser.parse_args()
    rows = []
    for name in models.MODELS:
        if options.only.lower() not in name.lower():
            continue
        for exporter in ("dynamo", "older"):
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                if options.work:
                    folder = options.work / re.sub(r"\W+", "_", f"{name} {exporter}")
                    folder.mkdir(parents=True, exist_ok=True)
                tools = Tools(options.segfit.resolve(), options.run_network.resolve(), folder)
                rows.append(check(tools, name, exporter))
            print({k: v for k, v in rows[-1].items() if k != "notes"}, flush=True)
    if options.only:
        return
    works = sum(r["result"] == "works" for r in rows)
    versions = f"PyTorch {torch.__version__.split('+')[0]}, ONNX Runtime {onnxruntime.__version__}"
    text = f"""# Networks of others through segfit and back

Output of `round_trip.py` ({versions}): {works} of {len(rows)} exports work. *file*: the imported network written again, against the original
in ONNX Runtime. *engine*: segfit's engine against the original in ONNX Runtime. *half*: every free group halved, random
weights; ONNX Runtime runs it, and *half: engine* is the engine against it. Differences are relative to the largest
magnitude of the output; more than {LIMIT:.0e} is an error.

{table(rows)}
"""
    (HERE / "round_trip.md").write_text(text)


if __name__ == "__main__":
    main()
