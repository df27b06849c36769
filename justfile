# The list of commands. `.ci/run` installs the tools that are missing and calls `just ci`.

python := env("PYTHON", ".venv/bin/python")
export_python := env("EXPORT_PYTHON", ".venv/bin/python")
browser_modules := env("BROWSER_MODULES", "benchmarks/report")
chromium := env("CHROMIUM", "/usr/bin/chromium")

# This list
default:
    @just --list --unsorted

# Everything that must pass before a change is merged
ci: deny checks

# `ci` without cargo-deny. The tests come last, so that their result closes the output.
checks: lockfile fmt lint doc bench-build cross-check export-check report-check test

# Cargo.lock fits the manifests
lockfile:
    cargo metadata --locked --format-version 1 > /dev/null

# The code is formatted (`cargo fmt --all` formats it)
fmt:
    cargo fmt --all --check

# No warnings of rustc and clippy
lint:
    cargo clippy --workspace --all-targets --release -- -D warnings

# All tests
test:
    cargo test --workspace --release

# The documentation builds without warnings
doc:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --release

# Licences, duplicates and sources of the dependencies (deny.toml says why not advisories)
deny:
    cargo deny check --hide-inclusion-graph licenses bans sources

# Complexity measures agree with Pillow and NumPy, through the real program
cross-check:
    cargo build --release -p segfit-cli
    {{ python }} benchmarks/complexity/check.py target/release/segfit

# Exports, read by the programs they are for: ONNX Runtime, tract, PyTorch, bioimage.io, MONAI (C compilers: in the tests)
export-check:
    cargo build --release -p segfit-cli
    cargo build --release -p segfit-engine --examples
    {{ export_python }} benchmarks/export/onnx_check.py target/release/segfit --work target/export-check/onnx --only families --out target/export-check/onnx.md
    {{ export_python }} benchmarks/export/pytorch_check.py target/release/segfit --examples target/release/examples --work target/export-check/pytorch --out target/export-check/pytorch.md

# Reports in headless Chromium, beside the command line; needs node, Chromium and `npm install --prefix benchmarks/report --no-package-lock`
report-check *ARGS:
    cargo build --release -p segfit-cli
    {{ if path_exists(chromium) == "true" { "node benchmarks/report/browser.mjs target/release/segfit --modules " + browser_modules + " --work target/report-check --chromium " + chromium + " " + ARGS } else { "echo SKIPPED: no Chromium at " + chromium + ", the reports are NOT checked in a browser" } }}

# The timing programs (crates/*/examples) compile; a bench profile would build everything once more
bench-build:
    cargo build --workspace --release --examples

# The whole story on synthetic images
demo *ARGS:
    cargo run --release -p segfit-cli -- demo {{ ARGS }}

# A Python environment for `peers` and the scripts in benchmarks/
venv:
    python3 -m venv .venv
    .venv/bin/pip install -r benchmarks/requirements.txt

# Cross-checks with other tools; PYTHON names the interpreter if it is not the one of `just venv`
peers:
    {{ python }} benchmarks/engine/pytorch_unet.py
    {{ python }} benchmarks/engine/make_reference_step.py target/unet_step.safetensors
    {{ python }} benchmarks/engine/check_reference_step.py target/unet_step.safetensors

# Times the engine against other engines and writes benchmarks/engine/results.md (README.md in benchmarks/engine/peers adds those of Rust)
bench-engine *ARGS:
    cargo build --release -p segfit-cli
    {{ python }} benchmarks/engine/compare.py target/release/segfit {{ ARGS }}

# Kills, full disks, two processes at once, changed inputs (benchmarks/robustness/kill.md); takes about 15 minutes
kill-check *ARGS:
    cargo build --release -p segfit-cli
    {{ python }} benchmarks/robustness/kill.py target/release/segfit --work target/kill-check --out target/kill-check.md {{ ARGS }}

# Every layer of the engine against this machine's peak and bandwidth, as Markdown
roofline *ARGS:
    cargo run --release -p segfit-engine --example roofline -- {{ ARGS }}

# The engine's tests on the NEON kernels, emulated if need be; says SKIPPED where a tool is missing
neon *ARGS:
    benchmarks/aarch64/check.sh {{ ARGS }}
