"""Do plans meet their budgets? Random combinations of budgets over all families, every plan counted again from its network file.

    python benchmarks/planner/budgets.py SEGFIT DATA [--count 200] [--seed 0]

SEGFIT is the program, DATA a data set. For every combination either the plan meets all budgets (parameters, multiply-accumulates, bytes
of weights and memory as `segfit network cost` counts them in network.json; the share to keep as the plan predicts it), or the refusal
names the tightest budget and a network, and asking again with the options that it gives succeeds. Results: budgets.json and
budgets.md beside this script. Needs nothing but Python.
"""

import argparse
import json
import random
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
BYTES = {"f32": 4, "f16": 2, "int8": 1}


def families(segfit):
    """Name, width and depth of the full size of every family."""
    lines = subprocess.run([segfit, "network", "list", "--json"], capture_output=True, text=True, check=True).stdout
    return [f["name"] for f in json.loads(lines)["families"]]


def drawn(random_state, full):
    """Options of one request: every budget with a chance, spread over four decades below the full network."""
    options = {}

    def below(value, least):
        return max(least, int(value * 10 ** random_state.uniform(-4.2, 0)))

    if random_state.random() < 0.5:
        options["--keep"] = f"{random_state.uniform(60, 100):.1f}%"
        if random_state.random() < 0.3:
            options["--keep-bound"] = "low"
        if random_state.random() < 0.4:
            options["--objective"] = random_state.choice(["params", "macs", "memory"])
    if random_state.random() < 0.4:
        options["--max-params"] = below(full["params"], 60)
    if random_state.random() < 0.4:
        options["--max-macs"] = below(full["macs"], 10_000)
    if random_state.random() < 0.4:
        options["--max-weights"] = below(full["weight_bytes"], 300)
        options["--precision"] = random_state.choice(list(BYTES))
    if random_state.random() < 0.3:
        options["--max-memory"] = below(full["memory_bytes"], 40_000)
    if not any(key in options for key in ("--keep", "--max-params", "--max-macs", "--max-weights", "--max-memory")):
        options["--max-params"] = below(full["params"], 60)
    if random_state.random() < 0.2:
        options["--divisor"] = random_state.choice([2, 4, 8])
    return options


def call(segfit, data, profile, family, options, out):
    """Exit code, seconds, and what was printed as an error."""
    words = [str(word) for pair in options.items() for word in pair]
    command = [segfit, "plan", data, "--profile", profile, "--network", family, *words, "--no-report", "--out", out]
    begin = time.perf_counter()
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    return done.returncode, time.perf_counter() - begin, done.stderr


def broken(segfit, options, out):
    """Budgets that the plan in `out` breaks, by counts made anew from its network.json."""
    plan = json.loads((out / "plan.json").read_text())
    command = [segfit, "network", "cost", "--network", out / "network.json", "--size", "128", "--json"]
    cost = json.loads(subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout)
    found = []
    for option, have in [("--max-params", cost["params"]), ("--max-macs", cost["macs"]), ("--max-memory", cost["memory_bytes"])]:
        if option in options and have > int(options[option]):
            found.append(f"{option} {options[option]}: {have}")
    if "--max-weights" in options:
        have = plan["network"]["weight_bytes"]
        if have > int(options["--max-weights"]):
            found.append(f"--max-weights {options['--max-weights']}: {have}")
        if options["--precision"] == "f32" and have != cost["weight_bytes"]:
            found.append(f"weights of {have} bytes in the plan, {cost['weight_bytes']} in the network")
    if "--keep" in options:
        kept = plan["predicted"]["retention"]["low" if options.get("--keep-bound") == "low" else "mean"]
        if kept < float(options["--keep"].rstrip("%")) / 100:
            found.append(f"--keep {options['--keep']}: {kept}")
    return found


def asked_again(options, message):
    """The options of the hint in a refusal; `None` when there is none."""
    hint = re.search(r"ask for it with ((?:--[a-z-]+ \S+ ?)+)", message.replace("\n", " "))
    if not hint:
        return None
    words = hint.group(1).split()
    return options | dict(zip(words[::2], words[1::2]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segfit")
    parser.add_argument("data")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    state = random.Random(arguments.seed)
    segfit, data = arguments.segfit, arguments.data
    names = families(segfit)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        profile = folder / "profile.json"
        subprocess.run([segfit, "measure", data, "--out", profile], capture_output=True, check=True)
        full = {}
        for name in names:
            code, _, message = call(segfit, data, profile, name, {"--max-params": 10**9}, folder / name)
            if code:
                raise SystemExit(f"{name}: {message}")
            full[name] = json.loads((folder / name / "plan.json").read_text())["full"]
        for i in range(arguments.count):
            family = names[i % len(names)]
            options = drawn(state, full[family])
            out = folder / str(i)
            code, seconds, message = call(segfit, data, profile, family, options, out)
            row = {"family": family, "options": options, "seconds": round(seconds, 3)}
            if code == 0:
                row |= {"outcome": "plan", "broken": broken(segfit, options, out)}
            elif code == 3 and "is the tightest" in message:
                again = asked_again(options, message)
                row |= {"outcome": "refused", "broken": []}
                if again is None:
                    row["broken"] = ["the refusal names no network to ask for"]
                else:
                    code, _, message = call(segfit, data, profile, family, again, out)
                    row["broken"] = broken(segfit, again, out) if code == 0 else [f"the hint fails: {again} {message[-300:]}"]
            else:
                row |= {"outcome": "error", "broken": [message[-300:]]}
            rows.append(row)
            if row["broken"]:
                print(row)
    write(arguments, rows)


def write(arguments, rows):
    (HERE / "budgets.json").write_text(json.dumps({"seed": arguments.seed, "rows": rows}, indent=1) + "\n")
    seconds = [row["seconds"] for row in rows]
    lines = [
        "# Budgets of plans",
        "",
        f"{len(rows)} random combinations of budgets (seed {arguments.seed}), families in turn; `python benchmarks/planner/budgets.py SEGFIT DATA`.",
        "Every plan is counted again from its network file; every refusal is asked again with the options of its hint.",
        "",
        "| family | plans | refusals | broken budgets or hints |",
        "|---|---|---|---|",
    ]
    for family in dict.fromkeys(row["family"] for row in rows):
        own = [row for row in rows if row["family"] == family]
        counts = [sum(row["outcome"] == outcome for row in own) for outcome in ("plan", "refused")]
        lines.append(f"| {family} | {counts[0]} | {counts[1]} | {sum(bool(row['broken']) for row in own)} |")
    total = sum(bool(row["broken"]) for row in rows)
    lines += [
        "",
        f"Broken in all: {total}. Seconds of a whole call, start of the program included: median {statistics.median(seconds):.2f}, longest {max(seconds):.2f}.",
        "",
    ]
    (HERE / "budgets.md").write_text("\n".join(lines))
    print("\n".join(lines))
    raise SystemExit(total > 0)


if __name__ == "__main__":
    main()
