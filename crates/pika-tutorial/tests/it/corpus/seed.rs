//! The good answers that the others are made of.

use std::path::Path;
use std::sync::Arc;

use pika_tutorial::Diff;
use serde_json::Value;

pub(crate) struct Seed {
    /// The name of its file, without the ending.
    pub(crate) name: String,
    pub(crate) diff: Arc<Diff>,
    pub(crate) text: String,
    pub(crate) value: Value,
    /// The titles of its steps.
    pub(crate) titles: Vec<String>,
}

impl Seed {
    /// Reads the folder `corpus`.
    pub(crate) fn all() -> Vec<Seed> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".json")?.to_owned()))
            .collect();
        names.sort();
        let read = |name: String| {
            let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
            let diff =
                std::fs::read(folder.join(format!("{}.diff", name.split('.').next().unwrap()))).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            let titles = value["steps"].as_array().unwrap().iter();
            let titles = titles.map(|step| step["title"].as_str().unwrap().to_owned()).collect();
            Seed { name, diff: Arc::new(Diff::parse(diff)), text, value, titles }
        };
        names.into_iter().map(read).collect()
    }
}
