//! Branches and lanes, as the API shows them.

use serde_json::Value;

/// A branch.
#[derive(Clone, Debug)]
pub struct Branch {
    pub(crate) view: Value,
}

/// One lane of a branch's head.
#[derive(Clone, Debug)]
pub struct Lane {
    view: Value,
}

impl Branch {
    /// `open`, `merged`, `closed` or `deleted`.
    #[track_caller]
    pub fn state(&self) -> &str {
        text(&self.view, &["row", "state"])
    }

    /// The fold of the head's required lanes.
    #[track_caller]
    pub fn head_state(&self) -> &str {
        text(&self.view, &["head", "state"])
    }

    /// The lane of a target, if the head has one.
    pub fn find_lane(&self, target: &str) -> Option<Lane> {
        let lanes = self.view["head"]["lanes"].as_array()?;
        lanes.iter().find(|lane| lane["target"] == target).map(|lane| Lane { view: lane.clone() })
    }
}

impl Lane {
    /// Where it stands.
    #[track_caller]
    pub fn state(&self) -> &str {
        text(&self.view, &["state"])
    }

    /// How many attempts there are.
    pub fn attempts(&self) -> usize {
        self.view["attempts"].as_array().map_or(0, Vec::len)
    }

    /// How its latest attempt ended.
    #[track_caller]
    pub fn outcome(&self) -> &str {
        text(self.latest(), &["outcome"])
    }

    /// Whose fault its latest attempt's end was; `nobody` when it has none.
    pub fn fault(&self) -> &str {
        self.latest()["fault"].as_str().unwrap_or("nobody")
    }

    /// The run of its latest attempt.
    #[track_caller]
    pub fn run_id(&self) -> &str {
        text(self.latest(), &["run_id"])
    }

    /// The number of its latest attempt.
    #[track_caller]
    pub fn lane_run(&self) -> String {
        self.latest()["id"].to_string()
    }

    #[track_caller]
    fn latest(&self) -> &Value {
        self.view["attempts"].get(0).unwrap_or_else(|| panic!("no attempt in {}", self.view))
    }
}

#[track_caller]
fn text<'a>(view: &'a Value, keys: &[&str]) -> &'a str {
    let value = keys.iter().fold(view, |value, key| &value[*key]);
    value.as_str().unwrap_or_else(|| panic!("no {} in {view}", keys.join(".")))
}
