//! What runs one attempt at a job. Executors report facts; the run judges them.

pub mod incus;
pub mod local;
pub mod scripted;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Instant;

use jiff::Timestamp;
use pikaci::{
    Digest, ExecutorKind, GuestExit, JobId, JobSpec, RemoteLinuxVmExecutionRecord, RemoteLinuxVmImageRecord,
    RemoteLinuxVmPhaseRecord, RemoteLinuxVmPhaseRecorder, RunId,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::host_log::HostLog;
use crate::secrets::Told;

/// A future that an executor hands out.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs jobs, each attempt in a fresh guest.
pub trait Executor: Send + Sync {
    /// For the records.
    fn kind(&self) -> ExecutorKind;

    /// Says everything that can't be had, before anything is made. Empty: go on.
    fn check<'a>(&'a self, jobs: &'a [JobSpec]) -> Boxed<'a, Vec<String>>;

    /// Has an image name mean what it meant to an earlier process of the same run. Called before anything else.
    fn remember_image(&self, _image: &RemoteLinuxVmImageRecord) {}

    /// What names the image that a job's guest would be made from. The error says why it isn't known.
    fn image<'a>(&'a self, _job: &'a JobSpec) -> Boxed<'a, Result<String, String>> {
        Box::pin(std::future::ready(Ok("host".to_owned())))
    }

    /// Runs one attempt to its end. What it leaves in `/artifacts/out` goes to its output folder, when it has one and has
    /// passed. When `cancel` is triggered it ends the guest and returns within five seconds.
    fn execute<'a>(&'a self, attempt: &'a Attempt, cancel: &'a CancellationToken) -> Boxed<'a, Execution>;

    /// Takes up an attempt that a process began which is gone. `None`: its guest is gone as well, and nothing is left to
    /// clean up.
    fn adopt<'a>(
        &'a self,
        _attempt: &'a Attempt,
        _cancel: &'a CancellationToken,
    ) -> Boxed<'a, Option<Execution>> {
        Box::pin(std::future::ready(None))
    }

    /// Removes whatever an attempt of a process that is gone has left, for an attempt whose end is known without it.
    fn clean_up(&self, _attempt: &Attempt) -> Boxed<'static, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// One attempt at a job: what to run, and where its traces go.
#[derive(Debug)]
pub struct Attempt {
    /// The run.
    pub run_id: RunId,
    /// The job.
    pub job: JobSpec,
    /// From 1.
    pub number: u32,
    /// The frozen tree.
    pub snapshot_dir: PathBuf,
    /// Its address, which its sentinel holds.
    pub snapshot_digest: Digest,
    /// Where log, result and artifacts end up.
    pub artifacts_dir: PathBuf,
    /// A folder of this attempt alone that may be filled, and is removed afterwards.
    pub scratch_dir: PathBuf,
    /// What the guest sees beside the snapshot, read-only.
    pub shares: Vec<Share>,
    /// What the guest runner is told about the job's secrets. Never written anywhere.
    pub secrets: Option<Told>,
    /// For a job that prepares an output: a folder of this attempt alone, in which `out` becomes the output.
    pub output_dir: Option<PathBuf>,
    /// What the executor did.
    pub host_log: HostLog,
    /// Tells the run what happens meanwhile.
    pub reports: mpsc::Sender<Report>,
}

/// A folder of the host that a guest sees read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Where it is.
    pub source: PathBuf,
    /// Where the guest sees it.
    pub path: String,
    /// What shows in the guest that it is mounted.
    pub proof: Proof,
    /// The name of the output and what it needs of the image, if it says so.
    pub contract: Option<(String, String)>,
}

/// What shows in a guest that a share is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Its sentinel file holds this.
    Sentinel(String),
    /// A file in it is there, of this size: for folders that can't be given a sentinel.
    Witness {
        /// Relative to the share.
        file: String,
        /// Its size.
        bytes: u64,
    },
    /// Nothing does.
    None,
}

impl Share {
    /// What the guest runner is told, so that it makes sure.
    pub(crate) fn proof_arguments(&self) -> Vec<String> {
        let (option, value) = match &self.proof {
            Proof::Sentinel(digest) => ("--sentinel", format!("{}={digest}", self.path)),
            Proof::Witness { file, bytes } => ("--witness", format!("{}/{file}={bytes}", self.path)),
            Proof::None => return Vec::new(),
        };
        vec![option.to_owned(), value]
    }
}

