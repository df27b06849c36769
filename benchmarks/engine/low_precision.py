"""Compares `segfit bench --precision f32|bf16|int8` with ONNX Runtime in f32 and int8, and writes low_precision.json and a table.

    python low_precision.py path/to/segfit [--widths 4 16 64] [--size 256] [--rounds 5] [--seconds 1]

ONNX Runtime's int8 is its static quantisation: u8 activations, s8 weights with one scale per output channel, calibrated on random
images; both of its formats (QDQ and QOperator) are timed, each with its default threads and with as many as segfit has, and
the fastest of these in every width is the one to compare with. Every timing is a process of its own. A round runs
each engine once, one after the other, so that other load on the machine hits all of them; minimum and median are over all rounds.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from compare import cpu_name, last_json  # noqa: E402
from pytorch_step import measure, onnx_bytes  # noqa: E402

PRECISIONS = ["f32", "bf16", "int8"]
MODELS = ["fp32", "int8-qdq", "int8-qoperator"]


def random_image(size, seed):
    return np.random.default_rng(seed).standard_normal((1, 1, size, size), np.float32)


def quantise(source, target, form, size, images):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):
        def __init__(self, name):
            self.feeds = iter([{name: random_image(size, seed)} for seed in range(images)])

        def get_next(self):
            return next(self.feeds, None)

    import onnx

    name = onnx.load(source).graph.input[0].name
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(target),
        Images(name),
        quant_format=QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def make_models(folder, width, size):
    """The network of one width in f32 and in both int8 formats."""
    source = folder / f"w{width}-fp32.onnx"
    source.write_bytes(onnx_bytes(width, 1, size)[0])
    for form in ("qdq", "qoperator"):
        quantise(source, folder / f"w{width}-int8-{form}.onnx", form, size, 4)


def time_model(path, threads, size, seconds):
    """Child process: prints the milliseconds of one model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name, x = session.get_inputs()[0].name, random_image(size, 0)
    ms = measure(lambda: session.run(None, {name: x}), seconds)
    print(json.dumps({"ms": {"min": min(ms), "median": statistics.median(ms)}}))


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"failed with exit code {done.returncode}: {' '.join(command)}\n{done.stderr}")
    return last_json(done.stdout, command)


def engines(args, folder, width):
    """Name -> command of everything that is timed at one width."""
    common = ["--size", str(args.size), "--seconds", str(args.seconds), "--threads", str(args.threads), "--json"]
    ours = [args.binary, "bench", "--network", "unet", "--channels", "1", "--classes", "2", "--width", str(width), *common]
    table = {f"segfit {p}": [*ours, "--precision", p] for p in PRECISIONS}
    for model in MODELS:
        for name, threads in (("default", 0), ("tuned", args.threads)):
            child = [sys.executable, str(Path(__file__).resolve()), "--child", str(folder / f"w{width}-{model}.onnx")]
            child += ["--threads", str(threads), "--size", str(args.size), "--seconds", str(args.seconds)]
            table[f"onnxruntime {model} {name}"] = child
    return table


def collect(args):
    """rows[width][engine] = list of timings, one a round; written after every round."""
    rows, loads = {}, []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for width in args.widths:
            make_models(folder, width, args.size)
        for number in range(args.rounds):
            for width in args.widths:
                for engine, command in engines(args, folder, width).items():
                    loads.append(os.getloadavg()[0])
                    out = run(command)
                    kept = {"min": out["ms"]["min"], "median": out["ms"]["median"], "peak_bytes": out.get("peak_bytes")}
                    rows.setdefault(f"w{width}", {}).setdefault(engine, []).append(kept)
                    print(f"round {number + 1} w{width} {engine}: {kept['min']:.2f} ms", file=sys.stderr, flush=True)
            write(args, rows, loads, number + 1)


def write(args, rows, loads, rounds):
    from importlib.metadata import version

    machine = {"date": datetime.date.today().isoformat(), "cpu": cpu_name(), "cores": os.cpu_count()}
    machine |= {"onnxruntime": version("onnxruntime"), "load_low": min(loads), "load_high": max(loads)}
    result = {"format": "segfit-low-precision/1", "machine": machine, "threads": args.threads, "rounds": rounds}
    args.out.write_text(json.dumps(result | {"size": args.size, "rows": rows}, indent=1) + "\n")
    print(f"after {rounds} rounds: {json.dumps(machine)}\n\n{table(rows)}", flush=True)


def table(rows):
    """Markdown: our three precisions, and the best of ONNX Runtime's variants for f32 and int8."""
    lines = ["| network | engine | min ms | median ms | against our f32 | against ONNX Runtime int8 | MiB |"]
    lines.append("|---|---|---|---|---|---|---|")
    for width, timed in rows.items():
        least = {engine: min(t["min"] for t in timings) for engine, timings in timed.items()}
        best = lambda kind: min((e for e in least if e.startswith(f"onnxruntime {kind}")), key=least.get)  # noqa: E731
        shown = [f"segfit {p}" for p in PRECISIONS] + [best("fp32"), best("int8")]
        for engine in shown:
            timings = timed[engine]
            median = statistics.median(t["median"] for t in timings)
            memory = f"{timings[0]['peak_bytes'] / 2**20:.1f}" if timings[0]["peak_bytes"] else ""
            ratios = [f"{least[other] / least[engine]:.2f}x" for other in ("segfit f32", best("int8"))]
            lines.append("| " + " | ".join([width, engine, f"{least[engine]:.2f}", f"{median:.2f}", *ratios, memory]) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", nargs="?", help="the segfit binary, built with --release")
    parser.add_argument("--widths", nargs="+", type=int, default=[4, 16, 64])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=HERE / "low_precision.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return time_model(args.child, args.threads, args.size, args.seconds)
    if not args.binary:
        parser.error("the segfit binary is missing")
    collect(args)


if __name__ == "__main__":
    main()
