//! One file for each subcommand.

pub mod bench;
pub mod calibrate;
pub mod demo;
pub mod evaluate;
pub mod export;
pub mod import_weights;
pub mod inspect;
pub mod measure;
pub mod network;
pub mod network_import;
pub mod network_inherit;
pub mod phantom;
pub mod plan;
pub mod predict;
pub mod report;
pub mod segment;
pub mod train;
