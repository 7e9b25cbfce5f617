//! Holds the descriptions in `docs/formats` against the code: every example in them is read.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::event::{Event, fold};
use crate::guest::GuestResult;
use crate::manifest::Manifest;
use crate::record::{PlanRecord, PreparedOutputsRecord, RunRecord, RunStatus};

/// The fenced examples of a description that are written in a language.
fn examples(description: &'static str, language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    description.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// Reads an example and writes it again: what it shows is what the code knows.
fn reads_whole<T: DeserializeOwned + serde::Serialize>(example: &str) -> T {
    let shown: Value = serde_json::from_str(example).unwrap();
    let read: T = serde_json::from_value(shown.clone()).unwrap();
    let written = serde_json::to_value(&read).unwrap();
    assert_eq!(written, shown, "an example shows keys that the code does not write, or hides some");
    read
}

#[test]
fn the_manifests_are_manifests() {
    let mut examples = self::examples(include_str!("../../../docs/formats/manifest.md"), "toml");
    examples.extend(self::examples(include_str!("../../../docs/formats/prepared.md"), "toml"));
    examples.extend(self::examples(include_str!("../../../docs/formats/secrets.md"), "toml"));
    assert_eq!(examples.len(), 6);
    for example in examples {
        if let Err(error) = Manifest::parse(example) {
            panic!("{example}\n{error}");
        }
    }
}

#[test]
fn the_events_are_those_of_a_run() {
    let examples = examples(include_str!("../../../docs/formats/events.md"), "jsonl");
    let [example] = examples.as_slice() else { panic!("{} examples", examples.len()) };
    let events: Vec<Event> = example.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!events.contains(&Event::Unknown));
    assert_eq!(fold(&events).unwrap().status, RunStatus::Failed);
}

#[test]
fn the_records_are_records() {
    let examples = examples(include_str!("../../../docs/formats/state-root.md"), "json");
    let [run, plan, result, prepared] = examples.as_slice() else { panic!("{} examples", examples.len()) };
    let run: RunRecord = reads_whole(run);
    let plan: PlanRecord = reads_whole(plan);
    assert_eq!(run.run_id, plan.run_id);
    reads_whole::<GuestResult>(result);
    reads_whole::<PreparedOutputsRecord>(prepared);
}

#[test]
fn the_result_of_a_guest_is_one() {
    let examples = examples(include_str!("../../../docs/formats/guest.md"), "json");
    let [result] = examples.as_slice() else { panic!("{} examples", examples.len()) };
    reads_whole::<GuestResult>(result);
}

#[test]
fn no_example_is_left_out() {
    // In the order of their files. `text` and none are shapes, `sh` is typed by people. Those of incus.md are read beside the code that
    // reads settings, and the payload manifest where one is written; a tutorial's is held to be JSON here, and no more.
    let tutorials = examples(include_str!("../../../docs/formats/tutorial.md"), "json");
    assert!(tutorials.iter().all(|example| serde_json::from_str::<Value>(example).is_ok()));
    let known = [
        // Read beside the code of the forge.
        ("api.md", vec!["json"]),
        ("events.md", vec!["jsonl"]),
        ("git.md", vec!["toml"; 2]),
        ("guest.md", vec!["text", "json"]),
        ("incus.md", vec!["toml"]),
        ("manifest.md", vec!["toml"; 3]),
        ("prepared.md", vec!["toml", "", "json payload-manifest"]),
        ("secrets.md", vec!["toml", "sh", "sh", "text", "toml"]),
        ("state-root.md", vec!["text", "json", "json", "json", "json"]),
        ("tutorial.md", vec!["json"]),
    ];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats");
    let mut names: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let found: Vec<(String, Vec<String>)> = names
        .into_iter()
        .map(|name| {
            let text = std::fs::read_to_string(folder.join(&name)).unwrap();
            let fences = text.lines().filter_map(|line| line.strip_prefix("```"));
            (name.into_string().unwrap(), fences.step_by(2).map(str::to_owned).collect())
        })
        .collect();
    let known: Vec<(String, Vec<String>)> = known
        .into_iter()
        .map(|(name, fences)| (name.to_owned(), fences.into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(found, known, "an example without a test, or a test without its example");
}
