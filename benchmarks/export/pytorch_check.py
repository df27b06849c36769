"""Checks the PyTorch, bioimage.io and MONAI exports of `segfit` with the programs that read them.

    cargo build --release -p segfit-cli -p segfit-engine --examples
    python pytorch_check.py target/release/segfit --examples target/release/examples --work DIR

Makes phantom images, trains U-Net, CUMedNet, FC-DenseNet 56 and Attention U-Net for a few steps at base widths 16 and 2, and a U-Net
on resized frames, and checks for each:

1. probabilities of `model.py` against the engine's, at several odd sizes (at most 1e-4 apart);
2. the loss of a batch in training mode against the engine's (at most 1e-5 apart, relative);
3. after some steps in PyTorch, `segfit import-weights`, `evaluate` and `train --init`: the same probabilities and Dice as in PyTorch;
4. `bioimageio test` (bioimageio.core) of the folder and of the archive;
5. the MONAI bundle: loaded, and run on images.

Prints the figures and writes them to `pytorch.md` beside this file (`--out` for another place). Exit code 1 when a bound is missed.
Needs torch, numpy, pillow, safetensors, bioimageio.core, pydantic < 2.13, onnxruntime, monai, pytorch-ignite, fire. For the
metadata's schema MONAI would need the network; it is not asked.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

FAMILIES = ["unet", "cumednet", "fc_densenet56", "attention_unet"]
WIDTHS = [16, 2]
SIZES = [(201, 333), (37, 5), (64, 64), (1, 70)]
PROBABILITY_BOUND = 1e-4
LOSS_BOUND = 1e-5
TRAINED_STEPS = 5


def call(*arguments, **options):
    """Standard output of a program that must succeed."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def make_run(segfit, work, data, family, width, mode, steps):
    """A run of a few steps on RGB phantoms, in `work/FAMILY-WIDTH/run`; one that is there already is taken."""
    folder = work / f"{family}-{width}-{mode}"
    if (folder / "run/weights.safetensors").exists():
        return folder
    folder.mkdir(parents=True)
    call(segfit, "network", "narrow", "--network", family, "--width", width, "--out", folder / "network.json")
    call(segfit, "train", folder / "network.json", data, "--size", 64, *patch(mode), "--steps", steps, "--out",
         folder / "run")
    return folder


def patch(mode):
    return ["--patch"] if mode == "patch" else []


def export(options, folder, images):
    """All exports of a run in `folder/export`; the engine's probabilities of `images`, [rows][columns][channels] bytes each."""
    call(options.segfit, "export", folder / "run", "--pytorch", "--bioimageio", "--monai", "--out", folder / "export")
    (folder / "images").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"images/{i}.png")
    call(options.segfit, "segment", folder / "run", folder / "images", "--probabilities", "--no-overlay", "--out",
         folder / "masks")
    return [np.load(folder / f"masks/probabilities/{i}.npy") for i in range(len(images))]


