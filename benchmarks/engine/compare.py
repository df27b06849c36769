"""Compares `segfit bench` with other engines in one run, and writes results.md and results.json.

    python compare.py path/to/segfit [--rounds 3] [--points train:w16:b4:s128 ...] [--engines eager channels_last ...]
                      [--peers peers/target/release/peer-tract peers/target/release/peer-burn ...]

Every timing is a process of its own. A round runs each engine once at each point, the engines one after the other, so that
other load on the machine hits all of them. The minimum and the median are over all rounds; ratios are of minima. Peers are the
programs of the folder peers/ (README.md there), or any other with the same command line and output.
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
from pytorch_step import ENGINES, ONNX_RUNTIME, POINTS, PYTORCH, parse_point  # noqa: E402

OURS = "segfit"

# Goals of the engine: its time as a share of the best PyTorch's (training), or of the better of PyTorch and ONNX Runtime.
TIME_GOALS = {
    "train:w64:b1:s256": 1.0,
    "train:w16:b4:s128": 0.85,
    "train:w8:b4:s256": 0.65,
    "train:w4:b8:s128": 0.40,
    "train:w2:b8:s128": 0.25,
    "infer:w64:b1:s256": 0.95,
    "infer:w16:b1:s256": 0.75,
    "infer:w4:b1:s256": 0.45,
    "infer:w2:b1:s256": 0.30,
}
# Largest resident set in training as a share of PyTorch's.
MEMORY_GOAL = 0.5
# Inference of two widths: the ratio of their times as a share of the ratio of their multiply-accumulates, at least.
NARROW = ("infer:w64:b1:s256", "infer:w4:b1:s256", 0.6)


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


def engine_name(path):
    """peers/target/release/peer-tract -> tract"""
    return Path(path).stem.removeprefix("peer-")


def timing(engine, point, args, onnx):
    """The result of one process, or None when the engine says that it skipped the point."""
    mode, width, batch, size = parse_point(point)
    peers = {engine_name(path): path for path in args.peers}
    if engine == OURS:
        command = [args.binary, "bench", "--network", "unet", "--width", str(width), "--size", str(size), "--batch", str(batch)]
        command += ["--mode", mode, "--channels", "1", "--classes", "2", "--threads", str(args.threads), "--json"]
    elif engine in peers:
        command = [peers[engine], "--point", point, "--threads", str(args.threads), "--seconds", str(args.seconds)]
        command += ["--onnx", str(onnx)] if onnx else []
    else:
        command = [sys.executable, str(HERE / "pytorch_step.py"), "--engine", engine, "--points", point]
        command += ["--threads", str(args.threads), "--seconds", str(args.seconds)]
    out, resident = run(command)
    if "skipped" in out:
        return None
    resident = out["peak_bytes"] if engine in ENGINES else resident
    return {"min": out["ms"]["min"], "median": out["ms"]["median"], "resident_bytes": resident, "reported": out}


def collect(args):
    """rows[point][engine] = list of timings, one a round."""
    rows = {point: {} for point in args.points}
    loads, skipped = [], set()
    with tempfile.TemporaryDirectory() as folder:
        models = write_models(args, Path(folder))
        for number in range(args.rounds):
            peers = [engine_name(p) for p in args.peers] if number < args.peer_rounds else []
            for point in args.points:
                for engine in [OURS] + args.engines + peers:
                    if (point, engine) in skipped or (engine in ONNX_RUNTIME and point.startswith("train")):
                        continue
                    loads.append(os.getloadavg()[0])
                    result = timing(engine, point, args, models.get(point))
                    if result is None:
                        skipped.add((point, engine))
                        continue
                    rows[point].setdefault(engine, []).append(result)
                    check_parameters(point, rows[point])
                    print(f"round {number + 1} {point} {engine}: {result['min']:.2f} ms", file=sys.stderr, flush=True)
    return rows, loads


def write_models(args, folder):
    """The ONNX file of every point of inference, if there are peers, who may read it."""
    models = {}
    for point in args.points if args.peers else []:
        if point.startswith("infer"):
            models[point] = folder / (point.replace(":", "_") + ".onnx")
            run([sys.executable, str(HERE / "pytorch_step.py"), "--write-onnx", str(models[point]), "--points", point])
    return models


def check_parameters(point, engines):
    counts = {engine: timings[0]["reported"]["params"] for engine, timings in engines.items()}
    if len(set(counts.values())) > 1:
        sys.exit(f"the engines did not run the same network at {point}: {counts}")


def multiply_accumulates(width, size):
    """Of one inference of the reference U-Net with one channel in and two classes (depth 4)."""
    total = 2 * width * size**2
    for k in range(5):
        pixels, channels = (size >> k) ** 2, width << k
        total += 9 * pixels * channels * ((channels // 2 if k else 1) + channels)
        if k < 4:
            total += pixels * channels * (2 * channels + 9 * 2 * channels + 9 * channels)
    return total


def summary(timings):
    return {
        "min": min(t["min"] for t in timings),
        "median": statistics.median(t["median"] for t in timings),
        "resident_bytes": min(t["resident_bytes"] for t in timings),
        "library_bytes": min(t["reported"].get("library_bytes", 0) for t in timings),
    }


def fastest(table, engines):
    """(engine, milliseconds) of the fastest of these engines, or (None, None)."""
    found = [(table[e]["min"], e) for e in engines if e in table]
    return (min(found)[1], min(found)[0]) if found else (None, None)


def verdict(value, goal, is_met):
    return f"{value:.2f} | {goal:.2f} | {'yes' if is_met else '**no**'}"


def goals(tables):
    """Markdown: the time of segfit against the goals, the memory of training, the gain of narrow networks."""
    lines = ["## Goals", ""]
    lines += ["Time ratio: time of segfit / time of the best PyTorch (training), or of the better of PyTorch and ONNX Runtime (inference).", ""]
    lines += ["| point | segfit ms | compared with | its ms | time ratio | goal | met | best of all others | its ms |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for point, table in tables.items():
        rivals = PYTORCH if point.startswith("train") else PYTORCH + ONNX_RUNTIME
        (rival, its), (best, best_ms) = fastest(table, rivals), fastest(table, [e for e in table if e != OURS])
        if rival is None:
            continue
        own, goal = table[OURS]["min"], TIME_GOALS.get(point)
        cells = verdict(own / its, goal, own / its <= goal) if goal else f"{own / its:.2f} | | "
        lines.append(f"| {point} | {own:.2f} | {rival} | {its:.2f} | {cells} | {best} | {best_ms:.2f} |")
    lines += ["", "Memory of training: largest resident set of segfit / the smallest of PyTorch's modes; and the same when what importing"]
    lines += ["PyTorch alone takes is not counted.", ""]
    lines += ["| point | segfit MiB | PyTorch MiB | memory ratio | goal | met | without the library |", "|---|---|---|---|---|---|---|"]
    for point, table in tables.items():
        modes = [table[e] for e in PYTORCH if e in table]
        if point.startswith("train") and modes:
            own, other = table[OURS]["resident_bytes"], min(m["resident_bytes"] for m in modes)
            bare = min(m["resident_bytes"] - m["library_bytes"] for m in modes)
            cells = verdict(own / other, MEMORY_GOAL, own / other <= MEMORY_GOAL)
            lines.append(f"| {point} | {own / 2**20:.0f} | {other / 2**20:.0f} | {cells} | {own / bare:.2f} |")
    wide, narrow, goal = NARROW
    if wide in tables and narrow in tables:
        times = tables[wide][OURS]["min"] / tables[narrow][OURS]["min"]
        macs = multiply_accumulates(64, 256) / multiply_accumulates(4, 256)
        met = "met" if times / macs >= goal else "**not met**"
        lines += ["", f"Narrow networks at inference: time(w64) / time(w4) = {times:.1f}, multiply-accumulates {macs:.1f} to one:"]
        lines += [f"{times / macs:.2f} of what counting promises; goal at least {goal:.2f}: {met}."]
    return lines


def ratio(other, own):
    return "" if other is None else f"{other / own:.2f}x"


def markdown(rows, args, machine):
    tables = {point: {engine: summary(t) for engine, t in engines.items()} for point, engines in rows.items()}
    lines = ["# The CPU engine against other engines", ""]
    lines += [f"Reference U-Net with batch norm, 1 channel in, 2 classes; {args.threads} threads; {args.rounds} rounds, engines interleaved, every timing"]
    lines += ["a process of its own. A point is mode, base width, batch, size of the square image. Memory is the largest resident set of the"]
    lines += ["process, its libraries included.", ""]
    lines += [f"{machine['date']}; {machine['cpu']}, {machine['cores']} cores; {machine['versions']}; load average during the run"]
    lines += [f"{machine['load_low']:.1f} to {machine['load_high']:.1f} (the runs themselves load up to {args.threads}).", ""]
    lines += goals(tables)
    lines += ["", "## All timings", ""]
    lines += ["Ratios are of minima: 2.00x means that the engine of this row is twice as fast. Best PyTorch is the fastest mode of PyTorch"]
    lines += ["in this table.", ""]
    lines += ["| point | engine | min ms | median ms | against eager | against best PyTorch | MiB |", "|---|---|---|---|---|---|---|"]
    for point, table in tables.items():
        torch, eager = fastest(table, PYTORCH)[1], fastest(table, ["eager"])[1]
        for engine, v in table.items():
            cells = [point, engine, f"{v['min']:.2f}", f"{v['median']:.2f}"]
            cells += [ratio(eager, v["min"]), ratio(torch, v["min"]), f"{v['resident_bytes'] / 2**20:.0f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cpu_name():
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


def peer_version(name):
    """The version of the engine in peers/Cargo.lock."""
    package = {"tract": "tract-onnx", "candle": "candle-core"}.get(name, name)
    lines = (HERE / "peers" / "Cargo.lock").read_text().splitlines()
    found = [lines[k + 1].split('"')[1] for k, line in enumerate(lines) if line == f'name = "{package}"']
    return f"{name} {found[0]}" if found else name


def versions(args):
    from importlib.metadata import version

    said = subprocess.run([args.binary, "--version"], capture_output=True, text=True).stdout.strip()
    known = [said or OURS, f"PyTorch {version('torch')}", f"ONNX Runtime {version('onnxruntime')}"]
    return ", ".join(known + [peer_version(engine_name(path)) for path in args.peers])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="the segfit binary, built with --release")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points", nargs="+", default=POINTS)
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=ENGINES)
    parser.add_argument("--peers", nargs="*", default=[], metavar="PROGRAM", help="programs of the folder peers/")
    parser.add_argument("--peer-rounds", type=int, default=sys.maxsize, help="rounds in which the peers take part")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="time of each timing of the peers, about")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of results.md and results.json")
    parser.add_argument("--update", action="store_true", help="measure --points with --engines only, and keep all else of results.json")
    args = parser.parse_args()
    for point in args.points:
        parse_point(point)
    kept = json.loads((args.out / "results.json").read_text()) if args.update else {"points": {}}
    rows, loads = collect(args)
    rows = {point: kept["points"].get(point, {}) | rows.get(point, {}) for point in [*kept["points"], *rows]}
    if args.update:
        loads += [kept["machine"]["load_low"], kept["machine"]["load_high"]]
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
