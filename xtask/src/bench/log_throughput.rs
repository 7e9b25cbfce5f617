//! What logging costs: a job that prints 200 MB, against the same command piped into a file; and the memory meanwhile.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::Bench;
use super::figure::{Figure, Goal, alternate};
use super::process::{git, timed, watched};

pub(super) const BYTES: u64 = 200_000_000;

/// Prints [`BYTES`] bytes in lines of 64, through a pipe, as a build tool's output comes.
pub(super) fn command() -> String {
    format!("yes 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde | head -c {BYTES}")
}

pub(super) fn manifest() -> String {
    format!(
        "version = 1\n\n[targets.loud]\ntitle = \"Much output\"\n\n[[targets.loud.jobs]]\nid = \"loud\"\ncommand = \"{}\"\n",
        command()
    )
}

pub(super) fn bench(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir_in(&bench.binaries)?;
    let repository = folder.path().join("repository");
    fs::create_dir_all(&repository)?;
    fs::write(repository.join("pikaci.toml"), manifest())?;
    fs::write(repository.join(".gitignore"), "/.pikaci\n")?;
    git(&repository, &["init", "--quiet", "--initial-branch=main"])?;
    let file = folder.path().join("peer.log");
    let mut peak = 0;
    let ours = || {
        let state = repository.join(".pikaci");
        if state.exists() {
            timed(Command::new("chmod").args(["-R", "u+w"]).arg(&state))?;
            fs::remove_dir_all(&state)?;
        }
        let (took, memory) =
            watched(Command::new(bench.pikaci()).current_dir(&repository).args(["run", "loud"]))?;
        peak = peak.max(memory);
        Ok(took)
    };
    let peer = || {
        let _ = fs::remove_file(&file);
        timed(Command::new("sh").arg("-c").arg(format!("({}) | cat > {}", command(), file.display())))
    };
    let pairs = alternate(bench.runs.min(7), ours, peer)?;
    Ok(vec![
        Figure::throughput("log of 200 MB / piped into a file", BYTES, &pairs, Goal::RatioAbove(0.5)),
        Figure::memory("memory of pikaci meanwhile", peak, 64.0),
    ])
}
