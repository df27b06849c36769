"""What happens besides kills: two processes, full and read-only disks, inputs that change, clocks. Each check gives lines of a
table, what was done and what segfit said or did, and raises `Wrong` where a promise is broken."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from scene import (COMMANDS, SIZE, Wrong, check_files, error_of, leftovers, pixels_of, refuse, run, same, start, succeed,
                   tree, write_png)

BY_NAME = {command.name: command for command in COMMANDS}

# Times that two processes write into one place.
ROUNDS = 10

# Seconds from 1970 that a clock may show: 1970-01-02, and the year 2100.
CLOCKS = {"1970": 86_400, "2100": 4_102_444_800}


def until(is_so, what, seconds=60):
    """Waits for something to happen."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise Wrong(f"{what} did not happen within {seconds} seconds")
        time.sleep(0.01)


def reports(folder):
    """Lines of a training's log."""
    log = folder / "log.jsonl"
    return len(log.read_bytes().splitlines()) if log.exists() else 0


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def half_trained(scene, folder, command=None):
    """A training that was killed in its middle."""
    command = command or BY_NAME["train"]
    process = start(scene.segfit, command.words, folder)
    until(lambda: reports(folder / "run") >= 6 or process.poll() is not None, "a report of the training")
    kill(process)
    if (folder / "run/weights.safetensors").exists():
        raise Wrong("the training ended before it could be killed")


def half_done(scene, command, folder):
    """The command, killed in about its middle."""
    for share in [0.5, 0.3, 0.15, 0.05]:
        process = start(scene.segfit, command.words, folder)
        time.sleep(share * scene.seconds[command.name])
        kill(process)
        if process.returncode == -signal.SIGKILL:
            return
        for output in command.outputs:
            remove(folder / output)
    raise Wrong(f"{command.name} always ended before it could be killed")


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# 2. Two processes

def two_trainings(scene):
    folder, command = scene.fresh(), BY_NAME["train"]
    first = start(scene.segfit, command.words, folder)
    until(lambda: reports(folder / "run") >= 2, "a report of the training")
    # Standing still, it cannot end while the second one looks.
    first.send_signal(signal.SIGSTOP)
    before = tree(folder, command.outputs)
    said = refuse(scene.segfit, command.words, folder, ["error: run", "no other process", "hint:"])
    refuse(scene.segfit, [*command.words, "--resume"], folder, ["no other process", "hint:"])
    same(tree(folder, command.outputs), before, "a second process changed the run")
    yield "a second `train` on a run's folder, also with `--resume`", f"code 2, nothing changed: `{error_of(said)}`"
    kill(first)
    scene.finish(command, folder, "after the first process was killed")
    yield "the same after `kill -9` of the first", "goes on at once; the same bits"
    holder = subprocess.Popen(["sleep", "60"])
    try:
        (folder / "run/.lock").write_text(f"{holder.pid}\n")
        succeed(scene.segfit, command.words, folder)
    finally:
        kill(holder)
    (folder / "run/.lock").write_text("")
    scene.check_result(command, folder, "with the number of a living process in the lock")
    yield "`.lock` with the number of another living process in it", "no obstacle: the lock is the system's, not a number"


def two_calibrations(scene):
    folder, command = scene.fresh(), BY_NAME["calibrate run"]
    first = start(scene.segfit, command.words, folder)
    until(lambda: any(reports(run) for run in (folder / "work/runs").glob("*")), "a report of the first job")
    first.send_signal(signal.SIGSTOP)
    said = succeed(scene.segfit, command.words, folder)
    if "another process is at it" not in said:
        raise Wrong(f"the second process says nothing of the first: {said}")
    records = len(list((folder / "work/records").iterdir()))
    yield "a second `calibrate run` beside a first one that stands still", f"does the {records} other jobs, names the one it leaves"
    kill(first)
    scene.finish(command, folder, "after the first calibration was killed")
    yield "the same after `kill -9` of the first", "its job is taken up at once; the same bits"


