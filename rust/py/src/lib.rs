//! The Python extension `chio_fast._native`.

#[pyo3::pymodule]
mod _native {}
