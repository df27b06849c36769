//! Volumes through the program: DICOM from measuring to export without a word about the patient, NIfTI back to NIfTI.

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::path::Path;

use support::{Lab, stderr};

/// What every field about a patient, a person or a place says in these files.
const MARKER: &str = "QZMARKERQZ";
const SIDE: usize = 32;

/// An element with an explicit representation.
fn element(out: &mut Vec<u8>, tag: (u16, u16), kind: &[u8; 2], value: &[u8]) {
    out.extend(tag.0.to_le_bytes());
    out.extend(tag.1.to_le_bytes());
    out.extend(kind);
    let length = value.len().next_multiple_of(2);
    if matches!(kind, b"OW" | b"OB" | b"UT") {
        out.extend([0, 0]);
        out.extend((length as u32).to_le_bytes());
    } else {
        out.extend((length as u16).to_le_bytes());
    }
    out.extend(value);
    if value.len() % 2 == 1 {
        out.push(if kind == b"UI" { 0 } else { b' ' });
    }
}

/// A slice of a made series: a bright disc, whose rows are marked by nothing but its pixels.
fn dicom(slice: usize, pixels: &[u16]) -> Vec<u8> {
    let class = b"1.2.840.10008.5.1.4.1.1.4";
    let mut meta = Vec::new();
    element(&mut meta, (2, 0x0002), b"UI", class);
    element(&mut meta, (2, 0x0003), b"UI", format!("1.2.3.{}", slice + 1).as_bytes());
    element(&mut meta, (2, 0x0010), b"UI", b"1.2.840.10008.1.2.1");
    element(&mut meta, (2, 0x0012), b"UI", b"1.2.3");
    let mut out = vec![0; 128];
    out.extend(b"DICM");
    element(&mut out, (2, 0), b"UL", &(meta.len() as u32).to_le_bytes());
    out.extend(meta);
    let text = |out: &mut Vec<u8>, tag, kind: &[u8; 2]| element(out, tag, kind, MARKER.as_bytes());
    element(&mut out, (0x0008, 0x0016), b"UI", class);
    element(&mut out, (0x0008, 0x0018), b"UI", format!("1.2.3.{}", slice + 1).as_bytes());
    element(&mut out, (0x0008, 0x0060), b"CS", b"MR");
    for (tag, kind) in [
        ((0x0008, 0x0050), b"SH"),
        ((0x0008, 0x0080), b"LO"),
        ((0x0008, 0x0081), b"ST"),
        ((0x0008, 0x0090), b"PN"),
        ((0x0008, 0x1010), b"SH"),
        ((0x0008, 0x1030), b"LO"),
        ((0x0008, 0x103e), b"LO"),
        ((0x0008, 0x1048), b"PN"),
        ((0x0008, 0x1070), b"PN"),
        ((0x0010, 0x0010), b"PN"),
        ((0x0010, 0x0020), b"LO"),
    ] {
        text(&mut out, tag, kind);
    }
    element(&mut out, (0x0010, 0x0030), b"DA", b"19010203");
    for (tag, kind) in [
        ((0x0010, 0x1000), b"LO"),
        ((0x0010, 0x1001), b"PN"),
        ((0x0010, 0x1040), b"LO"),
        ((0x0010, 0x2154), b"SH"),
        ((0x0010, 0x4000), b"LT"),
        ((0x0018, 0x1030), b"LO"),
    ] {
        text(&mut out, tag, kind);
    }
    element(&mut out, (0x0020, 0x000d), b"UI", b"1.2.3.77");
    element(&mut out, (0x0020, 0x000e), b"UI", b"1.2.3.78");
    text(&mut out, (0x0020, 0x0010), b"SH");
    element(&mut out, (0x0020, 0x0013), b"IS", (100 - slice).to_string().as_bytes());
    element(&mut out, (0x0020, 0x0032), b"DS", format!("-10\\5\\{}", 3 * slice).as_bytes());
    element(&mut out, (0x0020, 0x0037), b"DS", b"1\\0\\0\\0\\1\\0");
    text(&mut out, (0x0020, 0x4000), b"LT");
    element(&mut out, (0x0028, 0x0002), b"US", &1u16.to_le_bytes());
    element(&mut out, (0x0028, 0x0004), b"CS", b"MONOCHROME2");
    for (number, value) in [(0x10, SIDE), (0x11, SIDE)] {
        element(&mut out, (0x0028, number), b"US", &(value as u16).to_le_bytes());
    }
    element(&mut out, (0x0028, 0x0030), b"DS", b"0.5\\0.75");
    for (number, value) in [(0x100, 16u16), (0x101, 12), (0x102, 11), (0x103, 0)] {
        element(&mut out, (0x0028, number), b"US", &value.to_le_bytes());
    }
    text(&mut out, (0x0032, 0x1032), b"PN");
    let bytes: Vec<u8> = pixels.iter().flat_map(|v| v.to_le_bytes()).collect();
    element(&mut out, (0x7fe0, 0x0010), b"OW", &bytes);
    out
}

