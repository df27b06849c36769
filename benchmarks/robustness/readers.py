"""Bad images, masks and volumes given to segfit and to the readers of nnU-Net and MONAI: what each of them says.

    SEGFIT_KEEP_BAD=bad cargo test --release -p segfit-cli --test bad_inputs kept
    python benchmarks/robustness/readers.py target/release/segfit bad

The first line writes the corpus of crates/segfit-cli/tests/bad_inputs into the folder `bad`. nnU-Net's reader is the one that
nnU-Net chooses for the ending of the file (`nnunetv2.imageio`), MONAI's is `LoadImage` with the readers that it tries by itself. segfit
is `segfit inspect` for images, then `segfit measure`, which alone refuses NaN; for masks, which it judges beside their images, it is
`segfit measure`. Every file is read in a process of
its own, with a limit of time and of memory. Writes readers.md beside this script.
"""

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
SECONDS = 30
BYTES = 4 << 30

NAMED, UNNAMED, READ, KILLED, UNSUPPORTED = (
    "message that names the file",
    "message without the file's name",
    "read without complaint",
    "crashed, killed or timed out",
    "ending not read",
)
# A name counts wherever it stands in the message or in what is printed before it.
OUTCOMES = [NAMED, UNNAMED, READ, KILLED]


class NoReader(Exception):
    """The program has no reader for this ending."""


def ending(path):
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def by_nnunet(path, is_mask):
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_file_ending

    try:
        reader = determine_reader_writer_from_file_ending(ending(path), verbose=False)()
    except RuntimeError as error:
        raise NoReader from error
    data, _ = reader.read_seg(str(path)) if is_mask else reader.read_images([str(path)])
    data.sum()


def by_monai(path, is_mask):
    from monai.transforms import LoadImage

    LoadImage(image_only=True)(str(path)).sum()


def messages(error):
    """The texts of an error and of what it came from."""
    while error is not None:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or error.__context__


def child(read, path, is_mask, out):
    """What the forked process does: reads, writes what it says, ends without cleaning up."""
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + BYTES, mapped + BYTES))
    os.setsid()
    os.dup2(out, 1)
    os.dup2(out, 2)
    code = 0
    try:
        read(path, is_mask)
    except NoReader:
        code = 77
    except MemoryError:
        code = 78
    except BaseException as error:  # noqa: BLE001: whatever a reader raises is its message
        print("\n".join(messages(error)), flush=True)
        code = 1
    sys.stdout.flush()
    os._exit(code)


def outcome(text, path, is_series):
    names = [path.name] + ([f"{path.name}/"] if is_series else [])
    return NAMED if any(name in text for name in names) else UNNAMED


def forked(read, path, is_mask):
    with tempfile.TemporaryFile() as file:
        began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            child(read, path, is_mask, file.fileno())
        status = None
        while time.monotonic() - began < SECONDS:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            time.sleep(0.01)
        else:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return KILLED, f"no answer within {SECONDS} s"
        file.seek(0)
        lines = file.read().decode(errors="replace").splitlines()
        text = "\n".join(line for line in lines if not line.startswith("nvImageCodec"))
    if os.WIFSIGNALED(status):
        return KILLED, f"ended by signal {os.WTERMSIG(status)}"
    code = os.WEXITSTATUS(status)
    if code == 77:
        return UNSUPPORTED, ""
    if code == 78:
        return KILLED, f"wanted more than {BYTES >> 30} GiB"
    if code == 0:
        return READ, text
    return outcome(text, path, path.is_dir()), text


def warm_up(good):
    """Reads good files before the first fork: what the readers load on first use is then there in every process."""
    for read in (by_nnunet, by_monai):
        for path in good:
            try:
                read(path, False)
            except Exception as error:  # noqa: BLE001: whether they can be read is measured afterwards
                print(f"{read.__name__} {path.name}: {type(error).__name__}")


def by_segfit(program, path, is_mask, is_good):
    data = path
    while data.name != "data":
        data = data.parent
    measure = ["measure", "data", "--size", "32", "--no-cache"]
    found = segfit_says(program, measure if is_mask else ["inspect", path.relative_to(data.parent)], data, path)
    if found[0] == READ and not is_mask and not is_good:
        found = segfit_says(program, measure, data, path)
    return found


