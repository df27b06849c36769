"""The commands that are killed and starved, their small inputs, and what of their results must be equal."""

import gzip
import json
import os
import re
import shutil
import struct
import subprocess
import time
import zlib
from pathlib import Path

import file_checks

SIZE = "48"
TRAIN = ["train", "inputs/plan/plan.json", "inputs/data", "--size", SIZE]


class Wrong(Exception):
    """segfit broke a promise."""


class Command:
    """One command, started in a folder that has `inputs` in it."""

    def __init__(self, name, words, outputs, is_final=True, before=None):
        self.name, self.words, self.outputs = name, words, outputs
        # Whether every file that it writes is written once, so that it is the result's or, before, an older one's.
        self.is_final = is_final
        # The same command with other inputs, whose results are in the way.
        self.before = before


COMMANDS = [
    Command("train", [*TRAIN, "--steps", "400", "--out", "run"], ["run"], is_final=False),
    Command("train, stopped early", [*TRAIN, "--steps", "600", "--patience", "3", "--out", "run"], ["run"], is_final=False),
    Command("train, collapsing", [*TRAIN, "--recipe", "inputs/still.json", "--out", "run"], ["run"], is_final=False),
    Command("calibrate run", ["calibrate", "run", "inputs/manifest.json", "--out", "work"], ["work"], is_final=False),
    Command("segment, pictures", ["segment", "inputs/run", "inputs/large/images", "--probabilities", "--out", "masks"],
            ["masks"], before=["segment", "inputs/other", "inputs/large/images", "--probabilities", "--out", "masks"]),
    Command("segment, stacks", ["segment", "inputs/run", "inputs/stacks", "--out", "masks"], ["masks"],
            before=["segment", "inputs/other", "inputs/stacks", "--out", "masks"]),
    Command("export", ["export", "inputs/run", "--all", "--calibrate", "inputs/data/images", "--out", "export"], ["export"],
            before=["export", "inputs/other", "--all", "--calibrate", "inputs/data/images", "--out", "export"]),
    Command("measure", ["measure", "inputs/large", "--size", SIZE, "--cache", "cache", "--out", "profile.json",
                        "--per-image", "images.csv"], ["cache", "profile.json", "images.csv"],
            before=["measure", "inputs/data", "--size", SIZE, "--cache", "cache", "--out", "profile.json",
                    "--per-image", "images.csv"]),
]


