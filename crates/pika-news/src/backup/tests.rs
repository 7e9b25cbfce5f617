//! A forge with branches and runs, copied and made again.

use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::ci::{Ci, PikaciProgram};
use crate::config::CiConfig;
use crate::forge::{Forge, RefUpdate};

const NAME: &str = "sample";

fn config(folder: &Path) -> Config {
    let text = format!("data = {folder:?}\n[[repositories]]\nname = \"{NAME}\"\n");
    Config::parse(&text, "pika-news.toml", folder).unwrap()
}

async fn open(config: &Config) -> Forge {
    fs::create_dir_all(&config.data).unwrap();
    let store = Store::open(&config.data.join(DATABASE)).unwrap();
    let program = PikaciProgram { program: "/nonexistent".into(), environment: Vec::new() };
    let ci = Ci::new(CiConfig::default(), program);
    Forge::open(config.clone(), store, Arc::new(Timestamp::now), ci).await.unwrap()
}

struct Fixture {
    folder: TempDir,
    config: Config,
    forge: Forge,
}

impl Fixture {
    async fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder.path().join("data"));
        let forge = open(&config).await;
        Fixture { folder, config, forge }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn push(&self, branch: &str, content: &str) {
        let work = self.path("work");
        let git = |arguments: &[&str]| {
            let mut command = std::process::Command::new("git");
            command.current_dir(&work).args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null");
            for role in ["AUTHOR", "COMMITTER"] {
                command
                    .env(format!("GIT_{role}_NAME"), "Ada")
                    .env(format!("GIT_{role}_EMAIL"), "a@example.org");
            }
            assert!(command.status().unwrap().success(), "{arguments:?}");
        };
        if !work.exists() {
            fs::create_dir(&work).unwrap();
            git(&["init", "--quiet", "--initial-branch=main"]);
        }
        fs::write(work.join("file"), content).unwrap();
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "-m", content]);
        let bare = self.config.repositories[0].path.display().to_string();
        git(&["push", "--quiet", "--force", &bare, &format!("HEAD:refs/heads/{branch}")]);
        let update = RefUpdate { reference: format!("refs/heads/{branch}") };
        self.forge.receive_push(NAME, Some("ada"), &[update]).await.unwrap();
    }

    async fn back_up(&self, to: &str) -> Result<BackupDescription, BackupError> {
        back_up(&Git::default(), &self.config, self.forge.store(), &self.path(to), false).await
    }
}

#[tokio::test]
async fn a_restored_forge_has_the_branches_and_runs_of_the_one_that_went_on() {
    let fixture = Fixture::new().await;
    fixture.push("main", "one").await;
    fixture.push("topic", "two").await;
    let state = fixture.forge.state_root(NAME).unwrap();
    let log = "runs/20260301T142233Z-7f3a9c10/jobs/unit/host.log";
    fs::create_dir_all(state.path().join(log).parent().unwrap()).unwrap();
    fs::write(state.path().join(log), "hello\n").unwrap();
    fs::write(state.path().join("runs/20260301T142233Z-7f3a9c10/lock"), "").unwrap();
    // Jobs and what they leave may have any name.
    let odd = [
        "jobs/lock/host.log",
        "jobs/unit/artifacts/scratch/a",
        "jobs/unit/artifacts/core.tmp",
        "jobs/unit/artifacts/lock",
    ]
    .map(|name| format!("runs/20260301T142233Z-7f3a9c10/{name}"));
    for name in &odd {
        fs::create_dir_all(state.path().join(name).parent().unwrap()).unwrap();
        fs::write(state.path().join(name), "kept").unwrap();
    }
    fs::create_dir_all(state.path().join("snapshots/abc")).unwrap();
    let made = fixture.back_up("backup").await.unwrap();
    assert_eq!((made.repositories[0].references, made.repositories[0].runs), (2, 1));
    fixture.push("later", "three").await;

    let restored = config(&fixture.path("restored"));
    restore(&Git::default(), &restored, &fixture.path("backup")).await.unwrap();
    let forge = open(&restored).await;
    forge.reconcile(NAME).await.unwrap();
    let list = async |forge: &Forge| {
        let filter = crate::forge::view::BranchFilter { state: None, limit: 10, offset: 0 };
        let rows = forge.branches(NAME, filter).await.unwrap().rows;
        rows.into_iter().map(|row| (row.name, row.head_oid, row.state)).collect::<Vec<_>>()
    };
    let before: Vec<_> =
        list(&fixture.forge).await.into_iter().filter(|(name, ..)| name != "later").collect();
    assert_eq!(list(&forge).await, before);
    let state = forge.state_root(NAME).unwrap();
    assert_eq!(fs::read_to_string(state.path().join(log)).unwrap(), "hello\n");
    assert!(!state.path().join("runs/20260301T142233Z-7f3a9c10/lock").exists());
    for name in &odd {
        assert_eq!(fs::read_to_string(state.path().join(name)).unwrap(), "kept", "{name}");
    }
    assert!(!state.path().join("snapshots").exists());
    forge.git(NAME).unwrap().fsck().await.unwrap();
}

