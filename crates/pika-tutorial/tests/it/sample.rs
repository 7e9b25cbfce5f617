//! A small change, and answers about it.

use std::sync::Arc;

use pika_tutorial::{About, Change, Diff, ExplainOptions, PlanLimits, Sources};
use serde_json::{Value, json};

pub(crate) const DIFF: &str = "\
diff --git a/src/forge.rs b/src/forge.rs
index 1111111..2222222 100644
--- a/src/forge.rs
+++ b/src/forge.rs
@@ -1,3 +1,5 @@ fn main() {
 one();
-two();
+pub fn state_root() {
+    three();
+}
 four();
@@ -40,2 +42,2 @@ fn other() {
-    old_name();
+    state_root();
 }
diff --git a/docs/plan.md b/docs/plan.md
new file mode 100644
--- /dev/null
+++ b/docs/plan.md
@@ -0,0 +1,2 @@
+# The plan
+Two words.
";

pub(crate) fn change() -> Change {
    Change {
        about: About {
            repository: "pika".to_owned(),
            branch: "state".to_owned(),
            title: "Keep state".to_owned(),
            base: "1".repeat(40),
            head: "2".repeat(40),
            ..About::default()
        },
        diff: Arc::new(Diff::parse(DIFF.as_bytes())),
        sources: Arc::new(Sources::default()),
    }
}

/// Tries that do not wait.
pub(crate) fn options() -> ExplainOptions {
    ExplainOptions {
        deadline: std::time::Duration::from_secs(30),
        tries_max: 3,
        delay: std::time::Duration::from_millis(1),
        has_repair: true,
        limits: PlanLimits::default(),
    }
}

pub(crate) fn ids() -> Vec<String> {
    Diff::parse(DIFF.as_bytes()).hunks().map(|hunk| hunk.id().to_string()).collect()
}

/// A step that shows a hunk.
pub(crate) fn step(title: &str, hunk: &str) -> Value {
    json!({
        "title": title, "intent": "So that it lasts", "affected_files": [],
        "evidence": [{"hunk": hunk}], "body_markdown": "It does."
    })
}

/// An answer with these steps.
pub(crate) fn answer(steps: &[Value]) -> String {
    json!({"executive_summary": "It keeps state.", "steps": steps}).to_string()
}

/// An answer that has nothing wrong with it.
pub(crate) fn good_answer() -> String {
    let steps: Vec<Value> =
        ids().iter().enumerate().map(|(index, id)| step(&format!("Step {index}"), id)).collect();
    answer(&steps)
}
