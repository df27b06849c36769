//! Text that can be checked by reading.
