#!/usr/bin/env bash
# Runs `segfit calibrate slurm` on a real Slurm: installs it (Debian, as root), starts munged, slurmctld and slurmd on this
# machine as a cluster of one node, submits an array, requeues one task while it trains, lets another run out of its time
# notice, waits, collects, and compares the records with those of a local run: they must be equal but for the seconds. Then a
# data set is measured by an array of parts. Everything is stopped and removed at the end.
#
#     benchmarks/slurm/test.sh [SEGFIT]
#
# Writes last_run.md beside this script. Prints SKIPPED where Slurm cannot be installed or started.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
here=$PWD
SEGFIT=$(realpath "${1:-../../target/release/segfit}")
export SEGFIT

skip() {
    echo "SKIPPED: $1"
    exit 0
}
[ -x "$SEGFIT" ] || { echo "no program $SEGFIT: build it or name it" >&2; exit 1; }

installed() { command -v slurmctld slurmd munged sbatch > /dev/null; }
if ! installed; then
    [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || skip "Slurm is not installed, and only root on Debian can install it"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge; } \
        > /dev/null 2>&1 || skip "slurm-wlm cannot be installed here"
    installed || skip "slurm-wlm was installed, but its programs are missing"
fi
[ "$(id -u)" = 0 ] || skip "only root can start the daemons"

lab=$(mktemp -d /tmp/segfit-slurm.XXXXXX)
chmod 755 "$lab"
mkdir -p "$lab"/{spool,state,log,munge}
report=$lab/report.md
export SLURM_CONF=$lab/slurm.conf
say() { echo "$@" | tee -a "$report"; }

