"""Exported ONNX files in the programs that run them, compared with segfit's engine.

    python onnx_check.py SEGFIT --work DIR [--data DATA] [--only families|int8] [--out FILE]

SEGFIT is the program; `pip install onnx onnxruntime numpy pillow`. What is made lies in DIR and is not made again.

1. U-Net, CUMedNet, FC-DenseNet56 and Attention U-Net of two widths are trained for a few steps on phantoms, in patches, and
   exported (f32, f16, labels). `onnx.checker` checks every file fully. Images of odd sizes, batches of two and images smaller
   than their padding go through ONNX Runtime, tract (`segfit segment MODEL.onnx`) and the engine (`segfit segment RUN`). The largest
   difference of probabilities must be at most 1e-4.
2. With DATA, three real sets (folders with images/, masks/, split.csv): a U-Net of width 4 is trained for 600 steps, exported in f32
   and int8, calibrated on training images, and both segment the test images in ONNX Runtime (`segfit segment MODEL.onnx
   --onnxruntime`). The mean Dice of int8 must be within 0.01 of the engine's in f32.

Writes onnx.md. Exits with 1 where a limit is exceeded.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from PIL import Image

HERE = Path(__file__).resolve().parent
FAMILIES = ["unet", "cumednet", "fc_densenet56", "attention_unet"]
WIDTHS = [16, 2]
SIZES = [(201, 333), (37, 5), (1, 1), (64, 96)]
SETS = ["dsb2018_fluo", "ph2", "glas"]
LIMIT, DICE_LIMIT = 1e-4, 0.01


def segfit(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"segfit {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def library():
    """The shared library of the installed ONNX Runtime, which exports its C interface."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    found = sorted(folder.glob("libonnxruntime.so*")) or sorted(folder.glob("onnxruntime_pybind11_state*.so"))
    return found[0]


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def phantoms(program, work):
    data = work / "phantoms"
    if not data.exists():
        segfit(program, "phantom", "glands", "--count", 12, "--size", 64, "--out", data)
    return data


def odd_images(work):
    folder = work / "images"
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for height, width in SIZES:
        path = folder / f"{height}x{width}.png"
        # Smooth shapes with noise on them.
        rows, columns = np.mgrid[:height, :width]
        smooth = np.stack([np.sin(rows / (9 + 2 * c)) * np.cos(columns / (11 + c)) for c in range(3)], -1)
        values = 0.5 + 0.35 * smooth + 0.1 * random.standard_normal(smooth.shape)
        Image.fromarray((255 * values.clip(0, 1)).astype(np.uint8)).save(path)
    return folder


def trained(program, work, family, width):
    run = work / f"{family}-{width}"
    if not (run / "metrics.json").exists():
        shutil.rmtree(run, ignore_errors=True)
        network = work / f"{family}-{width}.json"
        segfit(program, "network", "narrow", "--network", family, "--channels", 3, "--width", width, "--out", network)
        segfit(program, "train", network, phantoms(program, work), "--patch", "--size", 32, "--steps", 20, "--out", run)
    return run


def as_input(path):
    """What segfit reads of an 8 bit image: [1][channels][rows][columns] in 0 to 1."""
    return np.moveaxis(np.asarray(Image.open(path), np.float32) / np.float32(255), -1, 0)[None]


def family_row(program, work, family, width):
    run, images = trained(program, work, family, width), odd_images(work)
    files = {}
    for name, extra in [("f32", []), ("f16", ["--precision", "f16"]), ("labels", ["--output", "labels"])]:
        made = json.loads(segfit(program, "export", run, "--onnx", *extra, "--json"))
        files[name] = made["files"][0]["path"]
        onnx.checker.check_model(onnx.load(files[name]), full_check=True)
    runs = {"engine": run, "tract": files["f32"]}
    for name, model in runs.items():
        segfit(program, "segment", model, images, "--out", work / "out" / name / run.name, "--no-overlay", "--probabilities")
    probabilities = lambda name, image: np.load(work / "out" / name / run.name / "probabilities" / f"{image}.npy")
    sessions = {name: session(path) for name, path in files.items()}
    worst = dict.fromkeys(["ONNX Runtime", "tract", "f16", "labels", "batch"], 0.0)
    per_size = []
    for height, width_ in SIZES:
        name = f"{height}x{width_}"
        image, expected = as_input(images / f"{name}.png"), probabilities("engine", name)
        found = sessions["f32"].run(None, {"image": image})[0][0]
        f16 = sessions["f16"].run(None, {"image": image})[0][0]
        labels = sessions["labels"].run(None, {"image": image})[0][0]
        two = sessions["f32"].run(None, {"image": np.concatenate([1 - image, image])})[0][1]
        per_size.append(float(np.abs(found - expected).max()))
        sorted_ = np.sort(expected, 0)
        clear = sorted_[-1] - sorted_[-2] > 2 * LIMIT
        for key, value in [("ONNX Runtime", per_size[-1]),
                           ("tract", np.abs(probabilities("tract", name) - expected).max()),
                           ("f16", np.abs(f16 - expected).max()),
                           ("labels", (clear & (labels != expected.argmax(0))).sum()),
                           ("batch", np.abs(two - found).max())]:
            worst[key] = max(worst[key], float(value))
    sizes = {name: Path(path).stat().st_size for name, path in files.items()}
    row = {"family": family, "width": width, "per_size": per_size, "bytes": sizes, **worst}
    print(row, flush=True)
    return row


