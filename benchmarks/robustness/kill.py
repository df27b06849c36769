#!/usr/bin/env python3
"""Kills, starves and misleads segfit, and checks that nothing is lost.

    python benchmarks/robustness/kill.py SEGFIT --work DIR [--times 200] [--seed 0] [--only NAME,...]

1. `kill -9` at random moments; then every file must be complete, the same command must succeed and end with the same bits.
2. Two processes at one place.  3. Full disks.  4. Read-only disks.  5. Inputs that change.  6. Clocks.

Writes kill.md and kill.json beside itself, or where --out says. Needs the standard library alone. Full and read-only disks
need a user who may mount.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import faults
from scene import COMMANDS, Scene, Wrong, check_files, leftovers, start

# Share of the kills that each command gets.
SHARES = {"train": 50, "train, stopped early": 20, "train, collapsing": 20, "calibrate run": 40, "segment, pictures": 18,
          "segment, stacks": 12, "export": 20, "measure": 20}

# Kills of one folder in a row, before the command is left to finish.
ROWS = [1, 4, 1, 3]


class Kills:
    """The kills of one command."""

    def __init__(self, scene, command, count, rng):
        self.scene, self.command, self.count, self.rng = scene, command, count, rng
        self.done, self.too_late, self.files, self.temporary, self.rows = 0, 0, 0, 0, []
        self.while_writing, self.left, self.failures = 0, 0, []

    def run(self):
        trial = 0
        while self.done < self.count:
            try:
                self.trial(min(ROWS[trial % len(ROWS)], self.count - self.done), is_older=trial % 2 == 1)
            except (Wrong, ValueError) as error:
                self.failures.append(str(error))
            trial += 1

    def trial(self, row, is_older):
        """Some kills of one folder, then the command is left to finish."""
        scene, command = self.scene, self.command
        folder = scene.fresh()
        is_older = is_older and command.before is not None
        if is_older:
            for output in command.outputs:
                copy(scene.older[command.name][0] / output, folder / output)
        killed = 0
        for _ in range(row):
            if self.kill(folder, row):
                killed += 1
                self.temporary += len(leftovers(folder, command.outputs))
                self.files += check_files(folder, command.outputs, scene.allowed(command, is_older))
        try:
            scene.finish(command, folder, f"{command.name}, killed {killed} times in {folder.name}")
        finally:
            self.left += len(leftovers(folder, command.outputs))
        if killed:
            self.rows.append(killed)
        shutil.rmtree(folder)

    def kill(self, folder, row):
        """Kills at the next moment; every second kill waits from there until a file is being written."""
        part = (self.done + self.rng.random()) / self.count
        # Kills in a row share the time that is left; the place within it goes round by the golden ratio.
        part = part if row == 1 else (self.done * 0.618 + self.rng.random() / 8) % 1 * 2 / row
        moment = part * self.scene.seconds[self.command.name]
        old = set(leftovers(folder, self.command.outputs))
        process = start(self.scene.segfit, self.command.words, folder)
        time.sleep(moment)
        waits, is_seen = self.done % 2 == 1, False
        while waits and process.poll() is None and not is_seen:
            is_seen = not old.issuperset(leftovers(folder, self.command.outputs))
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            self.too_late += 1
            return False
        self.done += 1
        self.while_writing += is_seen
        return True

    def row(self):
        rows = f"{sum(1 for r in self.rows if r == 1)} + {sum(1 for r in self.rows if r > 1)}"
        return [self.command.name, f"{self.scene.seconds[self.command.name]:.1f}", self.done, rows, self.while_writing,
                self.files, self.temporary, self.left]


def copy(source, to):
    if source.is_dir():
        shutil.copytree(source, to)
    elif source.exists():
        shutil.copy2(source, to)


HEAD = ["command", "seconds", "kills", "folders killed once + several times", "kills while a file was written",
        "files read after kills", "temporary files found after kills", "after the last run"]


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def cpu():
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return next((line.split(": ")[1] for line in info.splitlines() if line.startswith("model name")), platform.machine())


TEXT = """# Nothing is lost

Written by `benchmarks/robustness/kill.py SEGFIT --work DIR --times {times} --seed {seed}` in {minutes:.0f} minutes. {cpu}, {cores} cores,
load {load:.1f}. What segfit promises: [docs/robustness.md](../../docs/robustness.md).

## Killed

`kill -9`, {kills} times in all, at moments spread over the whole run; every second kill waits until a temporary file is seen, which is
when something is being written. Some folders are killed several times in a row before the command is left to finish. After every
kill each output file is read to its end (JSON parsed, PNG, TIFF, NIfTI and NumPy decoded, ZIP and PNG checksums verified, tensors counted).
Files of `segment`, `export` and `measure` must also be, byte for byte, those of a run without interruption or, where older results were in
the way, the older ones. Then the same command must succeed, end with the files of a run without interruption, byte for byte,
and leave nothing else behind. That the readers notice files that were cut off is tried out first, with every file of all results.

{table}
{failures}

What differs between two runs without interruption, and is not compared: `seconds` in `log.jsonl`, `training.json` and
`records/*.jsonl`, and the time of training in `report.html`. Everything else is equal. "stopped early" has `--patience 3`;
"collapsing" has a recipe that learns nothing, so that all three attempts are made and set aside.

{faults}"""


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("segfit", type=Path)
    options.add_argument("--work", type=Path, required=True, help="a folder that is emptied")
    options.add_argument("--times", type=int, default=200, help="kills in all")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", help="parts, by comma: kills, " + ", ".join(faults.PARTS))
    options.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    args = options.parse_args()
    wanted = args.only.split(",") if args.only else ["kills", *faults.PARTS]
    began, failures = time.monotonic(), []
    scene = Scene(str(args.segfit.resolve()), args.work.resolve())
    rows = kill_all(scene, args, failures) if "kills" in wanted else []
    sections, found = "", []
    for name in [part for part in faults.PARTS if part in wanted]:
        lines = faults.run_all(name, scene, failures)
        found += [{"part": name, "what": what, "result": result} for what, result in lines]
        sections += f"## {name.capitalize()}\n\n" + table(["what", "result"], [[w, r.replace("|", "\\|")] for w, r in lines]) + "\n"
    kills = sum(row[2] for row in rows)
    total = ["all", "", kills, "", *(sum(row[i] for row in rows) for i in range(4, 8))]
    text = TEXT.format(times=args.times, seed=args.seed, cpu=cpu(), cores=os.cpu_count(), load=os.getloadavg()[2],
                       minutes=(time.monotonic() - began) / 60, kills=kills, table=table(HEAD, [*rows, total]),
                       failures="\n".join(f"- FAILED: {f}" for f in failures) or "No file was lost or half-written.",
                       faults=sections.rstrip() + "\n")
    args.out.write_text(text)
    result = {"seed": args.seed, "kills": [dict(zip(HEAD, row)) for row in rows], "faults": found, "failures": failures}
    args.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    print(text)
    return 1 if failures else 0


def kill_all(scene, args, failures):
    rows = []
    for command in COMMANDS:
        count = max(1, round(args.times * SHARES[command.name] / sum(SHARES.values())))
        kills = Kills(scene, command, count, random.Random(f"{args.seed} {command.name}"))
        kills.run()
        failures += kills.failures
        rows.append(kills.row())
        print(*rows[-1], sep=", ", file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
