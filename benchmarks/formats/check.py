"""Every file of a folder read by segfit and by an independent reader, pixel by pixel.

    python benchmarks/formats/check.py target/release/segfit --formats ../shared/formats

Readers: pydicom, nibabel, tifffile (with imagecodecs), Pillow, zarr. The numbers compared are those before scaling to 0..1
(`segfit inspect --dump`). Files of further kinds are made here with tifffile, NumPy, nibabel, pydicom and zarr. DICOM segmentation objects are made by
highdicom, and measured as masks beside the same masks as `.npy`. Writes formats.md beside this script; mismatches and refusals are rows of the table
like all others.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import tifffile
import zarr
from PIL import Image

HERE = Path(__file__).parent


def by_nifti(path, info):
    image = nibabel.load(path)
    data = np.asarray(image.dataobj)
    if data.dtype.names:  # colours
        data = np.stack([data[n] for n in data.dtype.names], axis=-1)
        return data.transpose(2, 1, 0, 3) if data.ndim == 4 else data.transpose(1, 0, 2)[None]
    data = data.reshape(data.shape + (1,) * (4 - data.ndim)).transpose(3, 2, 1, 0)
    volume = data.reshape(-1, *data.shape[2:])
    order = {"z": (0, 1, 2), "y": (1, 0, 2), "x": (2, 0, 1)}[info["axis"] or "z"]
    return volume.transpose(order)[..., None]


def by_dicom(path, info):
    data = pydicom.dcmread(path)
    pixels = data.pixel_array.astype(np.float64)
    if data.PhotometricInterpretation == "PALETTE COLOR":
        pixels = pydicom.pixels.apply_color_lut(data.pixel_array, data)
    pixels = pixels * float(data.get("RescaleSlope", 1)) + float(data.get("RescaleIntercept", 0))
    return pixels.reshape(info["slices"], info["rows"], info["columns"], info["channels"])


def by_tiff(path, info):
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            colours = (page.colormap >> 8).T
            return colours[page.asarray()][None]
        pages = [p for p in file.pages if p.shape == page.shape]
        if file.is_ome:
            series = file.series[0]
            axes, data = series.axes, series.asarray()
            for axis in "TZCYXS":
                if axis not in axes:
                    axes, data = axes + axis, data[..., None]
            data = data.transpose([axes.index(a) for a in "TZYXCS"])
            return data.reshape(-1, *data.shape[2:4], data.shape[4] * data.shape[5])
        data = np.stack([p.asarray() for p in pages])
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            data = np.moveaxis(data, 1, -1)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and data.dtype.itemsize <= 2:
            data = np.iinfo(data.dtype).max - data
        meta = file.imagej_metadata or {}
        if meta.get("channels", 1) > 1:
            data = data.reshape(-1, meta["channels"], *data.shape[1:]).transpose(0, 2, 3, 1)
    return data.reshape(-1, info["rows"], info["columns"], info["channels"])


def by_pillow(path, info):
    image = Image.open(path)
    # Pillow reads a palette of grays as gray, segfit as colours.
    if image.mode == "P" or info["channels"] == 3:
        image = image.convert("RGB")
    data = np.asarray(image)
    return data.reshape(1, *data.shape[:2], -1)[..., : info["channels"]]


def by_numpy(path, info):
    data = np.load(path)
    if data.ndim == 2:
        data = data[None, ..., None]
    elif data.ndim == 3:
        data = data[None] if data.shape[2] <= 4 else np.moveaxis(data, 0, -1)[None] if data.shape[0] <= 4 else data[..., None]
    return data


def by_zarr(path, info):
    data = zarr.open(path / "0", mode="r")[:]
    attributes = zarr.open_group(path, mode="r").attrs
    scales = attributes.get("ome", attributes)["multiscales"][0]
    axes = "".join(a["name"] for a in scales["axes"])
    for axis in "tczyx":
        if axis not in axes:
            axes, data = axes + axis, data[..., None]
    data = data.transpose([axes.index(a) for a in "tzyxc"])
    return data.reshape(-1, *data.shape[2:])


def reader(path):
    name = path.name.lower()
    if name.endswith(".zarr"):
        return "zarr", by_zarr
    if name.endswith((".nii", ".nii.gz")):
        return "nibabel", by_nifti
    if name.endswith((".dcm", ".dicom")):
        return "pydicom", by_dicom
    if name.endswith((".tif", ".tiff")):
        return "tifffile", by_tiff
    if name.endswith(".npy"):
        return "NumPy", by_numpy
    if name.endswith((".png", ".jpg", ".jpeg", ".bmp", ".gif")):
        return "Pillow", by_pillow
    return None


def made(folder):
    """Files of kinds that the real ones lack."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:70, :90]
    smooth = ((y * 3 + x * 2) % 256).astype(np.uint8)
    gray = lambda dtype: (smooth.astype(np.float64) * 3).astype(dtype)
    rgb = np.stack([smooth, smooth[::-1], 255 - smooth], -1)
    write = lambda name, data, **k: tifffile.imwrite(folder / name, data, **k)
    for dtype in "uint8 uint16 uint32 int8 int16 int32 float16 float32 float64".split():
        write(f"{dtype}.tif", gray(dtype))
    for compression in ("lzw", "deflate", "packbits", "zstd", "lzma"):
        write(f"{compression}.tif", gray(np.uint16), compression=compression)
        if compression != "packbits":
            write(f"{compression}_predictor.tif", gray(np.uint16), compression=compression, predictor=True)
    write("jpeg.tif", smooth, compression="jpeg")
    write("jpeg_rgb.tif", rgb, compression="jpeg", photometric="rgb")
    write("float_predictor.tif", gray(np.float32), compression="deflate", predictor=True)
    write("tiled.tif", gray(np.uint16), tile=(32, 32))
    write("tiled_lzw_rgb.tif", rgb, tile=(32, 32), compression="lzw", photometric="rgb")
    write("big.tif", gray(np.uint16), bigtiff=True)
    write("big_endian.tif", gray(np.uint16), byteorder=">")
    write("planar.tif", np.moveaxis(rgb, -1, 0).copy(), photometric="rgb", planarconfig="separate")
    write("planar_tiled_deflate.tif", np.moveaxis(rgb, -1, 0).copy(), photometric="rgb", planarconfig="separate", tile=(32, 32), compression="deflate")
    write("white_is_zero.tif", smooth, photometric="miniswhite")
    write("palette.tif", smooth, photometric="palette", colormap=rng.integers(0, 2**16, (3, 256), dtype=np.uint16))
    write("five_channels.tif", np.stack([smooth] * 5, -1), photometric="minisblack", planarconfig="contig")
    stack = np.stack([np.roll(gray(np.uint16), i, 0) for i in range(6)])
    write("pages.tif", stack, photometric="minisblack")
    write("imagej_channels.tif", stack.reshape(3, 2, 70, 90), imagej=True, metadata={"axes": "ZCYX"})
    write("a.ome.tif", stack.reshape(3, 2, 70, 90), metadata={"axes": "ZCYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5})
    write("b.ome.tif", stack.reshape(2, 3, 70, 90), metadata={"axes": "CZYX"}, compression="deflate", tile=(32, 32))
    write("time.ome.tif", stack, metadata={"axes": "TYX"})
    for dtype in "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64".split():
        np.save(folder / f"{dtype}.npy", gray(dtype))
    np.save(folder / "fortran.npy", np.asfortranarray(stack))
    np.save(folder / "channels_first.npy", np.moveaxis(rgb, -1, 0))
    np.save(folder / "big_endian.npy", gray(">f8"))
    volume = stack.transpose(2, 1, 0)
    for dtype in "uint8 int8 uint16 int16 uint32 int32 int64 uint64 float32 float64".split():
        image = nibabel.Nifti1Image(volume.astype(dtype), np.diag([0.5, 0.5, 3, 1]), dtype=dtype)
        nibabel.save(image, folder / f"{dtype}.nii.gz")
    nibabel.save(nibabel.Nifti2Image(volume.astype(np.int16), np.diag([2, 0.5, 0.5, 1])), folder / "version_2.nii")
    scaled = nibabel.Nifti1Image(volume.astype(np.float32) / 7, np.eye(4))
    scaled.header.set_data_dtype(np.int16)
    nibabel.save(scaled, folder / "scaled.nii")
    big = nibabel.Nifti1Image(volume.astype(np.int16), np.eye(4), nibabel.Nifti1Header(endianness=">"))
    nibabel.save(big, folder / "big_endian.nii")
    # One real header with other pixels.
    data = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    data.decompress() if data.file_meta.TransferSyntaxUID.is_compressed else None
    data.Rows, data.Columns, data.NumberOfFrames = 70, 90, 6
    data.PixelData = stack.astype(np.int16).tobytes()
    data.save_as(folder / "frames.dcm")
    for name, values, photometric in [("rgb", rgb, "RGB"), ("planar", np.moveaxis(rgb, -1, 0), "RGB"), ("ybr", rgb, "YBR_FULL"),
                                      ("monochrome1", smooth, "MONOCHROME1")]:
        data = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
        del data.RescaleSlope, data.RescaleIntercept
        data.Rows, data.Columns, data.Modality = 70, 90, "OT"
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit, data.PixelRepresentation = 7, 0
        data.SamplesPerPixel = 1 if photometric == "MONOCHROME1" else 3
        if data.SamplesPerPixel == 3:
            data.PlanarConfiguration = int(name == "planar")
        data.PhotometricInterpretation = photometric
        data.PixelData = values.tobytes()
        data.save_as(folder / f"{name}.dcm")
    for bits in (8, 16):
        data = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
        del data.RescaleSlope, data.RescaleIntercept
        data.Rows, data.Columns, data.Modality = 70, 90, "OT"
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit, data.PixelRepresentation, data.PhotometricInterpretation = 7, 0, "PALETTE COLOR"
        for colour in range(3):
            entries = rng.integers(0, 2**bits, 200, dtype=np.uint16)
            data.add_new((0x0028, 0x1101 + colour), "US", [200, 10, bits])
            data.add_new((0x0028, 0x1201 + colour), "OW", (entries.astype(np.uint8) if bits == 8 else entries).tobytes())
        data.PixelData = smooth.tobytes()
        data.save_as(folder / f"palette_{bits}.dcm")
    deflated = pydicom.dcmread(folder / "frames.dcm")
    deflated.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    deflated.save_as(folder / "frames_deflated.dcm")
    rle = pydicom.dcmread(folder / "frames.dcm")
    rle.compress(pydicom.uid.RLELossless)
    rle.save_as(folder / "frames_rle.dcm")
    for name, syntax in [("jpeg2000", pydicom.uid.JPEG2000Lossless), ("jpeg_ls", pydicom.uid.JPEGLSLossless)]:
        try:
            data = pydicom.dcmread(folder / "frames.dcm")
            data.compress(syntax)
            data.save_as(folder / f"frames_{name}.dcm")
        except Exception as error:
            print(f"not made: {name}: {error}")


    jpeg_ls(folder, smooth)
    zarrs(folder, stack)


def jpeg_ls(folder, smooth):
    """Kinds of JPEG-LS: few and many bits, signs, frames, losses, colours."""
    wide = smooth.astype(np.int32) * 257
    kinds = {
        "8": (smooth, 8, 8, 0), "12": (wide >> 4, 16, 12, 0), "16": (wide, 16, 16, 0), "signed": ((wide - 32768), 16, 16, 1),
        "near": (smooth, 8, 8, 0), "near_16": (wide, 16, 16, 0), "frames": (np.stack([wide, wide[::-1], wide.T.reshape(wide.shape)]), 16, 16, 0),
        "rgb": (np.stack([smooth, smooth[::-1], smooth[:, ::-1]], -1), 8, 8, 0),
    }
    for name, (values, allocated, stored, sign) in kinds.items():
        data = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
        del data.RescaleSlope, data.RescaleIntercept
        data.Modality, data.Rows, data.Columns = "OT", 70, 90
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = allocated, stored, stored - 1, sign
        if name == "rgb":
            data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
        if name == "frames":
            data.NumberOfFrames = 3
        data.PixelData = values.astype(np.uint8 if allocated == 8 else np.int16 if sign else np.uint16).tobytes()
        near = name.startswith("near")
        syntax = pydicom.uid.JPEGLSNearLossless if near else pydicom.uid.JPEGLSLossless
        data.compress(syntax, **({"jls_error": 2} if near else {}))
        data.save_as(folder / f"jpeg_ls_{name}.dcm")


def zarrs(folder, stack):
    """OME-Zarr of both versions, every codec, sides that are no multiples of the chunks, chunks that are not stored."""
    data = stack.reshape(3, 2, 70, 90)
    axes = [{"name": n, "type": t} for n, t in zip("zcyx", ("space", "channel", "space", "space"))]
    codecs = zarr.codecs
    kinds = {
        "plain": (2, None), "zlib": (2, "Zlib"), "gzip": (2, "GZip"), "zstd": (2, "Zstd"),
        **{f"blosc_{c}_{s}": (2, (c, s)) for c in ("lz4", "lz4hc", "zstd", "zlib", "blosclz") for s in (0, 1, 2)},
        "v3_plain": (3, None), "v3_gzip": (3, codecs.GzipCodec()), "v3_zstd": (3, codecs.ZstdCodec()),
        "v3_blosc": (3, codecs.BloscCodec(cname="lz4", shuffle="bitshuffle", typesize=2)),
    }
    import numcodecs

    for name, (version, codec) in kinds.items():
        path = folder / f"{name}.zarr"
        scales = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [2, 1, 0.5, 0.5]}]}]}]
        group = zarr.open_group(path, mode="w", zarr_format=version)
        group.attrs.update({"multiscales": scales} if version == 2 else {"ome": {"version": "0.5", "multiscales": scales}})
        if isinstance(codec, str):
            codec = getattr(numcodecs, codec)()
        elif isinstance(codec, tuple):
            codec = numcodecs.Blosc(cname=codec[0], shuffle=codec[1])
        array = group.create_array("0", shape=data.shape, chunks=(1, 1, 32, 40), dtype="uint16", compressors=codec, fill_value=0)
        array[:] = data
        array[2, 1] = 0  # not stored
    for dtype in ("uint8", "int16", "float32", "float64"):
        group = zarr.open_group(folder / f"{dtype}.zarr", mode="w", zarr_format=2)
        scales = [{"version": "0.4", "axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}]
        group.attrs.update({"multiscales": scales})
        group.create_array("0", shape=(70, 90), chunks=(64, 64), dtype=dtype)[:] = stack[0].astype(dtype)


def segments(segfit, folder):
    """Rows for DICOM segmentation objects: what segfit measures of them as masks, and of the same masks as `.npy`."""
    source = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    rng = np.random.default_rng(5)
    labels = np.zeros((9, 128, 128), np.uint8)
    for k in (1, 2):
        for _ in range(4):
            z, y, x = rng.integers(1, 8), *rng.integers(10, 118, 2)
            at = np.mgrid[:9, :128, :128]
            labels[(((at[0] - z) / 1.5) ** 2 + ((at[1] - y) / 9) ** 2 + ((at[2] - x) / 12) ** 2) < 1] = k
    pixels = (labels.astype(np.int16) * 300 + rng.integers(0, 200, labels.shape)).astype(np.int16)
    slices = []
    series = folder / "dicom" / "images" / "a"
    series.mkdir(parents=True)
    for z in range(9):
        one = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
        one.ImagePositionPatient = [-100, -50, 3.5 * (9 - z)]  # files in the opposite order of the slices
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness, one.InstanceNumber = [0.6, 0.6], 3.5, z + 1
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        one.PixelData = pixels[z].tobytes()
        one.save_as(series / f"{z}.dcm")
        slices.append(one)
    code = highdicom.sr.CodedConcept("85756007", "SCT", "Tissue")
    describe = lambda n: highdicom.seg.SegmentDescription(
        n, f"s{n}", code, code, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL)
    rows = []
    for kind in ("BINARY", "FRACTIONAL", "LABELMAP"):
        if kind == "LABELMAP":
            array = labels
        else:
            array = np.stack([labels == 1, labels == 2], -1).astype(float if kind == "FRACTIONAL" else np.uint8)
        made = highdicom.seg.Segmentation(
            slices, array, kind, [describe(1), describe(2)], pydicom.uid.generate_uid(), 1, pydicom.uid.generate_uid(), 1,
            "m", "m", "1", "1", omit_empty_frames=True)
        masks = folder / "dicom" / "masks"
        masks.mkdir(exist_ok=True)
        made.save_as(masks / "a.dcm")
        plain = folder / "plain"
        for part in ("images", "masks"):
            (plain / part).mkdir(parents=True, exist_ok=True)
        # Slices from the feet upwards.
        np.save(plain / "images" / "a.npy", pixels[::-1])
        np.save(plain / "masks" / "a.npy", labels[::-1])
        name = f"DICOM segmentation, {kind}, {made.NumberOfFrames} frames"
        ours = [measured(segfit, root) for root in (folder / "dicom", plain)]
        if isinstance(ours[0], str):
            rows.append([name, "highdicom", "128 x 128 x 9", "", f"refused: {ours[0]}"])
            continue
        same = ours[0] == ours[1] and len(ours[0]) > 5
        rows.append([name, "highdicom", "128 x 128 x 9", "", "equal" if same else f"MISMATCH: {ours}"])
    return rows


def measured(segfit, root):
    """Measures of the masks at all scales, or the reason why there are none."""
    done = subprocess.run([segfit, "measure", root, "--json", "--no-cache", "--size", "128"], capture_output=True, text=True)
    if done.returncode:
        return next(l for l in done.stderr.splitlines() if l.startswith("error"))
    of_masks = ("boundary", "class_balance", "/blob", "compact", "objects")
    found = {}

    def collect(value, key):
        if isinstance(value, dict):
            for k, v in value.items():
                collect(v, f"{key}/{k}")
        elif isinstance(value, float) and any(m in key for m in of_masks) and "image_" not in key:
            found[key] = value

    collect(json.loads(done.stdout), "")
    return found


def check(segfit, path, name):
    who, read = reader(path)
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "out.npy"
        done = subprocess.run([segfit, "inspect", path, "--json", "--dump", dump], capture_output=True, text=True)
        if done.returncode != 0:
            reason = next((l for l in done.stderr.splitlines() if l.strip()), "no message").replace(str(path), name)
            return [name, who, "", "", "refused: " + reason.removeprefix("error: ")]
        info = json.loads(done.stdout)[0]
        ours = np.load(dump).astype(np.float64)
    size = f"{info['columns']} x {info['rows']}" + (f" x {info['slices']}" if info["slices"] > 1 else "")
    size += f", {info['channels']} ch." if info["channels"] > 1 else ""
    kind = "; ".join(v for k, v in info["details"] if k in ("compression", "stored", "transfer syntax", "bits", "axes") and v)
    try:
        theirs = np.asarray(read(path, info), dtype=np.float64)
    except Exception as error:
        return [name, who, size, kind, f"not read by {who}: {type(error).__name__}"]
    if ours.shape != theirs.shape:
        return [name, who, size, kind, f"MISMATCH: shape {ours.shape}, {who} {theirs.shape}"]
    difference = np.abs(ours - theirs)
    scale = max(1.0, float(np.abs(theirs).max()))
    jpeg = "jpeg" in kind.lower() and "2000" not in kind and "lossless" not in kind.lower() or path.suffix.lower() in (".jpg", ".jpeg")
    if (ours == theirs.astype(np.float32)).all():
        result = "equal"
    elif difference.max() <= 2e-7 * scale * 4:
        result = "equal within single precision"
    elif (jpeg and difference.max() <= 16 and difference.mean() <= 1) or ("JPEG 2000" in kind and difference.max() <= 1):
        result = f"within the rounding of decoders: at most {difference.max():g}, mean {difference.mean():.3f}"
    else:
        result = f"MISMATCH: at most {difference.max():g}, {np.mean(difference > 0):.1%} of the numbers"
    return [name, who, size, kind, result]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("segfit", type=Path)
    parser.add_argument("--formats", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE / "formats.md")
    args = parser.parse_args()
    real = sorted(p for p in args.formats.rglob("*") if p.is_file() and reader(p))
    rows, made_rows = [], []
    for path in real:
        rows.append(check(args.segfit, path, str(path.relative_to(args.formats))))
        print(*rows[-1], sep=" | ", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder))
        for path in sorted(Path(folder).iterdir()):
            made_rows.append(check(args.segfit, path, path.name))
            print(*made_rows[-1], sep=" | ", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for row in segments(args.segfit, Path(folder)):
            made_rows.append(row)
            print(*row, sep=" | ", flush=True)
    count = lambda rows, word: sum(r[-1].startswith(word) for r in rows)
    head = "| file | compared with | size | stored | result |\n| --- | --- | --- | --- | --- |\n"
    table = lambda rows: head + "".join("| " + " | ".join(r) + " |\n" for r in rows)
    summary = lambda rows: (
        f"{len(rows)} files: {count(rows, 'equal')} equal, {count(rows, 'within')} within the rounding of lossy decoders, "
        f"{count(rows, 'refused')} refused with a message, {count(rows, 'MISMATCH')} mismatches, "
        f"{count(rows, 'not read')} not read by the other reader.\n\n"
    )
    args.out.write_text(
        "# Readers compared with others\n\n"
        "Printed by `python benchmarks/formats/check.py target/release/segfit --formats FOLDER`. Every number that segfit reads, "
        "before it is scaled to 0..1, against pydicom, nibabel, tifffile, Pillow, zarr or NumPy. Decoders of lossy JPEG may differ by 16 at "
        "most and by 1 in the mean (they scale up colours differently), those of lossy JPEG 2000 by 1.\n\n"
        f"## Files of others\n\n{summary(rows)}{table(rows)}\n"
        f"## Files made for this check\n\n{summary(made_rows)}{table(made_rows)}"
    )
    return 1 if count(rows + made_rows, "MISMATCH") else 0


if __name__ == "__main__":
    sys.exit(main())
