//! earnest
fn main() {}
