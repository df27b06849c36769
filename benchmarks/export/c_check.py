"""Holds exported C text against the engine and writes benchmarks/export/c.md.

    python benchmarks/export/c_check.py SEGFIT EXAMPLE --work DIR --data DATA

SEGFIT is the program, EXAMPLE target/release/examples/export_source, DATA the folder of the real data sets. Trains
small networks in DIR (kept there, so that a second call is quick). Needs gcc; with arm-none-eabi-gcc the text is also
compiled for a Cortex-M4. Exits with 1 when a difference is larger than it must be.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

PROBABILITIES = 1e-4  # largest difference in float
DICE = 0.01  # largest difference of mean Dice in int8
SETS = ["dsb2018_fluo", "ph2", "glas"]
CHANNELS = {"dsb2018_fluo": 1, "ph2": 3, "glas": 3}
# Family, width, sizes.
NETWORKS = [
    ("unet", 2), ("unet", 16), ("cumednet", 2), ("cumednet", 16), ("fc_densenet56", 8), ("fc_densenet56", 48),
    ("attention_unet", 2), ("attention_unet", 8),
]
# Data set, family and width that int8 is compared on besides U-Nets.
OTHERS = [("dsb2018_fluo", "attention_unet", 4), ("dsb2018_fluo", "cumednet", 4)]
SIZES = [(128, 128), (201, 333), (37, 5)]


def call(*words):
    words = [str(w) for w in words]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def trained(segfit, work, data, family, width, steps):
    """A run of `steps` steps; trained only once."""
    run = work / f"{data.name}_{family}_{width}_{steps}"
    if not (run / "weights.safetensors").exists():
        network = work / f"{family}_{width}_{CHANNELS[data.name]}.json"
        call(segfit, "network", "narrow", "--network", family, "--width", width, "--channels", CHANNELS[data.name],
             "--out", network)
        call(segfit, "train", network, data, "--out", run, "--steps", steps)
    return run


def cortex(folder):
    """Text and data sizes of the two headers for a Cortex-M4 without floating-point unit; None without the compiler."""
    if shutil.which("arm-none-eabi-gcc") is None:
        return None
    sizes = {}
    for name, macro in [("segfit_model", "SEGFIT"), ("segfit_model_int8", "SEGFIT_INT8")]:
        source = folder / f"{name}.c"
        source.write_text(f'#define {macro}_IMPLEMENTATION\n#include "{name}.h"\n')
        call("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-Os", "-std=c99", "-Wall", "-Wextra", "-Werror",
             "-pedantic", "-c", source, "-o", folder / f"{name}.o")
        text, data, bss = call("arm-none-eabi-size", folder / f"{name}.o").splitlines()[1].split()[:3]
        sizes[name] = (int(text), int(data), int(bss))
    return sizes


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("segfit", type=Path)
    parser.add_argument("example", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    segfit, work = options.segfit.resolve(), options.work.resolve()
    version = call("gcc", "--version").splitlines()[0].split()[-1]
    lines = [
        "# Exported C text against the engine", "",
        "Made by `benchmarks/export/c_check.py`; the text is compiled by gcc "
        f"{version} with `-O2 -std=c99 -Wall -Wextra -Werror -pedantic`.", "",
        "## Float: largest difference of probabilities", "",
        "Networks after 20 steps on dsb2018_fluo, two test images resized to the size. It must be at most 1e-4. So little",
        "trained, they say little about int8, whose column is the worst pixel; its Dice is below.", "",
        "| network | width | weights | size | f32 | int8 | flash f32 | RAM f32 | flash int8 | RAM int8 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    failed = []

    def check(run, data, size, images):
        folder = work / f"{run.name}_{size[0]}x{size[1]}"
        folder.mkdir(exist_ok=True)
        said = call(options.example.resolve(), "check", run, data, *size, folder, images)
        found = json.loads(said.splitlines()[-1])
        print(run.name, size, said.splitlines()[-1], flush=True)
        if found["largest_f32"] > PROBABILITIES:
            failed.append(f"{run.name} {size}: probabilities differ by {found['largest_f32']}")
        return found, folder

    data = options.data / "dsb2018_fluo"
    for family, width in NETWORKS:
        run = trained(segfit, work, data, family, width, 20)
        for size in SIZES:
            found, _ = check(run, data, size, 2)
            (flash, ram), (flash8, ram8) = (found["footprints"][n] for n in ["segfit_model", "segfit_model_int8"])
            lines.append(
                f"| {family} | {width} | {found['weights']:,} | {size[0]} x {size[1]} | {found['largest_f32']:.1e} "
                f"| {found['largest_int8']:.3f} | {flash:,} | {ram:,} | {flash8:,} | {ram8:,} |")
    lines += [
        "", "Flash: bytes of constants. RAM: bytes of the arena, besides the image and the result.", "",
        "## Int8: mean Dice on test images", "",
        "After 600 steps, all test images at 128 x 128. C in int8 must be within 0.01 of C in float.", "",
        "| data set | network | width | images | engine | engine int8 | C | C int8 | C int8 - C |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    object_sizes = []
    for name, family, width in [(n, "unet", w) for n in SETS for w in [2, 4]] + OTHERS:
        run = trained(segfit, work, options.data / name, family, width, 600)
        found, folder = check(run, options.data / name, (128, 128), 1000)
        dice = found["dice"]
        difference = dice["c_int8"] - dice["c"]
        # The engine itself has no int8 form of sums and products.
        engine_int8 = f"{dice['engine_int8']:.4f}" if "engine_int8" in dice else "-"
        lines.append(
            f"| {name} | {family} | {width} | {found['images']} | {dice['engine']:.4f} | {engine_int8} "
            f"| {dice['c']:.4f} | {dice['c_int8']:.4f} | {difference:+.4f} |")
        if abs(difference) > DICE:
            failed.append(f"{run.name}: Dice differs by {difference}")
        if name == SETS[0] and family == "unet":
            sizes = cortex(folder)
            if sizes:
                object_sizes += [(width, n, *s, found["footprints"][n]) for n, s in sizes.items()]
    if object_sizes:
        lines += ["", "## Cortex-M4", "",
                  "Object files of arm-none-eabi-gcc (`-mcpu=cortex-m4 -mthumb -Os`), U-Net for gray images of 128 x "
                  "128. `text` is code and constants; the arena is the caller's.", "",
                  "| width | file | text | of it constants | data | bss | arena |", "|---|---|---|---|---|---|---|"]
        for width, name, text, data_bytes, bss, (flash, ram) in object_sizes:
            lines.append(f"| {width} | {name}.h | {text:,} | {flash:,} | {data_bytes} | {bss} | {ram:,} |")
    else:
        lines += ["", "Not compiled for a Cortex-M4: arm-none-eabi-gcc is not installed."]
    Path(__file__).with_name("c.md").write_text("\n".join(lines) + "\n")
    for line in failed:
        print("FAILED", line)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
