//! Pushes, comparisons and merges with real git and a real database. No lane is run here: outcomes are stored as a lane
//! would store them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use pikaci::{Fault, Outcome, RunId};

use super::state::{BranchState, HeadState, LaneState};
use super::view::BranchView;
use super::*;
use crate::ci::PikaciProgram;
use crate::store::{Claim, Finish, NewMerge};

const MANIFEST: &str =
    "version = 1\n[targets.unit]\n[[targets.unit.jobs]]\nid = \"job\"\ncommand = \"true\"\n";

/// A forge with one repository, and a work tree that pushes to it without a hook.
struct Fixture {
    folder: tempfile::TempDir,
    forge: Forge,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let forge = open(folder.path().to_owned()).await;
    let fixture = Fixture { folder, forge };
    let bare = fixture.forge.git("sample").unwrap().path().display().to_string();
    fixture.git(&["init", "--quiet", "--initial-branch=main", "."]);
    fixture.git(&["remote", "add", "origin", &bare]);
    fixture
}

async fn open(folder: PathBuf) -> Forge {
    let config =
        Config::parse("data = \"data\"\n[[repositories]]\nname = \"sample\"\n", "test", &folder).unwrap();
    std::fs::create_dir_all(&config.data).unwrap();
    std::fs::create_dir_all(folder.join("work")).unwrap();
    let store = Store::open(&config.data.join("forge.sqlite")).unwrap();
    let program = PikaciProgram { program: PathBuf::from("/nonexistent/pikaci"), environment: Vec::new() };
    let ci = Ci::new(config.ci.clone(), program);
    store.ensure_user("ada".to_owned(), true, 1).await.unwrap();
    Forge::open(config, store, Arc::new(Timestamp::now), ci).await.unwrap()
}

impl Fixture {
    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(self.folder.path().join("work"));
        command.envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")]);
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.org");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Commits files on a branch and pushes it; returns the commit.
    fn push(&self, branch: &str, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            std::fs::write(self.folder.path().join("work").join(name), text).unwrap();
        }
        self.git(&["add", "--all", "."]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", "Change"]);
        self.git(&["push", "--quiet", "--force", "origin", &format!("HEAD:refs/heads/{branch}")]);
        self.git(&["rev-parse", "HEAD"])
    }

    async fn receive(&self, branch: &str) -> view::PushedBranch {
        let update = RefUpdate { reference: format!("refs/heads/{branch}") };
        let receipt = self.forge.receive_push("sample", Some("ada"), &[update]).await.unwrap();
        receipt.branches.into_iter().next().unwrap()
    }

    async fn branch(&self, name: &str) -> BranchView {
        let id = self.forge.hosted("sample").unwrap().id;
        let branch = self.forge.store().find_branch_named(id, name).await.unwrap().unwrap();
        self.forge.branch("sample", branch.id).await.unwrap()
    }

    /// Ends everything that waits, as lanes would.
    async fn end_all(&self, outcome: Outcome) {
        let store = self.forge.store();
        for lane in store.list_queued(vec![RepositoryId(1)], 100).await.unwrap() {
            let claim = Claim {
                id: lane.id,
                token: "test".to_owned(),
                run_id: RunId::random(Timestamp::now()),
                lease_until_ms: i64::MAX,
            };
            store.claim(vec![claim], Vec::new(), 1).await.unwrap();
            let fault = (outcome != Outcome::Passed).then_some(Fault::Job);
            let finish = Finish {
                id: lane.id,
                token: "test".to_owned(),
                outcome: outcome.clone(),
                fault,
                message: None,
                retry_delays_ms: Vec::new(),
                now_ms: 2,
            };
            store.finish(finish).await.unwrap().unwrap();
        }
    }

    /// `main` with a manifest, and the branch `topic` on it, both green.
    async fn green_topic(&self) -> (String, BranchView) {
        self.push("main", &[("pikaci.toml", MANIFEST)]);
        self.receive("main").await;
        let oid = self.push("topic", &[("a.txt", "a\n")]);
        self.receive("topic").await;
        self.end_all(Outcome::Passed).await;
        (oid, self.branch("topic").await)
    }
}

