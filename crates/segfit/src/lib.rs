//! The method of segfit: how complex are the images, what accuracy will each size of a network reach, which
//! width should every layer have. Nothing here trains or runs a network.
//!
//! The modules depend on each other in one direction only:
//! `data` <- `complexity` <- `survey`; `network` <- `cost`; `complexity` + `network` <- `predict`; `predict` + `cost` <- `plan`; `network` + `onnx` <- `export`; everything <- `report`.

pub mod complexity;
pub mod cost;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod export;
pub mod files;
pub mod network;
pub mod npy;
pub mod numbers;
pub mod onnx;
pub mod phantom;
pub mod plan;
pub mod predict;
pub mod random;
pub mod recipe;
pub mod report;
pub mod survey;
pub mod temporary;

pub use error::{Error, Result};
