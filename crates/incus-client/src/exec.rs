//! Commands inside an instance.
//!
//! The control stream is a lifeline: when it is lost, Incus kills the command (instance_exec.go). What must outlive it
//! has to detach itself.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use crate::call::{Call, segment};
use crate::client::Client;
use crate::error::Error;
use crate::operations::{Operation, OperationRecord};
use crate::websocket::WebSocket;

/// The exit codes that Incus gives to a program that it cannot start: not executable, not found.
const NOT_STARTED: [i64; 2] = [126, 127];
/// Incus closes the control stream when the command has ended, or kills the command when it is lost. Either way the output
/// ends soon: how long the client believes in that without hearing anything.
const SILENCE_AFTER_CONTROL: Duration = Duration::from_secs(10);

/// A command to run, without a terminal. Arguments and environment are visible to everybody who may see operations: no
/// secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments. A program that is no path is looked for in the instance's `PATH`.
    pub command: Vec<String>,
    /// Added to the environment.
    pub environment: BTreeMap<String, String>,
    /// The user's number; 0 unless said.
    pub user: u32,
    /// The group's number; 0 unless said.
    pub group: u32,
    /// Where it starts; the user's home unless said.
    pub folder: Option<String>,
}

impl ExecRequest {
    /// A program and its arguments.
    pub fn new<T: Into<String>>(command: impl IntoIterator<Item = T>) -> ExecRequest {
        ExecRequest { command: command.into_iter().map(Into::into).collect(), ..ExecRequest::default() }
    }

    /// Adds a variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> ExecRequest {
        self.environment.insert(name.into(), value.into());
        self
    }

    fn body(&self, is_attached: bool) -> Value {
        let mut body = json!({
            "command": self.command,
            "environment": self.environment,
            "interactive": false,
            "wait-for-websocket": is_attached,
            "record-output": false,
            "user": self.user,
            "group": self.group,
        });
        if let Some(folder) = &self.folder {
            body["cwd"] = json!(folder);
        }
        body
    }
}

/// What a running command says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutput {
    /// Bytes of its standard output.
    Stdout(Bytes),
    /// Bytes of its standard error.
    Stderr(Bytes),
}

/// A running command, attached. Dropping it kills the command.
///
/// Nothing here has a deadline but [`Exec::wait`]: a command may be silent for as long as it likes. Over HTTPS, a server that
/// vanished without a word is noticed after about half a minute.
///
/// ```no_run
/// # async fn example(client: incus_client::Client) -> Result<(), incus_client::Error> {
/// use incus_client::{ExecOutput, ExecRequest};
///
/// let mut exec = client.exec("one", &ExecRequest::new(["uname", "-a"])).await?;
/// exec.close_stdin().await?;
/// let mut printed = Vec::new();
/// while let Some(output) = exec.read().await? {
///     if let ExecOutput::Stdout(bytes) = output {
///         printed.extend_from_slice(&bytes);
///     }
/// }
/// assert_eq!(exec.wait().await?, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Exec {
    operation: Operation,
    control: Option<WebSocket>,
    /// When the output is given up, once the control stream is gone.
    silence_ends: Option<Instant>,
    stdin: Option<WebSocket>,
    stdout: Option<WebSocket>,
    stderr: Option<WebSocket>,
    deadline: Duration,
}

/// A running command's standard input. Dropping it ends the input too, but what the command did not read yet may be lost.
#[derive(Debug)]
pub struct ExecStdin {
    stream: WebSocket,
}

impl Client {
    /// Runs a command to its end, without its output. Returns its exit code, which is 127 when there is no such program, and
    /// 126 when it can't be executed.
    ///
    /// Incus 6.0 can't cancel such a command: when the deadline comes first or the call is dropped, it goes on.
    pub async fn exec_unattended(&self, instance: &str, request: &ExecRequest) -> Result<i32, Error> {
        let start = Instant::now();
        let operation = self.begin(exec_call(instance, request, false)).await?;
        let what = format!("exec in {instance}");
        exit_code(what, &operation.ended_since(start, self.deadline()).await?)
    }