#[tokio::test]
async fn a_push_becomes_a_branch_with_its_lanes() {
    let fixture = fixture().await;
    let oid = fixture.push("main", &[("pikaci.toml", MANIFEST)]);
    let pushed = fixture.receive("main").await;
    assert_eq!((pushed.queued, pushed.notes), (vec!["unit".to_owned()], Vec::new()));
    let branch = fixture.branch("main").await;
    assert_eq!((branch.row.head_oid, branch.head.state), (oid, HeadState::Queued));
    assert_eq!(branch.head.pushed_by.as_deref(), Some("ada"));
}

#[tokio::test]
async fn a_branch_whose_name_is_not_followed_is_said_to_its_pusher() {
    let fixture = fixture().await;
    let said = fixture.receive("-dash").await;
    assert_eq!((said.name.as_str(), said.path), ("refs/heads/-dash", None));
    assert!(said.notes[0].contains("starts with '-'"), "{:?}", said.notes);
}

#[tokio::test]
async fn a_push_that_no_hook_told_of_is_found() {
    let fixture = fixture().await;
    fixture.push("main", &[("pikaci.toml", MANIFEST)]);
    fixture.push("topic", &[("a.txt", "a\n")]);
    fixture.forge.reconcile("sample").await.unwrap();
    assert_eq!(fixture.branch("topic").await.head.state, HeadState::Queued);
    fixture.git(&["push", "--quiet", "origin", ":topic"]);
    fixture.forge.reconcile("sample").await.unwrap();
    assert_eq!(fixture.branch("topic").await.row.state, BranchState::Deleted);
}

#[tokio::test]
async fn a_broken_manifest_is_told_with_its_line_and_stops_no_other_branch() {
    let fixture = fixture().await;
    fixture.push("main", &[("pikaci.toml", MANIFEST)]);
    let broken = MANIFEST.replace("[targets.unit]\n", "[targets.unit]\nreqired = true\n");
    fixture.push("broken", &[("pikaci.toml", &broken)]);
    fixture.push("other", &[("pikaci.toml", MANIFEST)]);
    fixture.forge.reconcile("sample").await.unwrap();
    let broken = fixture.branch("broken").await;
    assert_eq!(broken.head.state, HeadState::ManifestError);
    assert!(matches!(broken.head.selection, state::Selection::ManifestError { line: Some(3), .. }));
    assert_eq!(fixture.branch("other").await.head.state, HeadState::Queued);
}