pids=()
finish() {
    code=$?
    scancel --user="$USER" 2> /dev/null || true
    for pid in "${pids[@]}"; do
        kill "$pid" 2> /dev/null || true
    done
    for pid in "${pids[@]}"; do
        wait "$pid" 2> /dev/null || true
    done
    [ "$code" = 0 ] || { echo "failed; the logs:" >&2; tail -n 15 "$lab"/log/*.log "$lab"/cluster/logs/*.log >&2 || true; }
    rm -rf "$lab"
    exit "$code"
}
USER=$(id -un)
trap finish EXIT

# A cluster of this machine. Ports and folders of its own, so that a Slurm that is installed here is not touched.
host=$(hostname -s)
cpus=$(nproc)
megabytes=$(awk '/^MemTotal/ { print int($2 / 1024 * 0.8) }' /proc/meminfo)
cat > "$SLURM_CONF" << CONF
ClusterName=segfit
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$lab/munge/socket
CryptoType=crypto/munge
StateSaveLocation=$lab/state
SlurmdSpoolDir=$lab/spool
SlurmctldPidFile=$lab/slurmctld.pid
SlurmdPidFile=$lab/slurmd.pid
SlurmctldLogFile=$lab/log/slurmctld.log
SlurmdLogFile=$lab/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=2,batch_sched_delay=1
MinJobAge=300
KillWait=20
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$megabytes State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF

dd if=/dev/urandom of="$lab/munge/key" bs=1024 count=1 status=none
chmod 400 "$lab/munge/key"
chmod 755 "$lab/munge"
munged --foreground --force --key-file="$lab/munge/key" --socket="$lab/munge/socket" --pid-file="$lab/munge/pid" \
    --seed-file="$lab/munge/seed" --log-file="$lab/log/munged.log" > "$lab/log/munged.out" 2>&1 &
pids+=($!)
sleep 1
slurmctld -D -f "$SLURM_CONF" > "$lab/log/slurmctld.out" 2>&1 &
pids+=($!)
sleep 1
slurmd -D -f "$SLURM_CONF" -N "$host" > "$lab/log/slurmd.out" 2>&1 &
pids+=($!)

for _ in $(seq 30); do
    [ "$(sinfo -h -o %t 2> /dev/null)" = idle ] && break
    sleep 1
done
[ "$(sinfo -h -o %t 2> /dev/null)" = idle ] || { tail -n 5 "$lab"/log/*; skip "the daemons do not start here"; }

say "# An array of trainings on a real Slurm"
say
say "Written by \`test.sh\` on $(date +%F): $(sinfo --version), one node of $cpus cores, $("$SEGFIT" --version)."
say

# The list: three widths, few steps.
cd "$lab"
"$SEGFIT" phantom discs --count 20 --size 64 --out discs > /dev/null
"$SEGFIT" calibrate plan discs --widths 4,2,1 --depths 2 --size 64 --out plan.json > /dev/null
python3 - << 'PY'
import json
recipe = json.load(open("plan.json"))["jobs"][0]["recipe"]
json.dump(recipe | {"name": "slurm-test", "steps": 3000}, open("recipe.json", "w"))
PY
"$SEGFIT" calibrate plan discs --widths 4,2,1 --depths 2 --size 64 --recipe recipe.json --out manifest.json > /dev/null
"$SEGFIT" calibrate slurm manifest.json --out cluster --time 0:10:00 --cpus 1 --mem 1G > /dev/null

array=$(sbatch --parsable cluster/run.sbatch)
say "- \`sbatch run.sbatch\`: array $array of $(grep -c '"id"' manifest.json) trainings, 3000 steps each"

state() { squeue -h -r -j "$1" -o %T 2> /dev/null || true; }
step_of() { python3 - "$1" << 'PY'
import glob, json, sys
job = json.load(open("manifest.json"))["jobs"][int(sys.argv[1])]["id"]
lines = [line for f in glob.glob(f"cluster/work/runs/{job}/log.jsonl") for line in open(f)]
print(json.loads(lines[-1])["step"] if lines else 0)
PY
}
wait_for_step() { # TASK STEP
    for _ in $(seq 600); do
        [ "$(step_of "$1")" -ge "$2" ] && return
        sleep 0.2
    done
    echo "task $1 never reached step $2" >&2
    return 1
}

# One is killed by Slurm while it trains, and put back into the queue.
wait_for_step 1 300
scontrol requeue "${array}_1"
say "- task 1 at step $(step_of 1): \`scontrol requeue\` (Slurm ends it with SIGTERM and queues it again)"
# One gets the signal that announces the end of its time.
wait_for_step 2 300
scancel --batch --signal=USR1 "${array}_2"
say "- task 2 at step $(step_of 2): \`scancel --batch --signal=USR1\`, as Slurm does two minutes before the time limit"
sleep 3
say "- \`segfit calibrate status\` meanwhile: $("$SEGFIT" calibrate status manifest.json --out cluster/work | head -1)"
# What was requeued waits for two minutes unless told otherwise.
for _ in $(seq 300); do
    left=$(state "$array" | wc -l)
    [ "$left" = 0 ] && break
    for task in 1 2; do
        [ "$(state "${array}_$task")" = PENDING ] && scontrol update jobid="${array}_$task" StartTime=now 2> /dev/null || true
    done
    sleep 2
done
[ "$(state "$array" | wc -l)" = 0 ] || { squeue >&2; echo "the array does not end" >&2; exit 1; }
say "- all tasks have ended; $("$SEGFIT" calibrate status manifest.json --out cluster/work | head -1)"
starts=$(grep -h '^task' cluster/logs/*.log | sort)
say
say '```'
say "$starts"
say '```'
say
[ "$(grep -c 'start 1' <<< "$starts")" -ge 2 ] || { echo "two tasks should have started twice" >&2; exit 1; }
grep -q 'saved, back into the queue' <<< "$starts" || { echo "no task requeued itself" >&2; exit 1; }

"$SEGFIT" calibrate collect cluster/work/records --out slurm.jsonl > /dev/null
"$SEGFIT" calibrate run manifest.json --out local > /dev/null 2>&1
"$SEGFIT" calibrate collect local/records --out local.jsonl > /dev/null
python3 - << 'PY' | tee -a "$report"
import json, sys
read = lambda name: [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in open(name)]
slurm, local = read("slurm.jsonl"), read("local.jsonl")
assert len(slurm) >= 3 and {r["base_width"] for r in slurm} == {1, 2, 4}, len(slurm)
if slurm != local:
    sys.exit("the records differ")
print(f"- {len(slurm)} records of the cluster equal those of a local run without interruption, but for the seconds")
PY

# The same form for complexity.
"$SEGFIT" measure discs --size 64 --out whole.json > /dev/null 2>&1
parts=$(sbatch --parsable --array=1-3 --time=0:10:00 --mem=1G --output="$lab/log/part-%a.txt" \
    --wrap "$SEGFIT measure discs --size 64 --no-cache --part \$SLURM_ARRAY_TASK_ID/3 --out part-\$SLURM_ARRAY_TASK_ID.json")
for _ in $(seq 60); do
    [ "$(state "$parts" | wc -l)" = 0 ] && break
    sleep 1
done
"$SEGFIT" measure --merge part-*.json --out merged.json > /dev/null
cmp whole.json merged.json
say "- complexity measured by an array of 3 parts: the merged profile has the bytes of the whole"

cp "$report" "$here/last_run.md"
echo "passed"