impl Attempt {
    /// The same attempt on another tree with the same sentinel.
    pub(crate) fn on(&self, tree: PathBuf) -> std::io::Result<Attempt> {
        Ok(Attempt {
            run_id: self.run_id.clone(),
            job: self.job.clone(),
            number: self.number,
            snapshot_dir: tree,
            snapshot_digest: self.snapshot_digest.clone(),
            artifacts_dir: self.artifacts_dir.clone(),
            scratch_dir: self.scratch_dir.clone(),
            shares: self.shares.clone(),
            output_dir: self.output_dir.clone(),
            host_log: self.host_log.again()?,
            // Builds get none: their outputs are given to other branches too.
            secrets: None,
            reports: self.reports.clone(),
        })
    }

    /// Where the output of a job that prepares one is to be put.
    pub(crate) fn out(&self) -> Option<PathBuf> {
        self.output_dir.as_deref().map(crate::prepared::Store::out_in)
    }
}

/// What an executor tells while it works.
#[derive(Debug)]
pub enum Report {
    /// A phase ended.
    Phase {
        /// The job.
        job: JobId,
        /// The phase.
        phase: RemoteLinuxVmPhaseRecord,
    },
    /// Something that a person should know.
    Notice {
        /// The text.
        message: String,
    },
}

/// How an attempt went.
pub struct Execution {
    /// The fact that is judged.
    pub exit: GuestExit,
    /// Phases and image.
    pub record: RemoteLinuxVmExecutionRecord,
    /// Removes what the attempt made. Run off the critical path; its error is an event of its own.
    pub cleanup: Boxed<'static, Result<(), String>>,
}

/// Records phases and reports each as it ends.
#[derive(Debug)]
pub struct Phases<'a> {
    attempt: &'a Attempt,
    recorder: RemoteLinuxVmPhaseRecorder,
}

impl<'a> Phases<'a> {
    /// Begins the record of an attempt.
    pub fn new(attempt: &'a Attempt, backend: &str) -> Phases<'a> {
        Phases { attempt, recorder: RemoteLinuxVmPhaseRecorder::new(backend) }
    }

    /// Runs one phase and notes how long it took.
    pub async fn run<T, E>(&mut self, name: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let (started_at, start) = (Timestamp::now(), Instant::now());
        let done = work.await;
        let outcome = if done.is_ok() { "ok" } else { "failed" };
        self.recorder.push(name, started_at, start.elapsed(), Some(outcome));
        if let Some(phase) = self.recorder.record().phases.last() {
            let report = Report::Phase { job: self.attempt.job.id.clone(), phase: phase.clone() };
            // The run is gone when nobody listens.
            let _ = self.attempt.reports.send(report).await;
        }
        done
    }

    /// Notes the image that the instance was made from.
    pub fn set_incus_image(&mut self, image: RemoteLinuxVmImageRecord) {
        self.recorder.set_incus_image(image);
    }

    /// Notes what the instance's disk is made by.
    pub fn set_storage_driver(&mut self, driver: Option<String>) {
        self.recorder.set_storage_driver(driver);
    }

    /// The record.
    pub fn finish(self) -> RemoteLinuxVmExecutionRecord {
        self.recorder.finish()
    }
}

/// A job that runs a text in a shell, for tests of this crate and of executors.
#[cfg(test)]
pub(crate) fn sample_shell_job(id: &str, command: &str) -> JobSpec {
    JobSpec {
        id: JobId::parse(id).unwrap(),
        description: command.to_owned(),
        target_id: pikaci::TargetId::parse("sample").unwrap(),
        command: pikaci::JobCommand::Shell(command.to_owned()),
        timeout_secs: 60,
        run_as_root: false,
        network: false,
        env: Default::default(),
        needs: Vec::new(),
        artifacts: Vec::new(),
        junit: Vec::new(),
        prepared: Vec::new(),
        secrets: Vec::new(),
        image: "pikaci/dev".to_owned(),
        instance: pikaci::InstanceType::default(),
        cpus: 2,
        memory_bytes: 1 << 30,
        disk_bytes: None,
        output: None,
    }
}
