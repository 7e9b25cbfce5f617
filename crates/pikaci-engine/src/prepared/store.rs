//! The kept outputs of a state root.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use pikaci::store::{Durability, list_runs, load_prepared_outputs_record, load_stored_run_record, replace};
use pikaci::{Digest, Provider, RunId, RunStatus, StateRoot, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::evict::disk_bytes;
use super::seal::parts;
use super::{LINUX_RUST, LINUX_RUST_PARTS, claim};
use crate::executor::{Proof, Share};
use crate::snapshot::{make_writable, remove_tree};

const SCHEMA_VERSION: u32 = 1;
const RECORD: &str = "record.json";
const OUT: &str = "out";
pub(super) const ROOTS: &str = "roots";
const LOG: &str = "build.log";
pub(super) const LOCKS: &str = "locks";
pub(super) const TOMBSTONES: &str = "tombstones.jsonl";
/// What is being made, or removed.
pub(super) const NEW_PREFIX: &str = ".new-";
pub(super) const GOING_PREFIX: &str = ".going-";

/// One kept output, as its record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Of this record.
    pub schema_version: u32,
    /// What it is kept under.
    pub key: Digest,
    /// Its name in the manifest.
    pub name: String,
    /// What built it.
    pub provider: Provider,
    /// The run that built it.
    pub run_id: RunId,
    /// When it was whole.
    pub made_at: Timestamp,
    /// Milliseconds that building it took.
    pub build_ms: u64,
    /// Where it is on the host.
    pub realised_path: PathBuf,
    /// Bytes of it and of everything that it refers to.
    pub closure_bytes: u64,
    /// The store paths that it needs beside its own; empty for the provider `command`.
    #[serde(default)]
    pub closure: Vec<StorePath>,
    /// A file of it and its size, which show in a guest that a store path is mounted.
    #[serde(default)]
    pub witness: Option<(String, u64)>,
    /// What it says of itself.
    #[serde(default)]
    pub payload: Option<Value>,
    /// What it needs of an image.
    #[serde(default)]
    pub contract_id: Option<String>,
    /// What was wrong with it that stops nothing.
    #[serde(default)]
    pub warning: Option<String>,
}

/// A path of the Nix store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorePath {
    /// Where it is, on the host and in guests.
    pub path: PathBuf,
    /// What it weighs without what it refers to.
    #[serde(default)]
    pub bytes: u64,
}

/// A build that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) key: Digest,
    pub(super) name: String,
    pub(super) run_id: RunId,
    pub(super) at: Timestamp,
    pub(super) exit_code: Option<i32>,
    pub(super) message: Option<String>,
    /// When it counts no more, where its inputs are not all that decided.
    #[serde(default)]
    pub(super) expires_at: Option<Timestamp>,
}

/// An output that is not kept any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// What it was kept under.
    pub key: Digest,
    /// Its name in the manifest.
    pub name: String,
    /// When it was removed.
    pub evicted_at: Timestamp,
    /// By which rule.
    pub rule: String,
    /// How many bytes that freed.
    pub bytes: u64,
}

/// Why an output can't be removed.
#[derive(Debug, thiserror::Error)]
pub enum UseError {
    /// A process builds it or has it mounted.
    #[error("prepared output {key:.12} is in use; it can be removed when the runs that use it are over")]
    Locked {
        /// Its key.
        key: String,
    },
    /// A run that was interrupted uses it, and may be taken up.
    #[error(
        "prepared output {key:.12} is in use by run {run}, which was interrupted; `pikaci sweep` ends it"
    )]
    Interrupted {
        /// Its key.
        key: String,
        /// The run.
        run: RunId,
    },
    /// No such output.
    #[error("there is no prepared output {key}; `pikaci prepared list` shows what there is")]
    Unknown {
        /// What was asked for.
        key: String,
    },
    /// The state root can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused.
    #[error("cannot remove {}: {source}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An output that is there, and stays there while this value lives.
#[derive(Debug)]
pub(crate) struct Realised {
    pub(crate) kept: Kept,
    /// Shared, until dropped.
    _use: File,
}

/// The prepared outputs of a state root.
#[derive(Clone, Debug)]
pub struct Store {
    state: StateRoot,
    dir: PathBuf,
}

