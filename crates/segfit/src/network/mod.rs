//! Networks as data.

pub mod layout;