/// Whether a pixel of a slice is of the object, which moves from slice to slice.
fn inside(slice: usize, i: usize) -> bool {
    let (y, x) = (i / SIDE, i % SIDE);
    (y as i64 - 14 - slice as i64 % 3).pow(2) + (x as i64 - 15).pow(2) < 60
}

/// A NIfTI file of version 1 with these voxels, 0.75 x 0.5 x 3 mm apart.
fn nifti(slices: usize, datatype: i16, voxels: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 352];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348i32.to_le_bytes());
    for (i, side) in [3, SIDE, SIDE, slices, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * i, &(side as i16).to_le_bytes());
    }
    put(70, &datatype.to_le_bytes());
    put(72, &(if datatype == 2 { 8i16 } else { 16 }).to_le_bytes());
    for (i, d) in [1f32, 0.75, 0.5, 3.0].into_iter().enumerate() {
        put(76 + 4 * i, &d.to_le_bytes());
    }
    put(108, &352f32.to_le_bytes());
    put(148, MARKER.as_bytes());
    put(254, &2i16.to_le_bytes());
    for (i, v) in [0.75f32, 0.0, 0.1, -9.0, 0.0, 0.5, 0.0, 4.0, 0.0, 0.0, 3.0, 7.0].into_iter().enumerate() {
        put(280 + 4 * i, &v.to_le_bytes());
    }
    put(344, b"n+1\0");
    out.extend(voxels);
    out
}

/// Three series of DICOM slices with NIfTI masks, in `set`.
fn series(root: &Path) {
    const SLICES: usize = 6;
    std::fs::create_dir_all(root.join("masks")).unwrap();
    for case in 0..3 {
        let folder = root.join(format!("images/case{case}"));
        std::fs::create_dir_all(&folder).unwrap();
        let mut mask = Vec::new();
        for slice in 0..SLICES {
            let at = slice + case;
            let level = |i: usize| if inside(at, i) { 900 } else { 100 } + (i * 7 + at) as u16 % 50;
            let pixels: Vec<u16> = (0..SIDE * SIDE).map(level).collect();
            // Names of files tell nothing of the order.
            std::fs::write(folder.join(format!("IM{}", (slice * 5 + 3) % 7)), dicom(slice, &pixels)).unwrap();
            mask.extend((0..SIDE * SIDE).map(|i| u8::from(inside(at, i))));
        }
        std::fs::write(root.join(format!("masks/case{case}.nii")), nifti(SLICES, 2, &mask)).unwrap();
    }
}

/// Every file below a folder.
fn all_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|p| if p.is_dir() { all_files(&p) } else { vec![p] }).collect()
}