impl Store {
    /// Names the outputs of a state root. Nothing is made or read.
    pub fn new(state: &StateRoot) -> Store {
        Store { state: state.clone(), dir: state.prepared_dir() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn state(&self) -> &StateRoot {
        &self.state
    }

    /// Finds an output. One that can't be read, or whose store path is gone, is none.
    pub fn find(&self, key: &Digest) -> Option<Kept> {
        let content = fs::read(self.folder(key).join(RECORD)).ok()?;
        let mut kept: Kept = serde_json::from_slice(&content).ok()?;
        if kept.provider == Provider::Command {
            // By its place: the state root may have been moved.
            kept.realised_path = self.folder(key).join(OUT);
        }
        kept.realised_path.is_dir().then_some(kept)
    }

    /// Every output, newest first.
    pub fn list(&self) -> Vec<Kept> {
        let names = fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        let keys = names.filter_map(|entry| Digest::parse(entry.file_name().to_str()?).ok());
        let mut kept: Vec<Kept> = keys.filter_map(|key| self.find(&key)).collect();
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.made_at));
        kept
    }

    /// Finds what a person names: a key, the beginning of one, or an output's name, of which all are meant.
    pub fn named(&self, text: &str) -> Vec<Kept> {
        let is_meant =
            |kept: &Kept| kept.name == text || (text.len() >= 6 && kept.key.as_str().starts_with(text));
        self.list().into_iter().filter(is_meant).collect()
    }

    /// What was removed, oldest first.
    pub fn tombstones(&self) -> Vec<Tombstone> {
        let text = fs::read_to_string(self.dir.join(TOMBSTONES)).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// When an output was last used.
    pub(super) fn used_at(&self, key: &Digest) -> Option<SystemTime> {
        fs::metadata(self.lock_path(key)).ok()?.modified().ok()
    }

    /// The folder of one output.
    pub fn folder(&self, key: &Digest) -> PathBuf {
        self.dir.join(key)
    }

    /// The log of an output's build, whether it is kept or failed.
    pub fn log(&self, key: &Digest) -> Option<PathBuf> {
        let paths = [self.folder(key).join(LOG), self.dir.join(format!("{key}.failed.log"))];
        paths.into_iter().find(|path| path.is_file())
    }

    /// Locks what nobody builds or uses.
    pub(super) fn lock_unused(&self, key: &Digest) -> Result<File, UseError> {
        let text = key.as_str().to_owned();
        let lock = self.open_lock(key).map_err(|source| self.cannot(key, source))?;
        match lock.try_lock() {
            Ok(()) if self.is_current(key, &lock) => {}
            Ok(()) | Err(TryLockError::WouldBlock) => return Err(UseError::Locked { key: text }),
            Err(TryLockError::Error(source)) => return Err(self.cannot(key, source)),
        }
        match self.interrupted_user(key)? {
            Some(run) => Err(UseError::Interrupted { key: text, run }),
            None => Ok(lock),
        }
    }

    /// Removes an output that nobody uses, or what is kept of a failed build. Returns the bytes that it had.
    pub fn remove(&self, key: &Digest, rule: &str) -> Result<u64, UseError> {
        let text = key.as_str().to_owned();
        let _lock = self.lock_unused(key)?;
        let had_failed = self.forget_failure(key);
        let Some(kept) = self.find(key) else {
            let folder = self.folder(key);
            if !folder.exists() && !had_failed {
                return Err(UseError::Unknown { key: text });
            }
            self.remove_folder(key)?;
            return Ok(0);
        };
        let bytes = if kept.provider == Provider::Command { kept.closure_bytes } else { 0 };
        let tombstone = Tombstone {
            key: key.clone(),
            name: kept.name,
            evicted_at: Timestamp::now(),
            rule: rule.to_owned(),
            bytes,
        };
        // Before the deed: who misses it finds out why.
        self.bury(&tombstone).map_err(|source| self.cannot(key, source))?;
        self.remove_folder(key)?;
        Ok(bytes)
    }

    fn remove_folder(&self, key: &Digest) -> Result<(), UseError> {
        let (folder, going) = (self.folder(key), self.dir.join(format!("{GOING_PREFIX}{key}")));
        self.drop_root(key);
        let removed = remove_tree(&going).and_then(|()| match fs::rename(&folder, &going) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.and_then(|()| remove_tree(&going)),
        });
        removed.map_err(|source| self.cannot(key, source))
    }

