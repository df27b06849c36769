#!/usr/bin/env bash
# Fuzzes every reader for a while, adds a line for each to runs.csv, and writes the table of all runs, runs.md:
#
#   fuzz/run.sh SECONDS [TARGET...]
#
# SECONDS are those of each target. Needs cargo-fuzz (`cargo install cargo-fuzz`), a nightly compiler and a C++ compiler. JOBS targets
# run at a time (1). A crash is written to artifacts/ and the target goes on; reproduce it with
# `TARGET=dicom cargo +nightly fuzz run -O reader artifacts/dicom/FILE`, mend it, and keep what it shows as a test of the crate.
# FORMATS names a folder of real image files that are used as seeds, too; they are not kept.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
all="picture tiff nifti dicom segments zarr npy mask dataset network onnx plan records profile mapping checkpoint run weights"
targets=${*:-$all}
jobs=${JOBS:-1}
export RAYON_NUM_THREADS=1 ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:detect_odr_violation=0
commit=$(git describe --always --dirty)
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
bin=target/$host/release/reader

cargo +nightly fuzz build -O
mkdir -p corpus artifacts logs
[ -f runs.csv ] || echo "date,commit,target,seconds,executions,corpus,coverage,crashes,slow,peak_mib,cpu_seconds" > runs.csv
SEEDS=corpus $bin -runs=0 2> logs/seeds.log

# Real files by their endings, small ones.
real() {
    [ -d "${FORMATS:-}" ] || return 0
    mkdir -p "corpus/$1"
    local pattern
    for pattern in "${@:2}"; do
        find "$FORMATS" -iname "$pattern" -size -60k | while read -r file; do cp "$file" "corpus/$1/real_$(basename "$file")"; done
    done
}
real picture '*.png' '*.jpg' '*.bmp' '*.gif'
real mask '*.png' '*.gif' '*.tif'
real tiff '*.tif' '*.tiff'
real nifti '*.nii' '*.nii.gz'
real dicom '*.dcm'

# Bytes of the largest input.
longest() {
    case $1 in
        plan | mapping | records) echo 200000 ;;
        onnx | run | profile) echo 60000 ;;
        network | checkpoint | weights) echo 30000 ;;
        dataset) echo 2000 ;;
        *) echo 16000 ;;
    esac
}

fuzz() {
    local target=$1 log=logs/$1.log start left units=0 rss=0 status
    start=$(date +%s)
    mkdir -p "corpus/$target" "artifacts/$target"
    : > "$log"
    local dict=()
    [ -f "dictionaries/$target.txt" ] && dict=(-dict="dictionaries/$target.txt")
    while left=$((start + seconds - $(date +%s))) && [ $left -gt 0 ]; do
        TARGET=$target $bin "corpus/$target" -max_total_time=$left -rss_limit_mb=2048 -timeout=20 -max_len="$(longest "$target")" \
            -print_final_stats=1 -artifact_prefix="artifacts/$target/" "${dict[@]}" > "$log.part" 2>&1 &
        local pid=$!
        wait $pid && status=0 || status=$?
        rm -rf "/dev/shm/segfit-fuzz-$pid" "/tmp/segfit-fuzz-$pid"
        cat "$log.part" >> "$log"
        units=$((units + $(sed -n 's/^stat::number_of_executed_units: *//p' "$log.part" | tail -1 || true) + 0))
        local peak
        peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log.part" | tail -1)
        [ "${peak:-0}" -gt "$rss" ] && rss=$peak
        [ $status -eq 0 ] && break
    done
    rm -f "$log.part"
    # Files that add nothing are dropped.
    mkdir -p "corpus/$target.small"
    TARGET=$target $bin -merge=1 -rss_limit_mb=2048 -timeout=20 "corpus/$target.small" "corpus/$target" > "logs/$target.merge.log" 2>&1 &
    local merging=$!
    if wait $merging; then
        rm -rf "corpus/$target"
        mv "corpus/$target.small" "corpus/$target"
    else
        rm -rf "corpus/$target.small"
    fi
    rm -rf "/dev/shm/segfit-fuzz-$merging" /dev/shm/segfit-fuzz-merge-*
    # Of the processes waited for: the second line of `times`, user and system.
    times > "$log.times"
    local cpu
    cpu=$(sed -n 2p "$log.times" | awk -F'[ms ]+' '{ printf "%d", 60 * $1 + $2 + 60 * $3 + $4 }')
    local cover files crashes slow
    cover=$({ grep -o 'cov: [0-9]*' "$log" || true; } | awk '$2 > most { most = $2 } END { print most + 0 }')
    files=$(find "corpus/$target" -type f | wc -l)
    crashes=$(find "artifacts/$target" -type f ! -name 'slow-unit-*' -newermt "@$start" | wc -l)
    slow=$(find "artifacts/$target" -type f -name 'slow-unit-*' -newermt "@$start" | wc -l)
    local entry
    entry="$(date -u +%Y-%m-%d),$commit,$target,$(($(date +%s) - start)),$units,$files,$cover,$crashes,$slow,$rss,$cpu"
    flock runs.csv -c "echo '$entry' >> runs.csv"
}

for target in $targets; do
    while [ "$(jobs -r | wc -l)" -ge "$jobs" ]; do wait -n || true; done
    fuzz "$target" &
done
wait

{
    echo "# Runs of the fuzz targets"
    echo
    echo "All runs of \`fuzz/run.sh\` in runs.csv, $(rustc +nightly --version). A crash is a file that panics or takes more than"
    echo "20 seconds or 2 GiB, a slow file takes more than 10 seconds; coverage is the most of a run, in edges. CPU minutes are fewer than minutes"
    echo "where more targets than cores ran at a time (unknown for the runs of the first day)."
    echo
    echo "| target | runs | minutes | CPU minutes | executions | coverage | crashes | slow | peak MiB |"
    echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for target in $all; do
        awk -F, -v target="$target" '$3 == target {
            runs++; seconds += $4; cpu += $11; units += $5; crashes += $8; slow += $9
            if ($7 > cover) cover = $7
            if ($10 > rss) rss = $10
        } END {
            if (runs) printf "| %s | %d | %d | %d | %d | %d | %d | %d | %d |\n", target, runs, seconds / 60, cpu / 60, units, cover, crashes, slow, rss
        }' runs.csv
    done
} > runs.md
cat runs.md