#[test]
fn nothing_about_a_patient_reaches_an_output() {
    let lab = Lab::new();
    series(&lab.path("set"));
    let commands: [&[&str]; 8] = [
        &["inspect", "set/images/case0", "set/masks"],
        &["measure", "set", "--size", "32", "--out", "out/profile.json", "--per-image", "out/images.csv"],
        &["plan", "set", "--max-params", "20k", "--width", "2", "--size", "32", "--out", "out/plan"],
        &["train", "out/plan/plan.json", "set", "--steps", "30", "--out", "out/run", "--verbose"],
        &["evaluate", "out/run", "set"],
        &["segment", "out/run", "set/images", "--out", "out/masks", "--probabilities"],
        &["export", "out/run", "--onnx", "--pytorch", "--c", "--image-size", "32x32", "--out", "out/export"],
        // A file that cannot be read: its message tells nothing either.
        &["inspect", "set/broken.dcm"],
    ];
    std::fs::create_dir_all(lab.path("out")).unwrap();
    let mut broken = dicom(0, &[0; 9]);
    broken.truncate(broken.len() - 5);
    std::fs::write(lab.path("set/broken.dcm"), broken).unwrap();
    let mut streams = Vec::new();
    for (i, command) in commands.iter().enumerate() {
        let done = lab.run(command);
        assert_eq!(done.status.success(), i + 1 < commands.len(), "{command:?}: {}", stderr(&done));
        streams.extend([done.stdout, done.stderr]);
    }
    let marked = |bytes: &[u8]| {
        let has = |word: &str| bytes.windows(word.len()).any(|w| w == word.as_bytes());
        has(MARKER) || has("19010203") || has("1.2.3.78")
    };
    let origin = std::fs::read(lab.path("set/images/case0/IM3")).unwrap();
    assert!(marked(&origin), "the test finds what it looks for");
    for stream in &streams {
        assert!(!marked(stream), "{}", String::from_utf8_lossy(stream));
    }
    let files = all_files(&lab.path("out"));
    assert!(files.len() > 30, "{} files", files.len());
    for file in &files {
        assert!(!marked(&std::fs::read(file).unwrap()), "{}", file.display());
        assert!(!file.to_string_lossy().contains(MARKER));
    }

    // The masks of a series: NIfTI with its spacing and place.
    let mask = lab.json(&["inspect", "out/masks/case0.nii.gz"]);
    assert_eq!((&mask[0]["slices"], &mask[0]["rows"]), (&6.into(), &SIDE.into()), "{mask}");
    assert_eq!(mask[0]["spacing_mm"], serde_json::json!([0.75, 0.5, 3.0]));
    assert!(mask[0]["labels"].is_object(), "{mask}");
}

#[test]
fn masks_of_a_nifti_volume_have_its_header_and_are_good() {
    let lab = Lab::new();
    series(&lab.path("set"));
    lab.json(&["plan", "set", "--max-params", "20k", "--width", "2", "--size", "32", "--out", "plan"]);
    lab.json(&["train", "plan/plan.json", "set", "--steps", "120", "--out", "run"]);
    let slices = 4;
    let level = |i: usize| if inside(i / (SIDE * SIDE), i % (SIDE * SIDE)) { 900i16 } else { 100 } + (i % 50) as i16;
    let voxels: Vec<u8> = (0..slices * SIDE * SIDE).flat_map(|i| level(i).to_le_bytes()).collect();
    let image = nifti(slices, 4, &voxels);
    std::fs::write(lab.path("new.nii"), &image).unwrap();
    let done = lab.json(&["segment", "run", "new.nii", "--out", "masks"]);
    assert_eq!(done[0]["slices"], 4, "{done}");
    let mask = std::fs::read(lab.path("masks/new.nii")).unwrap();
    assert_eq!(mask.len(), 352 + slices * SIDE * SIDE);
    assert_eq!((&mask[40..56], &mask[76..108], &mask[252..328]), (&image[40..56], &image[76..108], &image[252..328]));
    let labels = &mask[352..];
    let truth = |i: usize| inside(i / (SIDE * SIDE), i % (SIDE * SIDE));
    let both = (0..labels.len()).filter(|&i| labels[i] == 1 && truth(i)).count();
    let either = (0..labels.len()).map(|i| usize::from(labels[i] == 1) + usize::from(truth(i))).sum::<usize>();
    let dice = 2.0 * both as f64 / either as f64;
    assert!(dice > 0.8, "Dice {dice}");
    assert!(lab.path("masks/overlay/new#003.png").is_file());
}
