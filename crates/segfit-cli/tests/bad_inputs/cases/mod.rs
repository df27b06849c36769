//! The corpus, by kind.

mod bitmaps;
mod calibration;
mod checkpoints;
mod dicom;
mod folders;
mod foreign;
mod jpeg;
mod masks;
mod networks;
mod nifti;
mod nnunet;
mod npy;
mod onnx;
mod options;
mod plans;
mod png;
mod runs;
mod split;
mod tiff;
mod tiff_tags;

use crate::case::Case;
use crate::files::{nifti as nifti_file, put};

/// What reads a data set: lazily, and as a whole.
const MEASURE_AND_TRAIN: &str = "measure data --size 32 --out profile.json\n\
                                 train network.json data --size 32 --steps 1 --out out";

/// All cases.
pub fn all() -> Vec<Case> {
    let kinds = [
        foreign::cases,
        png::cases,
        jpeg::cases,
        bitmaps::cases,
        tiff::cases,
        tiff_tags::cases,
        nifti::cases,
        dicom::cases,
        npy::cases,
        masks::cases,
        folders::cases,
        split::cases,
        nnunet::cases,
        networks::cases,
        plans::cases,
        runs::cases,
        checkpoints::cases,
        calibration::cases,
        onnx::cases,
        options::cases,
    ];
    kinds.iter().flat_map(|cases| cases()).collect()
}

/// A picture in place of a good one of the data set. Looking at it, measuring lazily and training end alike.
fn picture(name: &'static str, file: &'static str, bytes: impl Into<Vec<u8>>, says: &'static str) -> Case {
    let commands = format!("inspect {file}\n{MEASURE_AND_TRAIN}");
    let bytes = bytes.into();
    let make = move |lab: &std::path::Path| {
        std::fs::remove_file(lab.join("data/images/nuclei-0003.png")).expect("the data set has it");
        put(lab, file, &bytes);
    };
    Case::new(name, &commands, make, says).of(file)
}

/// A volume with a good mask, as the only one of a data set.
fn volume(name: &'static str, file: &'static str, bytes: impl Into<Vec<u8>>, says: &'static str) -> Case {
    let commands = format!("inspect {file}\n{MEASURE_AND_TRAIN}");
    let bytes = bytes.into();
    let make = move |lab: &std::path::Path| {
        std::fs::remove_dir_all(lab.join("data")).expect("the data set is there");
        put(lab, file, &bytes);
        let [columns, rows, slices] = nifti_file::SIDES;
        let slices = if file.ends_with(".dcm") { 1 } else { slices };
        put(lab, "data/masks/scan.nii", nifti_file::mask(&[columns, rows, slices]));
    };
    Case::new(name, &commands, make, says).of(file)
}

impl Case {
    /// The same case for those commands that decode all pixels. Measuring reads headers first and may meet another fault,
    /// which the damaged pixels bring with them, such as a mask of another size.
    fn of_pixels(self) -> Self {
        let commands = self.commands.into_iter().filter(|c| !c.starts_with("measure")).collect();
        Self { commands, ..self }
    }

    /// The same case for training alone, which decodes files as a whole.
    fn of_training(self) -> Self {
        let commands = self.commands.into_iter().filter(|c| c.starts_with("train")).collect();
        Self { commands, ..self }
    }

    /// The same case of a file that can be looked at, but not be measured or trained on.
    fn of_use(self) -> Self {
        let commands = self.commands.into_iter().filter(|c| !c.starts_with("inspect")).collect();
        Self { commands, ..self }
    }
}

/// Something that is wrong with a data set, but not with one image: measuring and training end alike.
fn set(name: &'static str, make: impl Fn(&std::path::Path) + Send + Sync + 'static, says: &'static str) -> Case {
    Case::new(name, MEASURE_AND_TRAIN, make, says)
}
