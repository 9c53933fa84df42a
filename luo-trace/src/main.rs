//! The `luo-trace` command.

fn main() {}
