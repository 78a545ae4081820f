//! Pooler.
fn main() {}