def dice(mask, truth):
    mask, truth = mask > 0, truth > 0
    total = mask.sum() + truth.sum()
    return 1.0 if total == 0 else 2 * (mask & truth).sum() / total


def int8_row(program, work, data, name):
    source = data / name
    split = {row["file"]: row["split"] for row in csv.DictReader((source / "split.csv").open())}
    part = {"train": work / f"{name}-train", "test": work / f"{name}-test"}
    for which, folder in part.items():
        folder.mkdir(exist_ok=True)
        for file, of in split.items():
            image = source / "images" / Path(file).name
            if of.startswith("test") == (which == "test") and not (folder / image.name).exists():
                (folder / image.name).symlink_to(image)
    channels = 1 if Image.open(next(part["test"].iterdir())).mode == "L" else 3
    run, network = work / f"{name}-run", work / f"{name}.json"
    if not (run / "metrics.json").exists():
        segfit(program, "network", "narrow", "--network", "unet", "--channels", channels, "--width", 4, "--out", network)
        segfit(program, "train", network, source, "--steps", 600, "--out", run)
    export = lambda *extra: json.loads(segfit(program, "export", run, "--onnx", *extra, "--json"))["files"][0]
    f32, int8 = export(), export("--precision", "int8", "--calibrate", part["train"])
    onnx.checker.check_model(onnx.load(int8["path"]), full_check=True)
    runtime = ["--onnxruntime", library()]
    ways = {"engine f32": (run, []), "ONNX Runtime f32": (f32["path"], runtime), "ONNX Runtime int8": (int8["path"], runtime)}
    row = {"set": name, "bytes": [f32["bytes"], int8["bytes"]], "images": len(list(part["test"].iterdir()))}
    for way, (model, extra) in ways.items():
        out = work / "out" / name / way.replace(" ", "-")
        segfit(program, "segment", model, part["test"], "--out", out, "--no-overlay", *extra)
        row[way] = float(np.mean([dice(np.asarray(Image.open(file)), np.asarray(Image.open(source / "masks" / file.name)))
                                  for file in sorted(out.glob("*.png"))]))
    print(row, flush=True)
    return row


def report(work, out):
    rows = json.loads((work / "families.json").read_text()) if (work / "families.json").exists() else []
    sets = json.loads((work / "int8.json").read_text()) if (work / "int8.json").exists() else []
    text = ["# Exported ONNX files", "",
            f"Written by `onnx_check.py` with onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__} and the tract that is "
            "built into segfit. Every file passed `onnx.checker.check_model(full_check=True)`.", ""]
    if rows:
        sizes = ", ".join(f"{h}x{w}" for h, w in SIZES)
        text += ["## Probabilities", "",
                 f"The largest difference from segfit's engine, on RGB images of {sizes} pixels (networks trained for 20 steps). The limit is "
                 f"{LIMIT:.0e} for f32. *Labels* counts pixels of another class where the two most probable classes differ by more than "
                 f"{2 * LIMIT:.0e}; *batch* compares an image alone with the same in a batch of two.", "",
                 "| network | width | ONNX Runtime | of it " + " | of it ".join(f"{h}x{w}" for h, w in SIZES)
                 + " | tract | f16 weights | labels | batch | bytes f32 | f16 |",
                 "|---|---|" + "---|" * (len(SIZES) + 7)]
        for r in rows:
            each = " | ".join(f"{d:.1e}" for d in r["per_size"])
            text.append(f"| {r['family']} | {r['width']} | {r['ONNX Runtime']:.1e} | {each} | {r['tract']:.1e} | {r['f16']:.1e} | "
                        f"{r['labels']:.0f} | {r['batch']:.1e} | {r['bytes']['f32']:,} | {r['bytes']['f16']:,} |")
        text.append("")
    if sets:
        text += ["## Int8", "",
                 "Mean Dice of the test images at 256 x 256 (frames resized to 128 x 128 for the network): U-Nets of width 4, 600 steps; int8 "
                 f"calibrated on 16 training images. The limit of the difference is {DICE_LIMIT}.", "",
                 "| set | images | engine f32 | ONNX Runtime f32 | ONNX Runtime int8 | int8 - engine | bytes f32 | int8 |",
                 "|---|---|---|---|---|---|---|---|"]
        for r in sets:
            difference = r["ONNX Runtime int8"] - r["engine f32"]
            text.append(f"| {r['set']} | {r['images']} | {r['engine f32']:.4f} | {r['ONNX Runtime f32']:.4f} | {r['ONNX Runtime int8']:.4f} | "
                        f"{difference:+.4f} | {r['bytes'][0]:,} | {r['bytes'][1]:,} |")
        text.append("")
    out.write_text("\n".join(text))
    bad = [r for r in rows if max(r["ONNX Runtime"], r["tract"], r["batch"]) > LIMIT or r["labels"] > 0]
    bad += [r for r in sets if abs(r["ONNX Runtime int8"] - r["engine f32"]) > DICE_LIMIT]
    return bad


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("segfit")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", choices=["families", "int8"])
    parser.add_argument("--out", type=Path, default=HERE / "onnx.md")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if options.only != "int8":
        rows = [family_row(options.segfit, work, family, width) for width in reversed(WIDTHS) for family in FAMILIES]
        (work / "families.json").write_text(json.dumps(rows))
    if options.only != "families":
        if options.data is None:
            print("int8: skipped, no --data")
        else:
            rows = [int8_row(options.segfit, work, options.data, name) for name in SETS]
            (work / "int8.json").write_text(json.dumps(rows))
    bad = report(work, options.out)
    for row in bad:
        print("beyond the limit:", row)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
