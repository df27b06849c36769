"""Trains the networks of manifest.json with submitit (pip install submitit). Written by `segfit calibrate slurm`.

    python submitit_example.py            as an array on the cluster
    python submitit_example.py local      on this machine
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import submitit

HERE = Path(__file__).resolve().parent
SEGFIT = os.environ.get("SEGFIT", "segfit")


class Train:
    """One training. What is done already is passed over; what was stopped goes on."""

    def __call__(self, index):
        command = [SEGFIT, "calibrate", "run", "manifest.json", "--out", "work", "--index", str(index)]
        subprocess.run([*command, "--threads", "@CPUS@"], cwd=HERE, check=True)

    def checkpoint(self, index):
        """Called before the time is over: the same again. segfit itself is stopped by Slurm and saves its state."""
        return submitit.helpers.DelayedSubmission(Train(), index)


def main():
    cluster = sys.argv[1] if len(sys.argv) > 1 else "slurm"
    executor = submitit.AutoExecutor(folder=HERE / "logs", cluster=cluster)
    executor.update_parameters(
        timeout_min=@MINUTES@,
        cpus_per_task=@CPUS@,
        mem_gb=@MEGABYTES@ / 1024,
        slurm_partition="@PARTITION_NAME@" or None,
        slurm_array_parallelism=64,
    )
    jobs = json.loads((HERE / "manifest.json").read_text())["jobs"]
    for job in executor.map_array(Train(), range(len(jobs))):
        job.result()
    subprocess.run([SEGFIT, "calibrate", "collect", "work/records", "--out", "records.jsonl"], cwd=HERE, check=True)


if __name__ == "__main__":
    main()
