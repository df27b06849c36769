"""What the experiments of the planner share: data sets, calls of segfit, mappings without one data set, measured scores."""

import json
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RECORDS = ROOT / "calibration/records.jsonl"
OWN_RECORDS = HERE / "records.jsonl"
PATCHED = {"axon_sem_myelin", "chase_db1", "isbi2012_em"}
SEEDS = "0,1,2"
# Those of `calibrate run`, when trainings collapse.
ATTEMPTS = 3


def call(segfit, *words):
    """What segfit prints; ends the script with its message when it fails."""
    command = [str(segfit), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def cost(segfit, path, size=128):
    """Counts of a network file."""
    return json.loads(call(segfit, "network", "cost", "--network", path, "--size", size, "--json"))


def mapping_without(segfit, name, folder):
    """A mapping fitted to the calibration's records of all data sets but one."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = [line for line in RECORDS.read_text().splitlines() if json.loads(line)["dataset"]["name"] != name]
    (folder / "records.jsonl").write_text("\n".join(kept) + "\n")
    call(segfit, "calibrate", "fit", folder / "records.jsonl", "--out", folder / "mapping.json")
    return folder / "mapping.json"


def to_be_trained(segfit, manifest, data, networks, seeds=SEEDS):
    """Adds networks, trained on a data set, to a manifest; equal networks are trained once."""
    def content(path):
        spec = json.loads(Path(path).read_text())
        return json.dumps([spec["family"], spec["base_width"], spec["depth"], spec["groups"]])

    distinct = list({content(path): path for path in networks}.values())
    words = ["--networks", *distinct, "--out", manifest, "--append", "--seeds", seeds]
    sets = [*words, "--patch", data] if data.name in PATCHED else [data, *words]
    call(segfit, "calibrate", "plan", *sets)
    return len(distinct)


def trained(folders=()):
    """The calibration's records, those of the planner's experiments beside this script, and those in the folders' `out/records`."""
    files = [RECORDS, OWN_RECORDS, *(path for folder in folders for path in sorted((folder / "out" / "records").glob("*")))]
    distinct = {line for path in files if path.exists() for line in path.read_text().splitlines()}
    return [json.loads(line) for line in sorted(distinct)]


def drop_measured(manifest):
    """Leaves out of a manifest what has been trained; the number of trainings that remain, quick ones first."""
    done = {record["job"] for record in trained() if not record["collapsed"]}
    content = json.loads(manifest.read_text())
    content["jobs"] = [job for job in content["jobs"] if job["id"] not in done]
    content["jobs"].sort(key=lambda job: (job["base_width"] > 2, job["seed"]))
    manifest.write_text(json.dumps(content, indent=1) + "\n")
    return len(content["jobs"])


def key_of(data_set, family, depth, base_width, widths):
    """What tells apart the trainings of one recipe."""
    return data_set, family, depth, base_width, tuple(sorted(widths.items()))


def measured(folders):
    """Dice by network and seed, of all records; collapsed attempts left out."""
    found = {}
    for r in trained(folders):
        if not r["collapsed"] and r["recipe"]["name"] == "r1":
            key = key_of(r["dataset"]["name"], r["family"], r["depth"], r["base_width"], r["widths"])
            found.setdefault(key, {}).setdefault(r["seed"] % 1_000_003, r["dice"])
    return found


def collapsed(folders):
    """Network and seed of the trainings of which all attempts collapsed."""
    attempts = {}
    for r in trained(folders):
        if r["collapsed"] and r["recipe"]["name"] == "r1":
            key = key_of(r["dataset"]["name"], r["family"], r["depth"], r["base_width"], r["widths"])
            attempts.setdefault((key, r["seed"] % 1_000_003), set()).add(r["attempt"])
    return {which for which, made in attempts.items() if len(made) == ATTEMPTS}


def keep(folders):
    """Writes the records of the planner's experiments beside this script, without those of the calibration."""
    calibrated = {line for line in RECORDS.read_text().splitlines()}
    lines = [json.dumps(r, separators=(",", ":"), ensure_ascii=False) for r in trained(folders)]
    known = {json.dumps(json.loads(line), separators=(",", ":"), ensure_ascii=False) for line in calibrated}
    OWN_RECORDS.write_text("".join(line + "\n" for line in sorted(set(lines) - known)))