def load_model(path):
    """The module `model.py`, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"model_{abs(hash(str(path)))}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tensor(image):
    """Bytes, [rows][columns][channels], as a batch of one image with values 0 to 1."""
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).astype(np.float32) / 255)[None]


def largest_difference(function, images, expected):
    with torch.no_grad():
        got = [function(tensor(i))[0].numpy() for i in images]
    return [float(np.abs(g - e).max()) for g, e in zip(got, expected)]


def batch(module, samples, size=64):
    """Normalised images and targets of the first samples."""
    pairs = [(np.asarray(Image.open(i).convert("RGB")), np.asarray(Image.open(m))) for i, m in samples]
    images = np.stack([i[:size, :size].transpose(2, 0, 1) for i, _ in pairs]).astype(np.float32) / 255
    targets = np.stack([m[:size, :size] > 0 for _, m in pairs]).astype(np.int64)
    return module.normalise(torch.from_numpy(images)).contiguous(), torch.from_numpy(targets)


def first_losses(options, folder, module, samples):
    """The engine's loss of a batch in training mode, and PyTorch's in f32 and in f64."""
    x, t = batch(module, samples)
    (folder / "x").write_bytes(x.numpy().astype("<f4").tobytes())
    (folder / "t").write_bytes(t.numpy().astype(np.uint8).tobytes())
    shape = [x.shape[0], x.shape[2], x.shape[3]]
    engine = float(call(options.examples / "first_loss", folder / "run", *shape, folder / "x", folder / "t"))
    network = module.load().train()
    dropout, module.F.dropout = module.F.dropout, lambda x, p, training: x
    with torch.no_grad():
        single, double = module.loss(network(x), t).item(), None
        network = module.load().train().double()
        double = module.loss(network(x.double()), t).item()
    module.F.dropout = dropout
    return engine, single, double


def train_on(module, samples):
    """A network trained a few steps further, and its losses."""
    torch.manual_seed(0)
    x, t = batch(module, samples)
    network = module.load().train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(TRAINED_STEPS):
        optimiser.zero_grad()
        loss = module.loss(network(x), t)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return network.eval(), losses


def come_back(options, folder, module, network, data, samples, images, mode):
    """Through both ways of saving and `import-weights`: difference of probabilities, Dice of both sides."""
    module.save(network, folder / "own.safetensors")
    state = {f"module.{k}": v.contiguous() for k, v in network.state_dict().items()}
    save_file(state, folder / "wrapped.safetensors")
    for name in ["own", "wrapped"]:
        call(options.segfit, "import-weights", folder / "run", folder / f"{name}.safetensors", "--out", folder / name)
    same = (folder / "own/weights.safetensors").read_bytes() == (folder / "wrapped/weights.safetensors").read_bytes()
    assert same, "both ways of saving give the same weights"
    back = folder / "back"
    back.mkdir()
    shutil.copytree(folder / "own", back / "run")
    expected = export(options, back, images)
    difference = max(largest_difference(of_frames(network, mode), images, expected))
    metrics = json.loads(call(options.segfit, "evaluate", folder / "own", data, "--json"))
    split = {row["name"]: row["dice"] for row in metrics["per_image"]}
    dice = float(np.mean([own_dice(network, i, m) for i, m in samples if Path(i).stem in split]))
    call(options.segfit, "train", folder / "network.json", data, "--size", 64, *patch(mode), "--steps", 2,
         "--init", folder / "own", "--out", folder / "after")
    return difference, metrics["dice"]["mean"], dice


def own_dice(network, image, mask):
    """Dice of the foreground; frames are as large as the network's input."""
    with torch.no_grad():
        found = network.segment(tensor(Image.open(image).convert("RGB")))[0].numpy() > 0
    truth = np.asarray(Image.open(mask)) > 0
    total = found.sum() + truth.sum()
    return 1.0 if total == 0 else 2 * (found & truth).sum() / total


def of_frames(network, mode):
    """What the engine does with an image as it lies on disk."""
    return network.frame_probabilities if mode == "resize" else network.probabilities


def bioimageio(folder):
    """Status and warnings of `bioimageio test` for the folder and for the archive."""
    from bioimageio.core import test_description

    result = []
    for path in [folder / "export/bioimageio/rdf.yaml", folder / "export/bioimageio.zip"]:
        summary = test_description(str(path))
        result.append(summary.status)
        if summary.status != "passed":
            summary.display()
    return result


def monai_bundle(folder, images, expected, samples):
    """Loads the bundle, compares probabilities; runs it on images and compares its masks with those of model.py."""
    bundle = folder / "export/monai"
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(bundle / "configs/inference.json")
    parser.read_meta(bundle / "configs/metadata.json")
    sys.path.insert(0, str(bundle))
    for name in [n for n in sys.modules if n == "scripts" or n.startswith("scripts.")]:
        del sys.modules[name]
    network = parser.get_parsed_content("network_def")
    sys.path.remove(str(bundle))
    network.load_state_dict(torch.load(bundle / "models/model.pt", weights_only=True))
    network.eval()
    difference = max(largest_difference(network, images, expected))

    inputs = folder / "bundle_images"
    inputs.mkdir()
    for image, _ in samples[:2]:
        shutil.copy(image, inputs)
    call(sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json", "--meta_file",
         "configs/metadata.json", "--dataset_dir", inputs, "--output_dir", folder / "bundle_masks", cwd=bundle)
    agreement = []
    for image, _ in samples[:2]:
        with torch.no_grad():
            own = network(tensor(Image.open(image).convert("RGB")))[0].argmax(0).numpy() > 0
        mask = np.asarray(Image.open(folder / "bundle_masks" / f"{Path(image).stem}.png")) > 0
        agreement.append(float((mask == own).mean()))
    return difference, min(agreement)