def two_writers(scene):
    for name in ["segment, pictures", "segment, stacks", "measure", "export"]:
        for _ in range(ROUNDS):
            folder, command = scene.fresh(), BY_NAME[name]
            both = [start(scene.segfit, command.words, folder) for _ in range(2)]
            if [process.wait() for process in both] != [0, 0]:
                raise Wrong(f"two `{name}` at once: {(folder / 'stderr').read_text()}")
            scene.check_result(command, folder, f"two `{name}` at once")
        yield f"two `{name}` into one place at once, {ROUNDS} times", "both succeed; the same bits as of one"


# 3. and 4. Disks

class Disk:
    """A small file system in memory."""

    def __init__(self, place):
        self.place = place
        place.mkdir(parents=True, exist_ok=True)

    def mount(self, options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.place], capture_output=True).returncode == 0

    def again(self, options):
        subprocess.run(["mount", "-o", f"remount,{options}", self.place], check=True)

    def unmount(self):
        subprocess.run(["umount", self.place], check=True)


def pages(folder, outputs):
    """KiB that the outputs take in a file system of pages of 4 KiB."""
    sizes = [p.stat().st_size for output in outputs for p in [folder / output, *(folder / output).rglob("*")] if p.is_file()]
    return sum(-(-size // 4096) * 4 for size in sizes)


def can_mount(scene):
    disk = Disk(scene.work / "probe")
    if not disk.mount("size=64k"):
        return False
    disk.unmount()
    return True


def on_disk(scene, check):
    """Runs a check in a fresh folder on a disk of its own."""
    disk = Disk(scene.work / "disk")
    if not disk.mount("size=1g"):
        raise Wrong("a disk that could be mounted before cannot be mounted")
    try:
        return check(disk, scene.fresh(disk.place))
    finally:
        disk.unmount()


FILLS = [0.02, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.97]


def full(scene, command, share, is_older):
    """A disk with room for a share of the outputs. The error, or `None` where the room was enough."""
    def check(disk, folder):
        if is_older:
            for output in command.outputs:
                source = scene.older[command.name][0] / output
                (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / output)
        state = os.statvfs(disk.place)
        used = (state.f_blocks - state.f_bfree) * state.f_frsize // 1024
        disk.again(f"size={used + max(4, int(share * scene.pages[command.name]) // 4 * 4)}k")
        code, said = run_elsewhere(scene, command, folder)
        allowed = scene.allowed(command, is_older)
        check_files(folder, command.outputs, allowed)
        if leftovers(folder, command.outputs):
            raise Wrong(f"{command.name}: temporary files stay after a full disk: {leftovers(folder, command.outputs)}")
        names = any(output in error_of(said) for output in command.outputs)
        is_warning = code == 0 and command.name == "measure" and "warning: values were not kept" in said
        if code != 0 and not (code == 2 and "No space left" in error_of(said) and names and "hint: free some space" in said):
            raise Wrong(f"{command.name}: a full disk gives {code}: {said}")
        if is_warning and not ("No space left" in said and names):
            raise Wrong(f"{command.name}: a full disk gives {code}: {said}")
        disk.again("size=1g")
        scene.finish(command, folder, f"{command.name}, after a full disk")
        return error_of(said) if code != 0 or is_warning else None
    return on_disk(scene, check)


def run_elsewhere(scene, command, folder):
    """Runs a command whose words on standard error are kept on another disk."""
    path = scene.work / "stderr"
    with open(path, "wb") as words:
        code = subprocess.run([scene.segfit, *command.words], cwd=folder, stdout=subprocess.DEVNULL, stderr=words).returncode
    return code, path.read_text(errors="replace")


def full_disks(scene):
    if not can_mount(scene):
        yield "all", "SKIPPED: this user may not mount a file system"
        return
    scene.pages = {}
    for command in COMMANDS:
        folder = scene.fresh()
        succeed(scene.segfit, command.words, folder)
        # What a calibration takes on its way is more than what it leaves.
        scene.pages[command.name] = pages(folder, command.outputs) + (400 if command.name == "calibrate run" else 0)
    for command in COMMANDS:
        errors, fits = [], 0
        for index, share in enumerate(FILLS):
            error = full(scene, command, share, is_older=index % 2 == 1 and command.before is not None)
            errors += [error] if error else []
            fits += error is None
        files = sorted({error.split(": ")[-2].split("/")[-1] for error in errors})
        if not errors:
            raise Wrong(f"{command.name}: no disk was full")
        yield (f"`{command.name}`, {len(FILLS)} sizes, room for {FILLS[0]:.0%} to {FILLS[-1]:.0%} of the outputs",
               f"{len(errors)} full, {fits} large enough; names {', '.join(f'`{f}`' for f in files)}, for example `{errors[0]}`; "
               "older files stay readable, nothing half-written; with room again the same bits")


def read_only(scene, command):
    def check(disk, folder):
        half_done(scene, command, folder)
        before = tree(folder, command.outputs)
        disk.again("ro")
        code, said = run_elsewhere(scene, command, folder)
        names = any(output in error_of(said) for output in command.outputs)
        if not (code == 2 and "Read-only file system" in error_of(said) and names and "hint: this disk" in said):
            raise Wrong(f"{command.name}: a read-only disk gives {code}: {said}")
        same(tree(folder, command.outputs), before, f"{command.name} on a read-only disk")
        disk.again("rw")
        scene.finish(command, folder, f"{command.name}, after a read-only disk")
        return error_of(said)
    return on_disk(scene, check)


def read_only_disks(scene):
    if not can_mount(scene):
        yield "all", "SKIPPED: this user may not mount a file system"
        return
    for command in COMMANDS:
        said = read_only(scene, command)
        yield f"`{command.name}`, killed in its middle, the disk then read-only", f"code 2: `{said}`; writable again: the same bits"


# 5. Inputs that change

class Own:
    """A trial folder whose inputs are its own copy."""

    def __init__(self, scene):
        self.folder = scene.fresh()
        (self.folder / "inputs").unlink()
        self.inputs, self.original = self.folder / "inputs", scene.inputs
        self.fill()

    def fill(self):
        shutil.copytree(self.original, self.inputs)
        # The list names its data sets by absolute paths.
        manifest = self.inputs / "manifest.json"
        manifest.write_text(manifest.read_text().replace(str(self.original), str(self.inputs)))

    def restore(self):
        shutil.rmtree(self.inputs)
        self.fill()


def change_pixel(path):
    """One gray value of an image or mask; the times of the file stay."""
    times = path.stat()
    rows = [bytearray(row) for row in pixels_of(path)]
    rows[5][5] = 255 - rows[5][5]
    write_png(path, [bytes(row) for row in rows])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def training_image(data):
    """A training image and its mask."""
    lines = [line.split(",") for line in (data / "split.csv").read_text().splitlines()[1:]]
    name = next(line[0] for line in lines if line[1] == "train")
    return data / "images" / name, data / "masks" / name


def changed_training(scene):
    command = BY_NAME["train"]
    image, mask = (path.relative_to(scene.inputs) for path in training_image(scene.inputs / "data"))

    def without(*names):
        return lambda inputs: [(inputs / name).unlink() for name in names]
    other = ["same network, recipe, data and seed", "a run with other images, masks or split than data has now", "hint:"]
    cases = [
        ("an image gone, its mask there", without(image), other),
        ("an image and its mask gone", without(image, mask), other),
        ("one pixel of an image changed, its times kept", lambda inputs: change_pixel(inputs / image), other),
        ("one pixel of a mask changed, its times kept", lambda inputs: change_pixel(inputs / mask), other),
        ("`split.csv` gone", without("data/split.csv"), other),
        ("the masks gone", lambda inputs: shutil.rmtree(inputs / "data/masks"), ["masks"]),
        ("the plan of another network", lambda inputs: other_plan(scene, inputs), ["same network", "a run with another network", "hint:"]),
        ("the plan gone", without("plan/plan.json"), ["plan.json"]),
    ]
    for what, change, parts in cases:
        own = Own(scene)
        half_trained(scene, own.folder)
        before = tree(own.folder, command.outputs)
        change(own.inputs)
        said = refuse(scene.segfit, command.words, own.folder, ["error: ", *parts])
        same(tree(own.folder, command.outputs), before, f"{what}: the refused command changed the run")
        own.restore()
        scene.finish(command, own.folder, f"{what}, and back")
        yield f"`train` killed, then {what}", f"code 2, run untouched: `{error_of(said)}`; with the old input again: the same bits"


def other_plan(scene, inputs):
    succeed(scene.segfit, ["plan", "inputs/data", "--size", SIZE, "--max-params", "2k", "--width", "8", "--depth", "2",
                           "--out", "inputs/plan"], inputs.parent)


def changed_calibration(scene):
    command, own = BY_NAME["calibrate run"], Own(scene)
    process = start(scene.segfit, command.words, own.folder)
    until(lambda: any((own.folder / "work/records").glob("*.jsonl")), "the first record")
    until(lambda: any(reports(run) for run in (own.folder / "work/runs").glob("*")), "a report of the second job")
    kill(process)
    change_pixel(training_image(own.inputs / "data")[0])
    code, said = run(scene.segfit, command.words, own.folder)
    reasons = [line for line in said.splitlines() if "the images, masks and split that" in line]
    if code != 2 or not reasons or "1 failed" not in said:
        raise Wrong(f"a calibration on changed data ends with {code}: {said}")
    yield ("`calibrate run` killed, then one pixel of an image changed",
           f"that data set's jobs fail, the others are done, code 2: `{reasons[0]}`")
    own.restore()
    scene.finish(command, own.folder, "a calibration with its old data again")
    yield "the same with the old image again", "the failed job is done; the same bits"


def changed_cache(scene):
    command, own = BY_NAME["measure"], Own(scene)
    plain = ["measure", "inputs/large", "--size", SIZE, "--no-cache", "--out", "plain.json"]
    succeed(scene.segfit, command.words, own.folder)
    data = own.inputs / "large"

    def compare(what):
        said = succeed(scene.segfit, command.words, own.folder)
        succeed(scene.segfit, plain, own.folder)
        if (own.folder / "profile.json").read_bytes() != (own.folder / "plain.json").read_bytes():
            raise Wrong(f"{what}: the cache gives other values than measuring")
        return said
    change_pixel(training_image(data)[0])
    compare("one pixel changed")
    if (own.folder / "profile.json").read_bytes() == scene.results["measure"]["profile.json"]:
        raise Wrong("the changed pixel changes no measure, so nothing was tested")
    yield "`measure` with its cache, then one pixel of an image changed, its times kept", "measured again: as without a cache"
    change_pixel(training_image(data)[1])
    compare("one mask's pixel changed")
    yield "the same with a mask", "measured again: as without a cache"
    images = sorted((data / "images").iterdir())
    for folder in ["images", "masks"]:
        a, b = (data / folder / images[i].name for i in (0, 1))
        a.rename(data / "kept"), b.rename(a), (data / "kept").rename(b)
    compare("two images exchanged")
    yield "two images exchanged", "as without a cache"
    (data / "images" / images[2].name).unlink()
    said = compare("an image gone")
    if f"{images[2].name} has no image and is not used" not in said:
        raise Wrong(f"nothing is said of a mask without its image: {said}")
    yield "an image gone, its mask there", "a warning names the mask; as without a cache"
    for path in (own.folder / "cache").rglob("*.json"):
        path.write_bytes(path.read_bytes()[:-40])
    own.restore()
    succeed(scene.segfit, command.words, own.folder)
    for name in ["profile.json", "images.csv"]:
        if (own.folder / name).read_bytes() != scene.results["measure"][name]:
            raise Wrong(f"{name} is another one after all entries of the cache were cut off")
    yield "all entries of the cache cut off, as after a loss of power", "measured again; the same bits"


def changed_segmenting(scene):
    command, own = BY_NAME["segment, pictures"], Own(scene)
    half_done(scene, command, own.folder)
    images = sorted((own.inputs / "large/images").iterdir())
    images[0].write_bytes(images[0].read_bytes()[:200])
    said = refuse(scene.segfit, command.words, own.folder, [images[0].name, "hint:"])
    yield "`segment` killed, then an image cut off", f"code 2: `{error_of(said)}`"
    shutil.copy2(own.original / "large/images" / images[1].name, images[0])
    succeed(scene.segfit, command.words, own.folder)
    first, second = (own.folder / "masks" / images[i].name for i in (0, 1))
    if first.read_bytes() != second.read_bytes():
        raise Wrong("a mask of the old image was kept")
    yield "the same with another image in its place", "its mask is that of the new image"
    weights = own.inputs / "run/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    said = refuse(scene.segfit, command.words, own.folder, ["weights.safetensors", "hint:"])
    yield "the weights of the run cut off", f"code 2: `{error_of(said)}`"
    own.restore()
    scene.finish(command, own.folder, "segmenting with the old inputs again")


# 6. Clocks

def set_times(folder, seconds):
    for root, folders, files in os.walk(folder, followlinks=False):
        for name in [*folders, *files]:
            os.utime(Path(root) / name, (seconds, seconds), follow_symlinks=False)


def file_times(scene):
    for year, seconds in CLOCKS.items():
        for name in ["train", "calibrate run", "export", "segment, pictures", "measure"]:
            command, own = BY_NAME[name], Own(scene)
            half_done(scene, command, own.folder)
            set_times(own.folder, seconds)
            scene.finish(command, own.folder, f"{name}, all files from {year}")
        yield f"commands killed, then all inputs and outputs dated {year} (`os.utime`)", "the same bits"


def jumping_clock(scene):
    tool = shutil.which("faketime")
    if not tool:
        yield "the clock of the program (libfaketime)", "SKIPPED: `faketime` is not installed"
        return
    library = subprocess.run([tool, "2100-01-01", "sh", "-c", "echo $LD_PRELOAD"], capture_output=True, text=True).stdout.strip()

    def at(year):
        return {"LD_PRELOAD": library, "FAKETIME": f"@{year}-01-01 00:00:00"}
    seen = subprocess.run(["date", "+%Y"], capture_output=True, text=True, env={**os.environ, **at(2100)}).stdout.strip()
    if seen != "2100":
        yield "the clock of the program (libfaketime)", "SKIPPED: `faketime` has no effect here"
        return
    for name in ["train", "calibrate run", "measure"]:
        command, folder = BY_NAME[name], scene.fresh()
        half = start(scene.segfit, command.words, folder, **at(2100))
        time.sleep(0.6 * scene.seconds[name])
        kill(half)
        succeed(scene.segfit, command.words, folder, **at(1971))
        scene.check_result(command, folder, f"{name}, first in 2100, then in 1971")
    yield "`train`, `calibrate run` and `measure`, killed in the year 2100, resumed in 1971 (libfaketime)", "the same bits"
    folder, command, clock = scene.fresh(), BY_NAME["train"], scene.work / "clock"
    clock.write_text("2030-01-01 00:00:00\n")
    process = start(scene.segfit, command.words, folder, LD_PRELOAD=library, FAKETIME_TIMESTAMP_FILE=str(clock),
                    FAKETIME_NO_CACHE="1")
    jumps = 0
    while process.poll() is None:
        clock.write_text(["1990-01-01 00:00:00\n", "2090-01-01 00:00:00\n"][jumps % 2])
        jumps += 1
        time.sleep(0.1)
    if process.returncode != 0:
        raise Wrong(f"a clock that jumps: {(folder / 'stderr').read_text()}")
    scene.check_result(command, folder, "a clock that jumps")
    yield f"`train` under a clock that jumps {jumps} times between 1990 and 2090", "the same bits"


PARTS = {
    "two processes": [two_trainings, two_calibrations, two_writers],
    "full disk": [full_disks],
    "read-only disk": [read_only_disks],
    "changed input": [changed_training, changed_calibration, changed_segmenting, changed_cache],
    "clocks": [file_times, jumping_clock],
}


def run_part(checks, scene, failures):
    for check in checks:
        try:
            yield from check(scene)
        except (Wrong, ValueError) as error:
            failures.append(f"{check.__name__}: {error}")
            yield check.__name__.replace("_", " "), f"FAILED: {error}"[:600]


def run_all(name, scene, failures):
    """What was done and what came of it, without the folders of this machine."""
    here = re.compile(re.escape(str(scene.work)) + r"/(disk/)?(trial-\d+/)?")
    return [(what, here.sub("", " ".join(result.split()))) for what, result in run_part(PARTS[name], scene, failures)]
