//! The `segfit` command.

fn main() {}