def start(segfit, words, folder, **environment):
    """The process, whose words go to the file `stderr`."""
    with open(folder / "stderr", "wb") as words_of_it:
        return subprocess.Popen([segfit, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=words_of_it,
                                env={**os.environ, **environment})


def run(segfit, words, folder, **environment):
    """Exit code and words."""
    process = start(segfit, words, folder, **environment)
    code = process.wait()
    return code, (folder / "stderr").read_text(errors="replace")


def succeed(segfit, words, folder, **environment):
    code, said = run(segfit, words, folder, **environment)
    if code != 0:
        raise Wrong(f"`segfit {' '.join(words)}` ended with {code}: {said}")
    return said


def refuse(segfit, words, folder, parts, code=2):
    """Runs what must be refused with all of `parts` in its words, which are returned."""
    found, said = run(segfit, words, folder)
    missing = [part for part in parts if part not in said]
    if found != code or missing or "panicked" in said:
        raise Wrong(f"`segfit {' '.join(words)}` ended with {found} instead of {code}, without {missing} in: {said}")
    return said


def error_of(said):
    """The line of the error, for the report, where it stands between backticks."""
    found = [line for line in said.splitlines() if line.startswith(("error: ", "warning: "))]
    return (found[-1] if found else said.strip()).replace("`", "'")


# Times, the only parts of results that differ from run to run.
TIMES = {
    "log.jsonl": (rb'"seconds":[-+.e0-9]+', b'"seconds":0'),
    "training.json": (rb'"seconds": [-+.e0-9]+', b'"seconds": 0'),
    "report.html": (rb'(time of training</th><td class="text">)[^<]* on ', rb"\1 on "),
    "records": (rb'"seconds":[-+.e0-9]+', b'"seconds":0'),
}


def content(path):
    """The bytes of a file without times."""
    data = path.read_bytes()
    pattern = TIMES.get(path.name) or (TIMES["records"] if path.parent.name == "records" else None)
    return re.sub(*pattern, data) if pattern else data


def walk(folder, outputs):
    """Paths of all files and folders of the outputs."""
    for output in outputs:
        root = folder / output
        if root.is_dir():
            yield root
            for place, folders, files in os.walk(root):
                yield from (Path(place) / name for name in [*folders, *files])
        elif root.exists():
            yield root
    yield from (path for path in folder.iterdir() if file_checks.TEMPORARY.match(path.name))


def tree(folder, outputs):
    """Everything in the outputs: relative paths, and contents without times."""
    paths = sorted(walk(folder, outputs))
    return {str(p.relative_to(folder)): None if p.is_dir() else content(p) for p in paths}


def leftovers(folder, outputs):
    return [p for p in walk(folder, outputs) if file_checks.TEMPORARY.match(p.name)]


def check_files(folder, outputs, allowed=None):
    """Every output file can be read to its end, and is one of those allowed. Their number."""
    count = 0
    for path in walk(folder, outputs):
        if path.is_dir() or any(file_checks.TEMPORARY.match(part) for part in path.relative_to(folder).parts):
            continue
        file_checks.check(path)
        count += 1
        name = str(path.relative_to(folder))
        if allowed and content(path) not in [result[name] for result in allowed if name in result]:
            raise Wrong(f"{name} is neither the old file nor that of a run without interruption")
    return count


def same(found, wanted, what):
    """Fails with the first differences."""
    if found != wanted:
        names = [n for n in sorted({*found, *wanted}) if found.get(n, 0) != wanted.get(n, 0)]
        raise Wrong(f"{what}: not as without interruption: {names[:8]} of {len(names)}")


class Scene:
    """Inputs, and the results of runs without interruption."""

    def __init__(self, segfit, work):
        self.segfit, self.work, self.number = segfit, work, 0
        shutil.rmtree(work, ignore_errors=True)
        self.inputs = work / "inputs"
        self.inputs.mkdir(parents=True)
        self.prepare()
        self.seconds, self.results, self.older = {}, {}, {}
        for command in COMMANDS:
            self.observe(command)

    def fresh(self, root=None):
        """A folder with the inputs in it."""
        self.number += 1
        folder = (root or self.work) / f"trial-{self.number}"
        folder.mkdir()
        (folder / "inputs").symlink_to(self.inputs)
        return folder

    def call(self, *words):
        return succeed(self.segfit, [str(w) for w in words], self.work)

    def prepare(self):
        for name, count, size in [("data", 20, 48), ("large", 60, 160), ("second", 16, 48)]:
            self.call("phantom", "nuclei", "--count", count, "--size", size, "--seed", count, "--out", f"inputs/{name}")
        self.call("plan", "inputs/data", "--size", SIZE, "--max-params", "8k", "--width", "8", "--depth", "2", "--out",
                  "inputs/plan")
        self.call("network", "narrow", "--channels", "1", "--width", "12", "--depth", "3", "--out", "inputs/network.json")
        for name, seed in [("run", 0), ("other", 1)]:
            self.call("train", "inputs/network.json", "inputs/data", "--size", SIZE, "--steps", 60, "--seed", seed,
                      "--out", f"inputs/{name}")
        recipe = json.loads((self.inputs / "run/recipe.json").read_text())
        (self.inputs / "short.json").write_text(json.dumps({**recipe, "steps": 120, "name": "short"}))
        still = {"steps": 120, "name": "still", "learning_rate": 1e-12, "max_learning_rate": 1e-12}
        (self.inputs / "still.json").write_text(json.dumps({**recipe, **still}))
        self.call("calibrate", "plan", "inputs/data", "inputs/second", "--widths", "4,2", "--depths", "2", "--size", SIZE,
                  "--recipe", "inputs/short.json", "--out", "inputs/manifest.json")
        (self.inputs / "stacks").mkdir()
        write_stacks(self.inputs / "stacks", self.inputs / "large/images")

    def observe(self, command):
        """Two runs without interruption must give the same but for times."""
        results = []
        for _ in range(2):
            folder, began = self.fresh(), time.monotonic()
            succeed(self.segfit, command.words, folder)
            self.seconds[command.name] = time.monotonic() - began
            check_files(folder, command.outputs)
            self.check_readers(folder, command.outputs)
            results.append(tree(folder, command.outputs))
        same(results[1], results[0], f"{command.name}, twice")
        self.results[command.name] = results[0]
        if command.before:
            folder = self.fresh()
            succeed(self.segfit, command.before, folder)
            self.older[command.name] = (folder, tree(folder, command.outputs))

    def check_readers(self, folder, outputs):
        """The readers notice when the second half of a file is missing."""
        for path in [p for p in walk(folder, outputs) if p.is_file() and p.stat().st_size > 1]:
            data = path.read_bytes()
            cut = self.work / "cut" / path.relative_to(folder)
            cut.parent.mkdir(parents=True, exist_ok=True)
            cut.write_bytes(data[:len(data) // 2].rstrip(b"\n"))
            try:
                file_checks.check(cut)
            except ValueError:
                continue
            raise Wrong(f"the reader of {path} does not notice that half of it is missing")

    def finish(self, command, folder, what):
        """The same command again succeeds, and the result is that of a run without interruption, nothing left over."""
        said = succeed(self.segfit, command.words, folder)
        self.check_result(command, folder, what)
        return said

    def check_result(self, command, folder, what):
        older = self.older[command.name][1] if command.before else {}
        wanted = self.results[command.name]
        found = tree(folder, command.outputs)
        # What only the older results have stays, and is as it was.
        extra = {name: data for name, data in found.items() if name not in wanted and older.get(name, 0) == data}
        same({n: d for n, d in found.items() if n not in extra}, wanted, what)

    def allowed(self, command, is_older):
        if not command.is_final:
            return None
        return [self.results[command.name], *([self.older[command.name][1]] if is_older else [])]


def pixels_of(path):
    """Rows of an 8-bit gray PNG whose rows are filtered."""
    data, at, body = path.read_bytes(), 8, b""
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at:at + 8])
        chunk = data[at + 8:at + 8 + length]
        if name == b"IHDR":
            width, height = struct.unpack(">II", chunk[:8])
        body += chunk if name == b"IDAT" else b""
        at += 12 + length
    raw, rows, above = zlib.decompress(body), [], bytes(width)
    for y in range(height):
        kind, row = raw[y * (width + 1)], bytearray(raw[y * (width + 1) + 1:(y + 1) * (width + 1)])
        for x in range(width):
            left, corner = (row[x - 1], above[x - 1]) if x else (0, 0)
            guess = left + above[x] - corner
            paeth = min((left, above[x], corner), key=lambda v: abs(guess - v))
            row[x] = (row[x] + [0, left, above[x], (left + above[x]) // 2, paeth][kind]) & 255
        rows.append(bytes(row))
        above = rows[-1]
    return rows


def write_png(path, rows):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def write_stacks(folder, images):
    """Phantoms as the slices of a NIfTI volume, a TIFF stack and a NumPy stack."""
    files = sorted(images.iterdir())
    slices = [b"".join(pixels_of(path)) for path in files[:16]]
    side = int(len(slices[0]) ** 0.5)
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, side, side, len(slices), 1, 1, 1, 1)
    struct.pack_into("<hh", head, 70, 2, 8)
    struct.pack_into("<8f", head, 76, 1, 1, 1, 3, 0, 0, 0, 0)
    struct.pack_into("<f", head, 108, 352)
    head[344:348] = b"n+1\0"
    (folder / "volume.nii.gz").write_bytes(gzip.compress(bytes(head) + b"".join(slices), mtime=0))
    text = str({"descr": "|u1", "fortran_order": False, "shape": (len(slices), side, side)}).encode()
    text += b" " * (-(11 + len(text)) % 64) + b"\n"
    (folder / "array.npy").write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + b"".join(slices))
    data = bytearray(b"II*\0" + struct.pack("<I", 8))
    for index, pixels in enumerate(slices):
        tags = [(256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 1), (262, 3, 1), (277, 3, 1), (278, 4, side),
                (279, 4, len(pixels)), (273, 4, len(data) + 2 + 9 * 12 + 4)]
        data += struct.pack("<H", len(tags))
        data += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in sorted(tags))
        last = index + 1 == len(slices)
        data += struct.pack("<I", 0 if last else len(data) + 4 + len(pixels)) + pixels
    (folder / "pages.tif").write_bytes(data)