#[tokio::test]
async fn nothing_is_written_over() {
    let fixture = Fixture::new().await;
    fixture.push("main", "one").await;
    fixture.back_up("backup").await.unwrap();
    assert!(matches!(fixture.back_up("backup").await, Err(BackupError::Exists { .. })));
    let onto_itself = restore(&Git::default(), &fixture.config, &fixture.path("backup")).await;
    assert!(matches!(onto_itself, Err(BackupError::HasForge { .. })), "{onto_itself:?}");
    let other = config(&fixture.path("other"));
    fs::create_dir_all(&other.repositories[0].path).unwrap();
    let taken = restore(&Git::default(), &other, &fixture.path("backup")).await;
    assert!(matches!(taken, Err(BackupError::Exists { .. })), "{taken:?}");
    let mut empty = config(&fixture.path("empty"));
    empty.repositories.clear();
    let unknown = restore(&Git::default(), &empty, &fixture.path("backup")).await;
    assert!(matches!(unknown, Err(BackupError::NotConfigured { .. })), "{unknown:?}");
}

#[tokio::test]
async fn what_was_killed_in_the_middle_is_no_backup_and_no_forge_and_can_be_done_again() {
    let fixture = Fixture::new().await;
    fixture.push("main", "one").await;
    // Killed while it was copied.
    fs::create_dir_all(fixture.path("backup.unfinished/repositories/sample.git")).unwrap();
    let taken = fixture.back_up("backup").await;
    assert!(matches!(taken, Err(BackupError::Exists { .. })), "it is somebody's folder: {taken:?}");
    fs::write(fixture.path("backup.unfinished").join(UNFINISHED), "").unwrap();
    fixture.back_up("backup").await.unwrap();
    assert!(!fixture.path("backup.unfinished").exists());
    // Killed after the first repository.
    let restored = config(&fixture.path("restored"));
    fs::create_dir_all(&restored.repositories[0].path).unwrap();
    fs::write(restored.data.join(RESTORING), "").unwrap();
    let taken = restore(&Git::default(), &restored, &fixture.path("backup")).await;
    assert!(matches!(taken, Err(BackupError::Exists { .. })), "nobody noted that it made it: {taken:?}");
    let made = format!("{}\n", restored.repositories[0].path.display());
    fs::write(restored.data.join(RESTORING), made).unwrap();
    restore(&Git::default(), &restored, &fixture.path("backup")).await.unwrap();
    assert!(!restored.data.join(RESTORING).exists());
    open(&restored).await.git(NAME).unwrap().fsck().await.unwrap();
}

#[tokio::test]
async fn a_damaged_backup_is_told_before_anything_is_restored() {
    let fixture = Fixture::new().await;
    fixture.push("main", "one").await;
    let runs = fixture.forge.state_root(NAME).unwrap().path().join("runs");
    fs::create_dir_all(&runs).unwrap();
    fs::write(runs.join("log"), "hello").unwrap();
    fixture.back_up("backup").await.unwrap();
    let restored = config(&fixture.path("restored"));
    let backup = fixture.path("backup");
    let database = backup.join(DATABASE);
    let whole = fs::read(&database).unwrap();
    fs::write(&database, &whole[..whole.len() / 2]).unwrap();
    let told = restore(&Git::default(), &restored, &backup).await;
    assert!(
        matches!(&told, Err(BackupError::NotABackup { why, .. }) if why.starts_with(DATABASE)),
        "{told:?}"
    );
    fs::write(&database, &whole).unwrap();
    check(&Git::default(), &backup).await.unwrap();
    let log = backup.join("runs/sample/runs/log");
    fs::remove_file(&log).unwrap();
    let told = check(&Git::default(), &backup).await;
    assert!(
        matches!(&told, Err(BackupError::NotABackup { why, .. }) if why.contains("runs/log")),
        "{told:?}"
    );
    // One of before there were lists: what it is made of is checked all the same.
    let description = fs::read_to_string(backup.join(DESCRIPTION)).unwrap();
    fs::write(backup.join(DESCRIPTION), description.replace("\"has_checksums\": true,", "")).unwrap();
    fs::write(&database, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(restore(&Git::default(), &restored, &backup).await, Err(BackupError::Store(_))));
    fs::write(&database, &whole).unwrap();
    fs::remove_dir_all(backup.join("repositories/sample.git/objects")).unwrap();
    fs::create_dir_all(backup.join("repositories/sample.git/objects")).unwrap();
    assert!(matches!(restore(&Git::default(), &restored, &backup).await, Err(BackupError::Git { .. })));
    fs::remove_file(backup.join(DESCRIPTION)).unwrap();
    assert!(matches!(
        restore(&Git::default(), &restored, &backup).await,
        Err(BackupError::NotABackup { .. })
    ));
    assert!(!restored.data.exists());
}