def segfit_says(program, command, data, path):
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))  # noqa: E731
    try:
        done = subprocess.run(
            [program, *command], cwd=data.parent, capture_output=True, text=True, timeout=SECONDS, preexec_fn=limit
        )
    except subprocess.TimeoutExpired:
        return KILLED, f"no answer within {SECONDS} s"
    if done.returncode == 0:
        return READ, ""
    if done.returncode != 2:
        return KILLED, f"code {done.returncode}"
    said = [line for line in done.stderr.splitlines() if not line.startswith("warning:")]
    return outcome("\n".join(said), path, path.is_dir()), "\n".join(said)


def short(text, n=150):
    text = " ".join(text.split()).replace("|", "\\|").replace("`", "'")
    # Where ITK was built does not matter.
    text = re.sub(r"/(work|tmp)/\S*/(s?itk\w+)", r"\2", text)
    return text if len(text) <= n else text[: n - 3] + "..."


def cell(what, text):
    """An outcome in a word, with the beginning of the message."""
    word = {NAMED: "names it", UNNAMED: "no name", READ: "read", KILLED: "killed", UNSUPPORTED: "ending not read"}[what]
    return f"{word}: {short(text.removeprefix('error: '))}" if text and what != READ else word


def table(counts, programs, kinds):
    lines = ["| files | program | " + " | ".join(OUTCOMES) + " | ending not read |", "| --- | --- " + "| --- " * 5 + "|"]
    for kind in kinds:
        for program in programs:
            found = counts[kind][program]
            lines.append(f"| {kind} | {program} | " + " | ".join(str(found.get(o, 0)) for o in [*OUTCOMES, UNSUPPORTED]) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segfit", type=Path, help="the program")
    parser.add_argument("folder", type=Path, help="the corpus")
    parser.add_argument("--out", type=Path, default=HERE / "readers.md")
    args = parser.parse_args()
    segfit, folder = args.segfit.resolve(), args.folder.resolve()

    programs = {
        "segfit": lambda path, mask, good: by_segfit(segfit, path, mask, good),
        "nnU-Net": lambda path, mask, good: forked(by_nnunet, path, mask),
        "MONAI": lambda path, mask, good: forked(by_monai, path, mask),
    }
    cases = json.loads((folder / "cases.json").read_text())
    warm_up([folder / case["file"] for case in cases if case["good"]])
    counts, rows = {}, []
    for case in cases:
        path = folder / case["file"]
        is_mask = "/masks/" in case["file"]
        kind = "good" if case["good"] else "masks" if is_mask else "images and volumes"
        found = {name: read(path, is_mask, case["good"]) for name, read in programs.items()}
        for name, (what, _) in found.items():
            counts.setdefault(kind, {}).setdefault(name, {}).setdefault(what, 0)
            counts[kind][name][what] += 1
        rows.append((kind, case, found))
        print(case["name"], {name: what for name, (what, _) in found.items()}, flush=True)

    packages = ["nnunetv2", "monai", "SimpleITK", "nibabel", "scikit-image", "tifffile", "imagecodecs", "itk", "pydicom", "pillow", "numpy"]
    bad = [row for row in rows if row[0] != "good"]
    both = [row for row in bad if all(row[2][name][0] != UNSUPPORTED for name in programs)]
    common = {name: sum(row[2][name][0] == NAMED for row in both) for name in programs}
    lines = [
        "# Bad files, as other readers meet them",
        "",
        "Printed by `python benchmarks/robustness/readers.py target/release/segfit bad`; the script tells how the files are made and "
        "read. " + ", ".join(f"{name} {version(name)}" for name in packages) + ".",
        "",
        f"{len(bad)} bad files. Of the {len(both)} whose endings all three read, "
        + ", ".join(f"{name} names the file in {n}" for name, n in common.items())
        + ".",
        "",
        *table(counts, programs, ["images and volumes", "masks"]),
        "",
        "Masks: many are readable and wrong only beside their image or beside the other masks, which readers are not asked about. "
        "nnU-Net looks at sizes and labels in a step of its own (`--verify_dataset_integrity`).",
        "",
        "A file that a program reads without complaint is not always one that it should refuse: other programs may read kinds that "
        "segfit does not (zstd, complex numbers), and NaN is a number to them. The rows say which these are.",
        "",
        f"The same readers on {len(rows) - len(bad)} good files, one of each format:",
        "",
        *table(counts, programs, ["good"]),
        "",
        "## Every file",
        "",
        "| file | what | segfit | nnU-Net | MONAI |",
        "| --- | --- | --- | --- | --- |",
    ]
    for _, case, found in bad:
        cells = " | ".join(cell(*found[name]).replace(f"{folder}/", "") for name in programs)
        lines.append(f"| {case['file'].split('/', 2)[2]} | {case['name']} | {cells} |")
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
