//! Any text is a run or a refusal, and a run that was read is read again as it was
//! written.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use reports::files::file::read_str;

fuzz_target!(|text: &str| {
    let path = Path::new("a.run.json");
    match read_str(text, path) {
        Ok(run) => {
            let again = serde_json::to_string(&run).expect("a run is JSON");
            let again = read_str(&again, path).expect("what was read can be read");
            assert_eq!(again.id, run.id);
            assert_eq!(again.phases.len(), run.phases.len());
        }
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
});