    fn cannot(&self, key: &Digest, source: io::Error) -> UseError {
        UseError::Io { path: self.folder(key), source }
    }

    fn bury(&self, tombstone: &Tombstone) -> io::Result<()> {
        let line = serde_json::to_string(tombstone).map_err(io::Error::other)?;
        let mut file = OpenOptions::new().append(true).create(true).open(self.dir.join(TOMBSTONES))?;
        file.write_all(format!("{line}\n").as_bytes())
    }

    /// A run that is not over, that no process holds, and that has the output mounted.
    fn interrupted_user(&self, key: &Digest) -> Result<Option<RunId>, StoreError> {
        for run in list_runs(&self.state)? {
            let Ok(record) = load_stored_run_record(&self.state, &run) else { continue };
            if record.status != RunStatus::Running {
                continue;
            }
            let outputs = load_prepared_outputs_record(&self.state, &run).ok().flatten();
            let is_used = outputs
                .into_iter()
                .flat_map(|record| record.outputs)
                .any(|used| used.key.as_ref() == Some(key));
            if is_used {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    fn lock_path(&self, key: &Digest) -> PathBuf {
        self.dir.join(LOCKS).join(key)
    }

    pub(super) fn open_lock(&self, key: &Digest) -> io::Result<File> {
        let path = self.lock_path(key);
        fs::create_dir_all(self.dir.join(LOCKS))?;
        OpenOptions::new().create(true).read(true).append(true).open(path)
    }

    /// Whether a lock that was got is the one that others look at: a collection removes those of nothing.
    pub(super) fn is_current(&self, key: &Digest, lock: &File) -> bool {
        let (Ok(own), Ok(there)) = (lock.metadata(), fs::metadata(self.lock_path(key))) else { return false };
        (own.dev(), own.ino()) == (there.dev(), there.ino())
    }

    /// An output that is there, held for use. `None`: it is not, or is being removed.
    pub(crate) fn take(&self, key: &Digest) -> Option<Realised> {
        self.find(key)?;
        let lock = self.open_lock(key).ok()?;
        self.hold(key, lock).ok()
    }

    /// Turns a lock of a key into its use, when the output is there. The lock comes back when it is not, and when somebody
    /// else had it in the moment between the two kinds of lock.
    pub(super) fn hold(&self, key: &Digest, lock: File) -> Result<Realised, File> {
        let Ok(()) = lock.try_lock_shared() else { return Err(lock) };
        let Some(kept) = self.find(key).filter(|_| self.is_current(key, &lock)) else { return Err(lock) };
        // Best effort: its order of eviction.
        let _ = lock.set_modified(SystemTime::now());
        Ok(Realised { kept, _use: lock })
    }

    /// A folder to build in, apart from everybody else's.
    pub(crate) fn new_folder(&self, run: &RunId, name: &str, number: u32) -> PathBuf {
        self.dir.join(format!("{NEW_PREFIX}{run}-{name}-{number}"))
    }

    /// Where a build's output goes within it.
    pub(crate) fn out_in(folder: &Path) -> PathBuf {
        folder.join(OUT)
    }

    /// Lets Nix collect what a build has made that is not kept.
    pub(super) fn drop_root(&self, key: &Digest) {
        let _ = fs::remove_file(self.dir.join(ROOTS).join(key));
    }

    /// The link that keeps Nix from collecting an output. It never moves: Nix knows it by its path.
    pub(super) fn root(&self, key: &Digest) -> io::Result<PathBuf> {
        fs::create_dir_all(self.dir.join(ROOTS))?;
        Ok(self.dir.join(ROOTS).join(key))
    }

    /// Keeps what was built in `new`, under its key.
    pub(super) fn keep(&self, new: &Path, kept: &Kept, log: &Path) -> io::Result<()> {
        let _ = fs::copy(log, new.join(LOG));
        claim::forget_key(new);
        let mut kept = kept.clone();
        if kept.provider == Provider::Command {
            kept.realised_path = self.folder(&kept.key).join(OUT);
        }
        let record = serde_json::to_vec_pretty(&kept).map_err(io::Error::other)?;
        replace(&new.join(RECORD), &record, Durability::Process)?;
        // All at once, so that a folder with a key for its name is whole also after a loss of power.
        rustix::fs::syncfs(File::open(new)?)?;
        let folder = self.folder(&kept.key);
        // Unreadable, or its store path is gone: else it would have been found.
        remove_tree(&folder)?;
        fs::rename(new, &folder)?;
        self.forget_failure(&kept.key);
        File::open(&self.dir)?.sync_all()
    }

    pub(super) fn failure(&self, key: &Digest) -> Option<Failed> {
        serde_json::from_slice(&fs::read(self.failure_path(key)).ok()?).ok()
    }

    /// Keeps what is known of a failed build.
    pub(super) fn keep_failure(&self, failed: &Failed, log: &Path) -> io::Result<()> {
        let _ = fs::copy(log, self.dir.join(format!("{}.failed.log", failed.key)));
        let record = serde_json::to_vec_pretty(failed).map_err(io::Error::other)?;
        replace(&self.failure_path(&failed.key), &record, Durability::Power)
    }

    fn failure_path(&self, key: &Digest) -> PathBuf {
        self.dir.join(format!("{key}.failed.json"))
    }

    fn forget_failure(&self, key: &Digest) -> bool {
        let _ = fs::remove_file(self.dir.join(format!("{key}.failed.log")));
        fs::remove_file(self.failure_path(key)).is_ok()
    }

    /// Builds whose failure is kept: name and key.
    pub fn failures(&self) -> Vec<(String, Digest)> {
        let names = fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        let keys = names.filter_map(|entry| {
            Digest::parse(entry.file_name().to_str()?.strip_suffix(".failed.json")?).ok()
        });
        keys.filter_map(|key| self.failure(&key).map(|failed| (failed.name, key))).collect()
    }

    /// Builds whose failure is kept: key, and the run that had it.
    pub(super) fn failed(&self) -> Vec<(Digest, RunId)> {
        let keys = self.failures().into_iter().map(|(_, key)| key);
        keys.filter_map(|key| self.failure(&key).map(|failed| (key, failed.run_id))).collect()
    }

    /// What is kept of a failed build takes so much of the disk.
    pub(super) fn failure_bytes(&self, key: &Digest) -> u64 {
        disk_bytes(&self.failure_path(key)) + disk_bytes(&self.dir.join(format!("{key}.failed.log")))
    }
}

impl Kept {
    /// What guests are to see of it, under the names of its mount.
    pub(crate) fn shares(&self, mount: &str) -> Vec<Share> {
        let contract = self.contract_id.as_ref().map(|id| (self.name.clone(), id.clone()));
        let share =
            |source: PathBuf, path: String, proof| Share { source, path, proof, contract: contract.clone() };
        let proof = |folder: &Path| match (self.provider, &self.witness) {
            (Provider::Command, _) => Proof::Sentinel(self.key.as_str().to_owned()),
            (Provider::Nix, Some((file, bytes))) if folder == self.realised_path => {
                Proof::Witness { file: file.clone(), bytes: *bytes }
            }
            (Provider::Nix, _) => Proof::None,
        };
        let folders = parts(&self.realised_path, &self.name);
        let mut shares: Vec<Share> = if self.name == LINUX_RUST {
            let named = folders.into_iter().zip(LINUX_RUST_PARTS);
            named
                .map(|(folder, part)| {
                    let proof = proof(&folder);
                    // A part may be a store path of its own, behind a link.
                    let source = fs::canonicalize(&folder).unwrap_or(folder);
                    share(source, format!("{mount}/{part}"), proof)
                })
                .collect()
        } else {
            vec![share(self.realised_path.clone(), mount.to_owned(), proof(&self.realised_path))]
        };
        shares.extend(
            self.closure
                .iter()
                .map(|store| share(store.path.clone(), store.path.display().to_string(), Proof::None)),
        );
        shares
    }
}

pub(super) fn new_kept(key: &Digest, name: &str, provider: Provider, run: &RunId, path: PathBuf) -> Kept {
    Kept {
        schema_version: SCHEMA_VERSION,
        key: key.clone(),
        name: name.to_owned(),
        provider,
        run_id: run.clone(),
        made_at: Timestamp::now(),
        build_ms: 0,
        realised_path: path,
        closure_bytes: 0,
        closure: Vec::new(),
        witness: None,
        payload: None,
        contract_id: None,
        warning: None,
    }
}

/// A folder that was sealed can't be moved or emptied by everybody before this.
pub(super) fn unseal(folder: &Path) {
    let _ = make_writable(folder);
}