    /// Starts a command with its streams attached.
    ///
    /// A program that does not exist is no error here: its exit code says so, see [`Exec::wait`].
    pub async fn exec(&self, instance: &str, request: &ExecRequest) -> Result<Exec, Error> {
        let (what, after) = (format!("exec in {instance}"), self.deadline());
        let attached = timeout(after, self.attach(instance, request)).await;
        attached.unwrap_or_else(|_| Err(Error::TimedOut { what, after }))
    }

    async fn attach(&self, instance: &str, request: &ExecRequest) -> Result<Exec, Error> {
        let operation = self.begin(exec_call(instance, request, true)).await?;
        // Incus starts the command when the three streams are there, whether the control stream is or not. Connected last,
        // it could come when a short command has ended.
        let control = self.stream_of(&operation, "control").await?;
        let streams = ["0", "1", "2"].map(|name| self.stream_of(&operation, name));
        let mut streams = try_join_all(streams).await?.into_iter();
        let (stdin, stdout, stderr) = (streams.next(), streams.next(), streams.next());
        let (control, deadline) = (Some(control), self.deadline());
        Ok(Exec { operation, control, silence_ends: None, stdin, stdout, stderr, deadline })
    }

    async fn stream_of(&self, operation: &Operation, name: &str) -> Result<WebSocket, Error> {
        let (what, record) = (operation.what(), operation.record());
        let Some(secret) = record.metadata["fds"][name].as_str() else {
            return Err(Error::shape(what, format!("it has no secret for stream {name}")));
        };
        let path = format!("/1.0/operations/{}/websocket", segment(&record.id));
        // The secret is the right to the stream: no project is asked for.
        let call = Call::get(path).query("secret", secret).global();
        self.websocket(&call, what).await.map_err(|error| match error {
            Error::NotFound { what } => Error::OperationForgotten { what },
            error => error,
        })
    }
}

impl Exec {
    /// The next bytes that the command prints; `None` when both streams ended. [`Error::Dropped`]: a stream ended without
    /// saying so, and bytes may be missing.
    ///
    /// Safe to drop at any moment: no byte is lost that was not returned. A command that prints more than a little stands
    /// still while nobody reads.
    pub async fn read(&mut self) -> Result<Option<ExecOutput>, Error> {
        loop {
            if self.stdout.is_none() && self.stderr.is_none() {
                return Ok(None);
            }
            let heard = async {
                tokio::select! {
                    bytes = next_of(&mut self.stdout) => Heard::Stdout(bytes),
                    bytes = next_of(&mut self.stderr) => Heard::Stderr(bytes),
                    () = until_gone(&mut self.control) => Heard::ControlGone,
                    // Nothing comes this way but pings.
                    () = until_gone(&mut self.stdin) => Heard::StdinGone,
                }
            };
            let heard = tokio::select! {
                // Output that is there counts, however late it is asked for.
                biased;
                heard = heard => heard,
                () = until(self.silence_ends) => {
                    return Err(Error::dropped(self.operation.what(), "the control stream was lost"));
                }
            };
            if matches!(heard, Heard::ControlGone) || self.silence_ends.is_some() {
                self.silence_ends = Some(Instant::now() + SILENCE_AFTER_CONTROL);
            }
            match heard {
                Heard::Stdout(bytes) => match bytes? {
                    Some(bytes) => return Ok(Some(ExecOutput::Stdout(bytes))),
                    None => self.stdout = None,
                },
                Heard::Stderr(bytes) => match bytes? {
                    Some(bytes) => return Ok(Some(ExecOutput::Stderr(bytes))),
                    None => self.stderr = None,
                },
                Heard::ControlGone => self.control = None,
                Heard::StdinGone => self.stdin = None,
            }
        }
    }

    /// The command's standard input, to write to it while its output is read elsewhere; `None` when it was taken already, or
    /// when it is closed.
    pub fn take_stdin(&mut self) -> Option<ExecStdin> {
        self.stdin.take().map(|stream| ExecStdin { stream })
    }