#[tokio::test]
async fn a_branch_that_drops_a_required_lane_can_not_be_merged() {
    let fixture = fixture().await;
    fixture.push("main", &[("pikaci.toml", MANIFEST)]);
    fixture.receive("main").await;
    let oid = fixture.push("topic", &[("pikaci.toml", &MANIFEST.replace("unit", "easy"))]);
    fixture.receive("topic").await;
    fixture.end_all(Outcome::Passed).await;
    let topic = fixture.branch("topic").await;
    let states: Vec<LaneState> = topic.head.lanes.iter().map(|lane| lane.state).collect();
    assert_eq!(states, [LaneState::Passed, LaneState::Missing]);
    let refused = fixture.forge.merge("sample", topic.row.id, &oid, "ada").await;
    assert!(matches!(refused, Err(ForgeError::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_green_branch_is_merged_and_the_target_is_tested() {
    let fixture = fixture().await;
    let (oid, topic) = fixture.green_topic().await;
    assert!(topic.merge.is_ready, "{:?}", topic.merge);
    let merged = fixture.forge.merge("sample", topic.row.id, &oid, "ada").await.unwrap();
    let (topic, main) = (fixture.branch("topic").await, fixture.branch("main").await);
    assert_eq!((topic.row.state, topic.merge_oid), (BranchState::Merged, Some(merged.oid.clone())));
    assert_eq!((main.row.head_oid, main.head.state), (merged.oid, HeadState::Queued));
    fixture.forge.git("sample").unwrap().fsck().await.unwrap();
}

#[tokio::test]
async fn a_merge_takes_the_head_that_the_reviewer_saw_or_none() {
    let fixture = fixture().await;
    let (oid, topic) = fixture.green_topic().await;
    // The forge has not heard of this push yet: git's word counts.
    let newer = fixture.push("topic", &[("b.txt", "b\n")]);
    let stale = fixture.forge.merge("sample", topic.row.id, &oid, "ada").await;
    assert!(matches!(stale, Err(ForgeError::Stale { .. })), "{stale:?}");
    fixture.receive("topic").await;
    let untested = fixture.forge.merge("sample", topic.row.id, &newer, "ada").await;
    assert!(matches!(untested, Err(ForgeError::Refused { .. })), "{untested:?}");
}

#[tokio::test]
async fn a_conflict_names_the_paths_and_leaves_the_branch_open() {
    let fixture = fixture().await;
    let (oid, topic) = fixture.green_topic().await;
    fixture.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    fixture.push("main", &[("a.txt", "something else\n")]);
    fixture.receive("main").await;
    let conflict = fixture.forge.merge("sample", topic.row.id, &oid, "ada").await;
    assert!(matches!(&conflict, Err(ForgeError::Conflict { paths }) if paths == &["a.txt"]), "{conflict:?}");
    let told = fixture.branch("topic").await.merge;
    assert!(!told.is_ready, "{told:?}");
    assert!(told.reason.as_ref().unwrap().contains("conflicts with main in a.txt"), "{told:?}");
    assert_eq!(fixture.branch("topic").await.row.state, BranchState::Open);
}

#[tokio::test]
async fn a_merge_that_was_cut_off_is_judged_by_where_the_ref_is() {
    for has_moved in [true, false] {
        let fixture = fixture().await;
        let (oid, topic) = fixture.green_topic().await;
        let git = fixture.forge.git("sample").unwrap();
        let main = BranchName::parse("main").unwrap();
        let before = git.find_branch(&main).await.unwrap().unwrap();
        let intent = NewMerge {
            branch_id: topic.row.id,
            head_oid: oid.clone(),
            target: "main".to_owned(),
            target_oid: before.to_string(),
            // A fast forward stands in for the merge commit.
            merge_oid: oid.clone(),
            actor: "ada".to_owned(),
            now_ms: 3,
        };
        fixture.forge.store().begin_merge(intent).await.unwrap();
        if has_moved {
            fixture.git(&["push", "--quiet", "origin", &format!("{oid}:refs/heads/main")]);
        }
        let restarted = open(fixture.folder.path().to_owned()).await;
        restarted.recover_merges().await;
        let state = fixture.branch("topic").await.row.state;
        assert_eq!(state, if has_moved { BranchState::Merged } else { BranchState::Open });
        let id = restarted.hosted("sample").unwrap().id;
        assert_eq!(restarted.store().list_pending_merges(id).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_merge_that_was_left_open_does_not_stand_in_the_way_of_the_next() {
    let fixture = fixture().await;
    let (oid, topic) = fixture.green_topic().await;
    let main = BranchName::parse("main").unwrap();
    let before = fixture.forge.git("sample").unwrap().find_branch(&main).await.unwrap().unwrap();
    let left_open = NewMerge {
        branch_id: topic.row.id,
        head_oid: oid.clone(),
        target: "main".to_owned(),
        target_oid: before.to_string(),
        merge_oid: oid.clone(),
        actor: "ada".to_owned(),
        now_ms: 3,
    };
    fixture.forge.store().begin_merge(left_open).await.unwrap();
    fixture.forge.merge("sample", topic.row.id, &oid, "ada").await.unwrap();
    assert_eq!(fixture.branch("topic").await.row.state, BranchState::Merged);
}

#[tokio::test]
async fn an_orphan_branch_is_tested_and_never_merged() {
    let fixture = fixture().await;
    fixture.push("main", &[("pikaci.toml", MANIFEST)]);
    fixture.receive("main").await;
    fixture.git(&["checkout", "--quiet", "--orphan", "lonely"]);
    fixture.push("lonely", &[("pikaci.toml", MANIFEST), ("other.txt", "not a commit of main\n")]);
    let pushed = fixture.receive("lonely").await;
    assert_eq!(pushed.queued, ["unit"]);
    assert_eq!(pushed.notes.len(), 1, "{:?}", pushed.notes);
    fixture.end_all(Outcome::Passed).await;
    let lonely = fixture.branch("lonely").await;
    assert!(lonely.head.is_orphan && !lonely.merge.is_ready);
}

#[tokio::test]
async fn a_closed_branch_stays_closed_until_it_is_pushed_or_reopened() {
    let fixture = fixture().await;
    let (oid, topic) = fixture.green_topic().await;
    let main = fixture.branch("main").await.row.head_oid;
    let stale = fixture.forge.close("sample", topic.row.id, &main, "ada").await;
    assert!(matches!(stale, Err(ForgeError::Stale { .. })), "{stale:?}");
    fixture.forge.close("sample", topic.row.id, &oid, "ada").await.unwrap();
    fixture.forge.reconcile("sample").await.unwrap();
    assert_eq!(fixture.branch("topic").await.row.state, BranchState::Closed);
    let stale = fixture.forge.reopen("sample", topic.row.id, &main, "ada").await;
    assert!(matches!(stale, Err(ForgeError::Stale { .. })), "{stale:?}");
    fixture.forge.reopen("sample", topic.row.id, &oid, "ada").await.unwrap();
    assert!(fixture.branch("topic").await.merge.is_ready, "what had passed is as it was");
    let twice = fixture.forge.reopen("sample", topic.row.id, &oid, "ada").await;
    assert!(matches!(twice, Err(ForgeError::Refused { .. })), "{twice:?}");
    fixture.forge.close("sample", topic.row.id, &oid, "ada").await.unwrap();
    fixture.push("topic", &[("b.txt", "b\n")]);
    fixture.receive("topic").await;
    assert_eq!(fixture.branch("topic").await.row.state, BranchState::Open);
}

#[tokio::test]
async fn a_branch_that_somebody_merged_with_git_is_merged() {
    let fixture = fixture().await;
    let (oid, _) = fixture.green_topic().await;
    let main = fixture.branch("main").await.row.head_oid;
    fixture.git(&["push", "--quiet", "origin", &format!("{main}:refs/heads/fresh")]);
    fixture.receive("fresh").await;
    fixture.git(&["push", "--quiet", "origin", &format!("{oid}:refs/heads/main")]);
    fixture.receive("main").await;
    assert_eq!(fixture.branch("topic").await.row.state, BranchState::Merged);
    assert_eq!(fixture.branch("fresh").await.row.state, BranchState::Open);
}

#[tokio::test]
async fn rerunning_a_green_lane_can_not_turn_a_red_head_green() {
    let fixture = fixture().await;
    let two = format!("{MANIFEST}[targets.lint]\n[[targets.lint.jobs]]\nid = \"job\"\ncommand = \"true\"\n");
    fixture.push("main", &[("pikaci.toml", &two)]);
    fixture.receive("main").await;
    fixture.end_all(Outcome::Failed).await;
    let lanes = fixture.branch("main").await.head.lanes;
    let first = lanes[0].attempts[0].id;
    fixture.forge.rerun("sample", first, RerunScope::All, "ada").await.unwrap();
    let twice = fixture.forge.rerun("sample", first, RerunScope::All, "ada").await;
    assert!(matches!(twice, Err(ForgeError::Refused { .. })), "{twice:?}");
    fixture.end_all(Outcome::Passed).await;
    let main = fixture.branch("main").await;
    assert_eq!((main.head.lanes[0].state, main.head.state), (LaneState::Passed, HeadState::Failed));
    assert_eq!(main.head.lanes[0].attempts.len(), 2);
}
