"""Reads every file that segfit writes to its end, with the standard library alone. `check(path)` raises where a file is not complete."""

import ast
import csv
import gzip
import json
import math
import re
import struct
import xml.etree.ElementTree
import zipfile
import zlib
from pathlib import Path

# What a process writes before it renames it; a killed one leaves it. It is no output.
TEMPORARY = re.compile(r"^\.segfit-[A-Za-z0-9]{6}(\.tmp)?$")


def need(is_so, what):
    if not is_so:
        raise ValueError(what)


def png(data):
    """Chunks with their checksums, to the end, and as many pixels as the header says."""
    need(data[:8] == b"\x89PNG\r\n\x1a\n", "no PNG")
    at, pixels, names = 8, b"", []
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        need(struct.unpack(">I", data[at + 8 + length:at + 12 + length])[0] == zlib.crc32(name + body), "a checksum")
        names.append(name)
        if name == b"IHDR":
            width, height, bits, colour = struct.unpack(">IIBB", body[:10])
        pixels += body if name == b"IDAT" else b""
        at += 12 + length
    need(names[-1] == b"IEND" and at == len(data), "no end")
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    need(len(zlib.decompress(pixels)) == height * (1 + (width * samples * bits + 7) // 8), "the number of pixels")


def tiff(data):
    """All pages of a little-endian TIFF: strips inside the file that decompress to what the sides say."""
    need(data[:4] == b"II*\0", "no TIFF")
    sizes, at, pages = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8}, struct.unpack("<I", data[4:8])[0], 0
    while at:
        tags, entries = {}, struct.unpack("<H", data[at:at + 2])[0]
        for i in range(entries):
            tag, kind, count = struct.unpack("<HHI", data[at + 2 + 12 * i:at + 10 + 12 * i])
            where = at + 10 + 12 * i
            if sizes[kind] * count > 4:
                where = struct.unpack("<I", data[where:where + 4])[0]
            need(where + sizes[kind] * count <= len(data), "a tag behind the end")
            if kind in (3, 4):
                tags[tag] = struct.unpack(f"<{count}{'HI'[kind - 3]}", data[where:where + sizes[kind] * count])
        pixels = 0
        for offset, length in zip(tags[273], tags[279]):
            strip = data[offset:offset + length]
            need(len(strip) == length, "a strip behind the end")
            pixels += len(zlib.decompress(strip) if tags.get(259, (1,))[0] in (8, 32946) else strip)
        bytes_per_pixel = sum(tags[258]) // 8
        need(pixels == tags[256][0] * tags[257][0] * bytes_per_pixel, "the number of pixels")
        at = struct.unpack("<I", data[at + 2 + 12 * entries:at + 6 + 12 * entries])[0]
        pages += 1
    need(pages > 0, "no page")


def nifti(data):
    sides = struct.unpack("<8h", data[40:56])
    bits, offset = struct.unpack("<h", data[72:74])[0], struct.unpack("<f", data[108:112])[0]
    need(len(data) == int(offset) + math.prod(sides[1:1 + sides[0]]) * bits // 8, "the number of voxels")


def npy(data):
    need(data[:6] == b"\x93NUMPY", "no NumPy file")
    length = struct.unpack("<H", data[8:10])[0]
    head = ast.literal_eval(data[10:10 + length].decode())
    need(len(data) == 10 + length + math.prod(head["shape"]) * int(head["descr"][2:]), "the number of values")


def safetensors(data):
    length = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + length])
    ends = [t["data_offsets"][1] for name, t in head.items() if name != "__metadata__"]
    need(len(data) == 8 + length + max(ends), "the length")


def onnx(data):
    """The fields of the outermost message, which end where the file ends."""
    def varint(at):
        value, shift = 0, 0
        while True:
            value |= (data[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 0x80:
                return value, at
    at, fields = 0, set()
    while at < len(data):
        key, at = varint(at)
        fields.add(key >> 3)
        need(key & 7 in (0, 2), "a field")
        value, at = varint(at)
        at += value if key & 7 == 2 else 0
    need(at == len(data) and {1, 7, 8} <= fields, "the end of the message")


def events(data):
    at = 0
    while at < len(data):
        length = struct.unpack("<Q", data[at:at + 8])[0]
        at += 16 + length
    need(at == len(data), "the end of a record")


def table(data):
    rows = list(csv.reader(data.decode().splitlines()))
    need(data.endswith(b"\n") and len({len(row) for row in rows}) == 1, "a row of a table")


def page(data):
    need(data.rstrip().endswith(b"</html>"), "the end of the page")


def archive(path):
    with zipfile.ZipFile(path) as file:
        need(file.testzip() is None, "a file of the archive")


def cache_entry(data):
    need(data.startswith(b"segfit-cache/1 "), "the head of a cache's entry")
    json.loads(data.split(b"\n", 1)[1])


def lines(data):
    need(data.endswith(b"\n") or not data, "the last line")
    for line in data.splitlines():
        json.loads(line)


def source(data):
    need(data.decode().endswith("\n"), "the last line")


def module(data):
    # A package's __init__.py is empty.
    need(not data or data.endswith(b"\n"), "the last line")
    compile(data, "module", "exec")


READERS = {
    ".png": png, ".tif": tiff, ".nii": nifti, ".npy": npy, ".safetensors": safetensors, ".onnx": onnx, ".csv": table,
    ".html": page, ".jsonl": lines, ".json": json.loads, ".svg": xml.etree.ElementTree.fromstring,
    ".segfit": events, ".h": source, ".rs": source, ".yaml": source, ".md": source, ".txt": source,
    ".py": module,
    ".gz": lambda data: nifti(gzip.decompress(data)),
}


def check(path):
    """Reads a file to its end."""
    path = Path(path)
    try:
        if path.suffix in (".zip", ".pt"):
            return archive(path)
        data = path.read_bytes()
        if path.name == ".lock" or path.parent.name == "locks":
            return need(data == b"", "an empty file")
        if "cache" in path.parts and path.suffix == ".json":
            return cache_entry(data)
        READERS[path.suffix](data)
    except Exception as error:
        raise ValueError(f"{path} is not complete: {type(error).__name__}: {error}") from error
