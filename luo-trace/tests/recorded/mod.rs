//! Runs that were recorded for the tests of `reports`, which say how.

use std::path::Path;

/// Twelve runs, named `0001.run.json` and so on.
pub const SET: &[u8] = include_bytes!("../../../reports/tests/data/wall-tcg.tar.gz");

/// The archive of these runs, to be read once.
pub fn archive() -> tar::Archive<flate2::read::GzDecoder<&'static [u8]>> {
    tar::Archive::new(flate2::read::GzDecoder::new(SET))
}

/// Puts them into a directory.
pub fn unpack(into: &Path) {
    archive().unpack(into).unwrap();
}
