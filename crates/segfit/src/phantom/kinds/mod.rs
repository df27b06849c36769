//! One file per kind of phantom; each paints on an empty canvas.

pub mod discs;
pub mod glands;
pub mod lesions;
pub mod nuclei;
pub mod vessels;
