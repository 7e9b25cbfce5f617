//! Whose fault it is, and what is kept of what is printed, with programs that stand for Nix' own.

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

/// Programs by these names, and a tree.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new(programs: &[(&str, &str)]) -> Stage {
        let folder = TempDir::new().unwrap();
        for (name, script) in programs {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Stage { folder }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn build(&self, source: &NixSource) -> NixError {
        let path = std::env::join_paths([self.folder.path(), "/usr/bin".as_ref(), "/bin".as_ref()]).unwrap();
        let config = NixConfig { path, environment: Vec::new() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (cancel, log) = (CancellationToken::new(), self.log());
            let ends_at = Instant::now() + Duration::from_secs(60);
            let snapshot = self.folder.path();
            let call =
                Call { config: &config, snapshot, log: &log, log_bytes_max: 1000, ends_at, cancel: &cancel };
            build(&call, source, "a", &self.folder.path().join("root")).await.unwrap_err()
        })
    }
}

fn expression() -> NixSource {
    NixSource::Expression("1".to_owned())
}

const EVALUATES: (&str, &str) = ("nix-instantiate", "echo /nix/store/a.drv");

#[test]
fn a_log_is_kept_up_to_its_size_whatever_is_printed() {
    let noisy = ("nix-instantiate", "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo /nix/store/a.drv");
    let stage = Stage::new(&[noisy, ("nix-store", "echo more >&2; exit 100")]);
    assert!(matches!(stage.build(&expression()), NixError::Job { exit_code: Some(100), .. }));
    let log = fs::read_to_string(stage.log()).unwrap();
    assert!(log.len() < 1100 && log.starts_with("xxx"), "{} bytes", log.len());
    assert!(log.contains("[pikaci: the log is full: 1000 bytes]"), "{log}");
}

#[test]
fn every_program_is_told_to_read_nothing_of_this_host_and_to_build_apart() {
    let said = |program| (program, "echo \"$@\" >&2; exit 1");
    let stage = Stage::new(&[EVALUATES, said("nix-store")]);
    let _ = stage.build(&expression());
    let other = Stage::new(&[said("nix-instantiate")]);
    let _ = other.build(&expression());
    let installable = Stage::new(&[said("nix")]);
    let _ = installable.build(&NixSource::Installable("nixpkgs#hello".to_owned()));
    for stage in [stage, other, installable] {
        let log = fs::read_to_string(stage.log()).unwrap();
        for option in
            ["--option sandbox true", "--option sandbox-fallback false", "--option restrict-eval true"]
        {
            assert!(log.contains(option), "{option}: {log}");
        }
    }
    let stage = Stage::new(&[("nix", "echo asked >&2")]);
    let of_host = NixSource::Installable("path:/etc#x".to_owned());
    assert!(matches!(stage.build(&of_host), NixError::Job { .. }));
    assert!(!stage.log().exists(), "it was asked for");
}

#[test]
fn a_build_that_nobody_is_left_to_end_has_the_deadline_all_the_same() {
    let stage = Stage::new(&[EVALUATES, ("nix-store", "echo \"$@\" >&2; exit 101")]);
    assert!(matches!(stage.build(&expression()), NixError::TimedOut));
    let log = fs::read_to_string(stage.log()).unwrap();
    let words: Vec<&str> = log.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "--timeout").unwrap();
    assert!((30..=61).contains(&words[at + 1].parse::<u64>().unwrap()), "{log}");
}

#[test]
fn a_flake_that_is_not_of_the_tree_is_fetched_and_its_absence_is_not_the_projects_fault() {
    let elsewhere = || NixSource::Installable("git+https://example.org/x?ref=main#tests".to_owned());
    let absent = ("nix", "echo \"$@\" >&2; exit 1");
    let stage = Stage::new(&[absent]);
    assert!(matches!(stage.build(&elsewhere()), NixError::Infra { .. }));
    let log = fs::read_to_string(stage.log()).unwrap();
    assert!(log.contains("flake archive git+https://example.org/x?ref=main --no-write-lock-file"), "{log}");
    let fetched = ("nix", "case \"$*\" in *archive*) ;; *metadata*) echo {} ;; *) exit 1 ;; esac");
    assert!(matches!(Stage::new(&[fetched]).build(&elsewhere()), NixError::Job { .. }));
}
