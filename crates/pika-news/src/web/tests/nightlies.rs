//! Nightlies: once for each day that was due, once for all that were missed, and never two at once.

use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use pikaci::Outcome;
use serde_json::Value;

use super::fixture::{Fixture, MANIFEST, REPOSITORY};
use crate::forge::view::BranchView;

const NIGHTLY: &str =
    "\n[targets.fuzz]\non = [\"nightly\"]\n\n[[targets.fuzz.jobs]]\nid = \"fuzz\"\ncommand = \"true\"\n";
const DAY_MS: i64 = 24 * 3600 * 1000;

async fn fixture(manifest: &str) -> Fixture {
    let fixture = Fixture::with_config(|config| {
        config.repositories[0].nightly = Some(jiff::civil::time(3, 30, 0, 0));
    })
    .await;
    fixture.push("main", &[("pikaci.toml", manifest)]).await;
    fixture.forge.begin_nightlies().await;
    assert!(listed(&fixture).await.is_empty(), "what was due before there were nightlies was not missed");
    fixture
}

async fn listed(fixture: &Fixture) -> Vec<Value> {
    let body = fixture.get("/news/api/v1/nightlies?repository=sample").await.json(StatusCode::OK);
    body["items"].as_array().unwrap().clone()
}

/// Lets days pass, and looks what is due.
async fn after(fixture: &Fixture, days: i64) -> Vec<Value> {
    fixture.ahead_ms.fetch_add(days * DAY_MS, Ordering::SeqCst);
    for _ in 0..2 {
        fixture.forge.begin_nightlies().await;
    }
    listed(fixture).await
}

async fn main_branch(fixture: &Fixture) -> BranchView {
    let id = fixture.forge.hosted(REPOSITORY).unwrap().id;
    let branch = fixture.forge.store().find_branch_named(id, "main").await.unwrap().unwrap();
    fixture.forge.branch(REPOSITORY, branch.id).await.unwrap()
}

#[tokio::test]
async fn a_nightly_runs_once_a_day_once_for_all_that_were_missed_and_never_beside_another() {
    let fixture = fixture(&format!("version = 1\n{NIGHTLY}")).await;
    let first = after(&fixture, 1).await;
    assert_eq!(first.len(), 1);
    assert_eq!((&first[0]["state"], &first[0]["repository"]), (&"running".into(), &"sample".into()));
    let run = &first[0]["runs"][0];
    assert_eq!(
        (&run["lane"], &run["cause"], &run["status"]),
        (&"fuzz".into(), &"nightly".into(), &"queued".into())
    );
    let main = main_branch(&fixture).await;
    assert!(!main.head.lanes[0].is_required, "what the clock finds guards no merge");
    // It is claimed, the branch moves on, and days pass; it goes on, and nothing is begun beside it.
    fixture.claim(main.row.id, None).await;
    fixture.push("main", &[("a", "1")]).await;
    assert_eq!(after(&fixture, 3).await.len(), 1);
    assert_eq!(listed(&fixture).await[0]["runs"][0]["is_cancel_requested"], false);
    let job = fixture.forge.store().list_running().await.unwrap().remove(0);
    fixture.finish(job.id, Outcome::Passed).await;
    assert_eq!(listed(&fixture).await[0]["state"], "passed");
    let page = fixture.get("/news/sample").await.text();
    let link = format!("/news/sample/lane-run/{}", job.id);
    assert!(page.contains("<strong>Nightly</strong>") && page.contains(&link), "{page}");
    // The forge comes back after a week.
    let ahead = fixture.ahead_ms.load(Ordering::SeqCst);
    let fixture = fixture.restarted().await;
    fixture.ahead_ms.store(ahead, Ordering::SeqCst);
    let second = after(&fixture, 7).await;
    assert_eq!(second.len(), 2, "{second:?}");
    assert_ne!(second[0]["head_oid"], first[0]["head_oid"]);
    assert_eq!(after(&fixture, 0).await.len(), 2);
}

#[tokio::test]
async fn a_nightly_without_targets_says_so_and_one_of_a_lane_that_runs_is_that_one() {
    let fixture = fixture(MANIFEST).await;
    let nothing = after(&fixture, 1).await;
    assert_eq!(nothing[0]["state"], "nothing");
    assert!(nothing[0]["message"].as_str().unwrap().contains("nightly"));
    let both = MANIFEST.replace("[targets.check]\n", "[targets.check]\non = [\"branch\", \"nightly\"]\n");
    fixture.push("main", &[("pikaci.toml", &both)]).await;
    let queued = main_branch(&fixture).await.head.lanes[0].attempts[0].id;
    let same = after(&fixture, 1).await;
    assert_eq!(same[0]["runs"].as_array().unwrap().len(), 1);
    assert_eq!(same[0]["runs"][0]["id"], queued.0);
}
