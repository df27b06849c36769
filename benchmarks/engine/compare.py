"""Compares `segfit bench` with PyTorch and ONNX Runtime in one run, and writes results.md and results.json.

    python compare.py path/to/segfit [--rounds 3] [--points train:w16:b4:s128 ...] [--engines eager channels_last ...]

Every timing is a process of its own. A round runs each engine once at each point, the engines one after the other, so that
other load on the machine hits all of them. The minimum and the median are over all rounds; ratios are of minima.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from pytorch_step import ENGINES, POINTS, parse_point  # noqa: E402

OURS = "segfit"


def last_json(text, command):
    """The JSON object that the command printed: the whole output, or its last line."""
    for candidate in (text, text.strip().splitlines()[-1] if text.strip() else ""):
        try:
            return json.loads(candidate)
        except json.JSONDecodeError:
            continue
    sys.exit(f"no JSON in the output of {' '.join(command)}:\n{text}")


def largest_resident_bytes(pid):
    """VmHWM of a running process (Linux), 0 when it has ended. (wait4's figure would include this script's own memory.)"""
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def run(command):
    """The command's JSON and the largest resident set of its process in bytes, as seen every 20 ms."""
    resident = 0
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output)
        while process.poll() is None:
            resident = max(resident, largest_resident_bytes(process.pid))
            time.sleep(0.02)
        output.seek(0)
        text = output.read()
    if process.returncode:
        sys.exit(f"failed with exit code {process.returncode}: {' '.join(command)}")
    return last_json(text, command), resident


def timing(engine, point, args):
    mode, width, batch, size = parse_point(point)
    if engine == OURS:
        command = [args.binary, "bench", "--network", "unet", "--width", str(width), "--size", str(size), "--batch", str(batch)]
        command += ["--mode", mode, "--channels", "1", "--classes", "2", "--threads", str(args.threads), "--json"]
        out, resident = run(command)
        return {"min": out["ms"]["min"], "median": out["ms"]["median"], "resident_bytes": resident, "reported": out}
    command = [sys.executable, str(HERE / "pytorch_step.py"), "--engine", engine, "--points", point]
    command += ["--threads", str(args.threads), "--seconds", str(args.seconds)]
    out, _ = run(command)
    return {"min": out["ms"]["min"], "median": out["ms"]["median"], "resident_bytes": out["peak_bytes"], "reported": out}


def collect(args):
    """rows[point][engine] = list of timings, one a round."""
    rows = {point: {} for point in args.points}
    loads = []
    for number in range(args.rounds):
        for point in args.points:
            for engine in [OURS] + args.engines:
                if engine == "onnxruntime" and point.startswith("train"):
                    continue
                loads.append(os.getloadavg()[0])
                result = timing(engine, point, args)
                rows[point].setdefault(engine, []).append(result)
                print(f"round {number + 1} {point} {engine}: {result['min']:.2f} ms", file=sys.stderr, flush=True)
    return rows, loads


def summary(timings):
    return {
        "min": min(t["min"] for t in timings),
        "median": statistics.median(t["median"] for t in timings),
        "resident_bytes": min(t["resident_bytes"] for t in timings),
    }


def ratio(other, own):
    return "" if other is None else f"{other / own:.2f}x"


def markdown(rows, args, machine):
    lines = ["# The CPU engine against PyTorch and ONNX Runtime", ""]
    lines += [f"Reference U-Net with batch norm, 1 channel in, 2 classes; {args.threads} threads; {args.rounds} rounds, engines interleaved, every timing"]
    lines += ["a process of its own. A point is mode, base width, batch, size of the square image. Ratios are of minima: 2.00x means"]
    lines += ["that the engine of this row is twice as fast. Best PyTorch is the fastest mode of PyTorch in this table. Memory is the"]
    lines += ["largest resident set of the process, its libraries included.", ""]
    lines += [f"{machine['date']}; {machine['cpu']}, {machine['cores']} cores; {machine['versions']}; load average during the run"]
    lines += [f"{machine['load_low']:.1f} to {machine['load_high']:.1f} (the runs themselves load up to {args.threads}).", ""]
    lines += ["| point | engine | min ms | median ms | against eager | against best PyTorch | MiB |", "|---|---|---|---|---|---|---|"]
    for point, engines in rows.items():
        table = {engine: summary(t) for engine, t in engines.items()}
        torch = [v["min"] for e, v in table.items() if e in ("eager", "channels_last", "compile")]
        eager = table["eager"]["min"] if "eager" in table else None
        for engine, v in table.items():
            cells = [point, engine, f"{v['min']:.2f}", f"{v['median']:.2f}"]
            cells += [ratio(eager, v["min"]), ratio(min(torch, default=None), v["min"]), f"{v['resident_bytes'] / 2**20:.0f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cpu_name():
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


def versions(args):
    from importlib.metadata import version

    said = subprocess.run([args.binary, "--version"], capture_output=True, text=True).stdout.strip()
    return f"{said or OURS}, PyTorch {version('torch')}, ONNX Runtime {version('onnxruntime')}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="the segfit binary, built with --release")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points", nargs="+", default=POINTS)
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=["eager", "channels_last", "onnxruntime"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="time of each timing of the peers, about")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of results.md and results.json")
    args = parser.parse_args()
    for point in args.points:
        parse_point(point)
    rows, loads = collect(args)
    machine = {"date": datetime.date.today().isoformat(), "cpu": cpu_name(), "cores": os.cpu_count(), "versions": versions(args)}
    machine |= {"load_low": min(loads), "load_high": max(loads)}
    text = markdown(rows, args, machine)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.md").write_text(text)
    result = {"format": "segfit-engine-comparison/1", "machine": machine, "threads": args.threads, "rounds": args.rounds, "points": rows}
    (args.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
