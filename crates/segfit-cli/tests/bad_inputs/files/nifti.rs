//! NIfTI files of version 1, field by field (<https://nifti.nimh.nih.gov/nifti-1>).

/// Columns, rows and slices of a good one.
pub const SIDES: [i16; 3] = [32, 32, 4];

const HEADER: usize = 352;

/// A volume of 16-bit numbers.
pub fn good() -> Vec<u8> {
    let n = SIDES.iter().map(|s| *s as usize).product::<usize>();
    volume(&SIDES, 4, 16, &(0..n).flat_map(|i| ((i * 37 % 1000) as i16).to_le_bytes()).collect::<Vec<u8>>())
}

/// A good volume with these bytes at this place of its header.
pub fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = good();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

/// A good volume with these 16-bit numbers from this place on.
pub fn with_shorts(at: usize, numbers: &[i16]) -> Vec<u8> {
    with(at, &numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>())
}

/// A volume of voxels of this type.
pub fn volume(sides: &[i16], datatype: i16, bits: i16, voxels: &[u8]) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348i32.to_le_bytes());
    put(40, &(sides.len() as i16).to_le_bytes());
    for i in 0..7 {
        put(42 + 2 * i, &sides.get(i).copied().unwrap_or(1).to_le_bytes());
    }
    put(70, &datatype.to_le_bytes());
    put(72, &bits.to_le_bytes());
    for i in 0..8 {
        put(76 + 4 * i, &1f32.to_le_bytes());
    }
    put(108, &(HEADER as f32).to_le_bytes());
    put(123, &[2]);
    put(344, b"n+1\0");
    out.extend(voxels);
    out
}

/// A volume of 32-bit floating point.
pub fn floats(value: impl Fn(usize) -> f32) -> Vec<u8> {
    let n = SIDES.iter().map(|s| *s as usize).product::<usize>();
    volume(&SIDES, 16, 32, &(0..n).flat_map(|i| value(i).to_le_bytes()).collect::<Vec<u8>>())
}

/// A mask of unsigned bytes for a volume of these sides.
pub fn mask(sides: &[i16]) -> Vec<u8> {
    let n = sides.iter().map(|s| *s as usize).product::<usize>();
    volume(sides, 2, 8, &(0..n).map(|i| u8::from(i % 32 > 12)).collect::<Vec<u8>>())
}
