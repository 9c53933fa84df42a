//! The cases of `cargo xtask test`.

/// Each kind of fault at least once (31 in a row), and cases that found something: a run without a
/// window that ended with 0 (15), a file of tracefs that could not be read (17), a recorder that
/// never is ready (35), a cost of its own longer than the window (38), and the clock of the boot trace changed (112, 329).
pub const SEEDS: [u64; 50] = {
    let mut seeds = [112; 50];
    seeds[0] = 329;
    let mut n = 1;
    while n < 49 {
        seeds[n] = n as u64;
        n += 1;
    }
    seeds
};