    /// Writes to the command's standard input. [`Error::Dropped`]: the command has ended, or its input is closed or was taken.
    ///
    /// While this waits nobody reads the output: to send more than a few kilobytes to a command that answers meanwhile,
    /// [take](Exec::take_stdin) its input.
    pub async fn write(&mut self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        match &mut self.stdin {
            Some(stdin) => stdin.write(bytes.into()).await,
            None => Err(Error::dropped(self.operation.what(), "the standard input is closed")),
        }
    }

    /// Ends the command's standard input. Nothing to do when it is closed, or was taken.
    pub async fn close_stdin(&mut self) -> Result<(), Error> {
        match self.take_stdin() {
            Some(stdin) => stdin.close().await,
            None => Ok(()),
        }
    }

    /// Sends a signal to the command. [`Error::Dropped`]: it has ended.
    pub async fn signal(&mut self, number: i32) -> Result<(), Error> {
        let message = json!({ "command": "signal", "signal": number });
        match &mut self.control {
            Some(control) => control.write_text(message.to_string()).await,
            None => Err(Error::dropped(self.operation.what(), "the control stream was closed")),
        }
    }

    /// Reads away what is left of the output and returns the exit code: 128 and the signal's number when a signal ended it.
    /// So it is 137 when Incus killed it because the control stream was lost.
    ///
    /// The client's deadline begins with the end of the output; then:
    ///
    /// - A program that does not exist has the exit code 127, one that can't be executed 126.
    /// - [`Error::TimedOut`]: the command closed its output and goes on; it is killed.
    /// - [`Error::OperationForgotten`]: it ended more than five seconds ago, or the server restarted.
    /// - [`Error::OperationFailed`]: Incus failed to run it.
    pub async fn wait(mut self) -> Result<i32, Error> {
        while self.read().await?.is_some() {}
        let what = self.operation.what().to_owned();
        let ended = self.operation.ended_since(Instant::now(), self.deadline);
        let record = tokio::select! {
            record = ended => record?,
            // It keeps the command alive, and its pings are still to be answered.
            never = attend_for_ever(&mut self.control) => match never {},
        };
        exit_code(what, &record)
    }
}

impl ExecStdin {
    /// Writes to the command's standard input; waits while the command does not read. [`Error::Dropped`]: the command has
    /// ended.
    ///
    /// Dropped midway, the bytes may reach the command with the next write, or with the end.
    pub async fn write(&mut self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        self.stream.write(bytes.into()).await
    }

    /// Ends the command's standard input.
    pub async fn close(mut self) -> Result<(), Error> {
        self.stream.write_text(String::new()).await?;
        // A socket that is closed with pings unread takes back what was sent through it. This one ends with the command.
        tokio::spawn(async move { self.stream.until_gone().await });
        Ok(())
    }
}

/// What happens first on one of the streams.
enum Heard {
    Stdout(Result<Option<Bytes>, Error>),
    Stderr(Result<Option<Bytes>, Error>),
    ControlGone,
    StdinGone,
}

async fn next_of(stream: &mut Option<WebSocket>) -> Result<Option<Bytes>, Error> {
    match stream {
        Some(stream) => stream.read().await,
        None => std::future::pending().await,
    }
}

async fn until_gone(stream: &mut Option<WebSocket>) {
    match stream {
        Some(stream) => stream.until_gone().await,
        None => std::future::pending().await,
    }
}

async fn attend_for_ever(stream: &mut Option<WebSocket>) -> Infallible {
    until_gone(stream).await;
    std::future::pending().await
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn exec_call(instance: &str, request: &ExecRequest, is_attached: bool) -> Call {
    let path = format!("/1.0/instances/{}/exec", segment(instance));
    Call::new(Method::POST, path).json(request.body(is_attached))
}

/// The exit code of a command that ended. Incus calls it a failed operation when it could not start the program.
fn exit_code(what: String, record: &OperationRecord) -> Result<i32, Error> {
    let code = record.metadata["return"].as_i64();
    if record.status_code != 200 && !code.is_some_and(|code| NOT_STARTED.contains(&code)) {
        return Err(Error::OperationFailed { what, status: record.status_code, message: record.err.clone() });
    }
    let code = code.and_then(|code| i32::try_from(code).ok());
    code.ok_or_else(|| Error::shape(&what, "it has no exit code"))
}