def check(options, data, samples, family, width, mode):
    """One row of figures."""
    trained = make_run(options.segfit, options.work, data, family, width, mode, options.steps)
    folder = trained / "check"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copytree(trained / "run", folder / "run")
    shutil.copy(trained / "network.json", folder)
    stream = np.random.default_rng(7)
    images = [stream.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]
    expected = export(options, folder, images)
    module = load_model(folder / "export/pytorch/model.py")
    network = module.load()
    ours, theirs = network.state_dict(), load_file(folder / "export/pytorch/weights.safetensors")
    named = {k for k in ours if not k.endswith("num_batches_tracked")}
    assert named == set(theirs) and all(torch.equal(ours[k], theirs[k]) for k in named), "load_file reads the same"
    row = {"family": family, "width": width, "mode": mode, "parameters": sum(p.numel() for p in network.parameters())}
    row["probabilities"] = largest_difference(of_frames(network, mode), images, expected)
    engine, single, double = first_losses(options, folder, module, samples[:4])
    row["loss"] = {"engine": engine, "pytorch": single, "pytorch_f64": double, "relative": abs(engine - single) / single}
    network, row["losses"] = train_on(module, samples[:4])
    row["back"], row["dice"], row["dice_pytorch"] = come_back(options, folder, module, network, data, samples, images, mode)
    row["bioimageio"] = bioimageio(folder)
    row["monai"], row["monai_masks"] = monai_bundle(folder, images, expected, samples)
    return row


def is_good(row):
    return (
        max(row["probabilities"]) <= PROBABILITY_BOUND
        and row["loss"]["relative"] <= LOSS_BOUND
        and row["back"] <= PROBABILITY_BOUND
        and abs(row["dice"] - row["dice_pytorch"]) <= 1e-3
        and row["bioimageio"] == ["passed", "passed"]
        and row["monai"] <= PROBABILITY_BOUND
        and row["monai_masks"] >= 0.999
    )


def report(rows):
    import bioimageio.core
    import monai

    sizes = ", ".join(f"{h}x{w}" for h, w in SIZES)
    lines = [
        "# PyTorch, bioimage.io and MONAI exports",
        "",
        "Written by `pytorch_check.py`, which says what is measured. Probabilities: the largest difference from the engine's, for random",
        f"images of {sizes}. Loss: relative difference of the first loss in training mode. Back: after {TRAINED_STEPS} steps in PyTorch and",
        "`segfit import-weights`, the largest difference of probabilities, and Dice of `segfit evaluate` and of PyTorch. MONAI: the largest",
        "difference of probabilities, and the share of equal pixels of the masks that the bundle writes.",
        "",
        f"torch {torch.__version__}, bioimageio.core {bioimageio.core.__version__}, MONAI {monai.__version__}.",
        "",
        "| network | parameters | probabilities | loss | back | Dice here, in PyTorch | bioimageio test | MONAI |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    for r in rows:
        lines.append(
            f"| {r['family']}, width {r['width']}{', resized frames' * (r['mode'] == 'resize')} | {r['parameters']:,} | {max(r['probabilities']):.1e} | "
            f"{r['loss']['relative']:.1e} | {r['back']:.1e} | {r['dice']:.4f}, {r['dice_pytorch']:.4f} | "
            f"{', '.join(r['bioimageio'])} | {r['monai']:.1e}, {r['monai_masks']:.4f} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("segfit", type=lambda p: Path(p).resolve())
    parser.add_argument("--examples", type=lambda p: Path(p).resolve(), required=True)
    parser.add_argument("--work", type=lambda p: Path(p).resolve(), required=True, help="a folder for everything; runs in it are taken")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("pytorch.md"))
    parser.add_argument("--families", nargs="+", default=FAMILIES)
    parser.add_argument("--widths", nargs="+", type=int, default=WIDTHS)
    parser.add_argument("--steps", type=int, default=20, help="of training in segfit")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("BIOIMAGEIO_CACHE_PATH", str(options.work / "cache"))
    data = options.work / "data"
    if not data.exists():
        call(options.segfit, "phantom", "glands", "--count", 12, "--size", 64, "--out", data)
    samples = [(i, data / "masks" / i.name) for i in sorted((data / "images").iterdir())]
    rows = []
    networks = [(family, width, "patch") for family in options.families for width in options.widths]
    for network in [*networks, ("unet", 2, "resize")]:
        start = time.perf_counter()
        rows.append(check(options, data, samples, *network))
        print(json.dumps(rows[-1]), f"{time.perf_counter() - start:.0f} s", flush=True)
    options.out.write_text(report(rows))
    bad = [f"{r['family']} width {r['width']}" for r in rows if not is_good(r)]
    print(f"{len(rows) - len(bad)} passed, {len(bad)} failed" + (": " + ", ".join(bad) if bad else ""))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
