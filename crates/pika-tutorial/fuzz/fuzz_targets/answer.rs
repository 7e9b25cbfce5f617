//! Whatever a model answers: it is read and checked, and all evidence that comes out stands in the diff.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pika_tutorial::{Diff, check, read};

const DIFF: &[u8] = b"diff --git a/x.rs b/x.rs\n--- a/x.rs\n+++ b/x.rs\n@@ -1,3 +1,4 @@ fn main() {\n one\n-two\n+2\n+two and a half\n three\n";

fuzz_target!(|bytes: &[u8]| {
    let diff = Diff::parse(DIFF);
    let Some(answer) = read(bytes).answer else { return };
    let checked = check(&diff, &answer);
    for evidence in checked.steps.iter().flat_map(|step| &step.evidence) {
        let hunk = diff.find_hunk(evidence.hunk.as_str()).expect("evidence names a hunk of the diff");
        assert_eq!(hunk.text(evidence.lines.0 - 1..evidence.lines.1), evidence.text);
    }
});
