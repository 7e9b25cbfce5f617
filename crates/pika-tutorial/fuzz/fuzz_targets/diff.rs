//! Whatever bytes come as a diff: it is read, every hunk is found by its id, and no change of a file goes without one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pika_tutorial::Diff;

fuzz_target!(|bytes: &[u8]| {
    let diff = Diff::parse(bytes.to_vec());
    for hunk in diff.hunks() {
        assert!(diff.find_hunk(hunk.id().as_str()).is_some());
        assert_eq!(hunk.numbered().count(), hunk.hunk().lines.len());
        let _ = hunk.text(0..hunk.hunk().lines.len());
    }
    assert!(diff.files().iter().all(|file| !file.hunks.is_empty()));
});
