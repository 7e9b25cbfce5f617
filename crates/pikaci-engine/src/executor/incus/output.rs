//! Takes the output of a job that prepares one out of its instance: an archive, streamed, unpacked here with distrust.

use std::io::{self, Read};
use std::path::Path;

use incus_client::{Client, ExecOutput, ExecRequest};
use pikaci::guest::ARTIFACTS_PATH;
use tokio::sync::mpsc;

use super::described;
use crate::prepared::{UnpackError, unpack};
use crate::snapshot::remove_tree;

/// Where programs are in the images that keep the contract.
const PATH: &str = "/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CHUNKS_WAITING_MAX: usize = 16;
const NOT_FOUND: i32 = 127;
const WORDS_BYTES_MAX: usize = 4096;

/// Why an output can't be had.
#[derive(Debug)]
pub(super) enum TakeError {
    /// What the guest sent is none.
    Job(String),
    /// It could not be had.
    Infra(String),
}

/// Copies `/artifacts/out` to `out`. Says what it took. A folder that is not there makes no output, which is not an error here.
pub(super) async fn take(client: &Client, instance: &str, out: &Path) -> Result<String, TakeError> {
    let lost = |error: incus_client::Error| TakeError::Infra(described(&error));
    let words = ["tar", "-C", ARTIFACTS_PATH, "-cf", "-", "out"];
    let request = ExecRequest::new(words).env("PATH", PATH);
    let mut exec = client.exec(instance, &request).await.map_err(lost)?;
    exec.close_stdin().await.map_err(lost)?;
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
    let folder = out.to_owned();
    let unpacking = tokio::task::spawn_blocking(move || {
        // An earlier process may have been killed in the middle of this.
        remove_tree(&folder)?;
        unpack(Chunks { receiver, current: Vec::new(), at: 0 }, &folder)
    });
    let mut said = Vec::new();
    let mut is_whole = true;
    while let Some(output) = exec.read().await.map_err(lost)? {
        match output {
            // Nobody unpacks any more: what was wrong is said below.
            ExecOutput::Stdout(bytes) if sender.send(bytes.to_vec()).await.is_err() => {
                is_whole = false;
                break;
            }
            ExecOutput::Stdout(_) => {}
            ExecOutput::Stderr(bytes) if said.len() < WORDS_BYTES_MAX => said.extend_from_slice(&bytes),
            ExecOutput::Stderr(_) => {}
        }
    }
    drop(sender);
    // Where more is to come, it may be without an end: dropped, it ends.
    let code = if is_whole { Some(exec.wait().await.map_err(|error| described(&error))) } else { None };
    let unpacked = unpacking.await.map_err(|error| TakeError::Infra(error.to_string()))?;
    match unpacked {
        Ok(unpacked) if code == Some(Ok(0)) => {
            Ok(format!("took the output: {} files and folders, {} bytes", unpacked.entries, unpacked.bytes))
        }
        // What a shell and Incus say of a program that there is not.
        Err(UnpackError::Nothing) if code == Some(Ok(NOT_FOUND)) => {
            Err(TakeError::Infra(format!("the image has no `tar` in {PATH}")))
        }
        // Sealing says that there is none, as the job's fault.
        Err(UnpackError::Nothing) => Ok("it left no output".to_owned()),
        Ok(_) => {
            let said = String::from_utf8_lossy(&said);
            Err(TakeError::Infra(format!("tar ended with {code:?}: {}", said.trim())))
        }
        Err(UnpackError::Refused { reason }) => Err(TakeError::Job(reason)),
        Err(error) => Err(TakeError::Infra(described(&error))),
    }
}

/// Chunks that arrive, as a reader for another thread.
struct Chunks {
    receiver: mpsc::Receiver<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            match self.receiver.blocking_recv() {
                Some(chunk) => (self.current, self.at) = (chunk, 0),
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
