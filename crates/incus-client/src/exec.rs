//! Commands inside an instance.
//!
//! The control stream is a lifeline: when it is lost, Incus kills the command (instance_exec.go). What must outlive it
//! has to detach itself.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::client::{Call, Client, segment};
use crate::error::Error;
use crate::operations::Operation;
use crate::websocket::WebSocket;

/// A command to run. Arguments and environment are visible to everybody who may see operations: no secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments.
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
#[derive(Debug)]
pub struct Exec {
    operation: Operation,
    control: WebSocket,
    stdin: WebSocket,
    stdout: Option<WebSocket>,
    stderr: Option<WebSocket>,
    deadline: std::time::Duration,
}

impl Client {
    /// Runs a command to its end, without its output. Returns its exit code.
    pub async fn exec_unattended(&self, instance: &str, request: &ExecRequest) -> Result<i32, Error> {
        let path = format!("/1.0/instances/{}/exec", segment(instance));
        let call = Call::new(hyper::Method::POST, path).json(request.body(false));
        let what = format!("exec in {instance}");
        let record = self.operate(call).await?;
        exit_code(&what, &record.metadata)
    }

    /// Starts a command with its streams attached.
    pub async fn exec(&self, instance: &str, request: &ExecRequest) -> Result<Exec, Error> {
        let path = format!("/1.0/instances/{}/exec", segment(instance));
        let call = Call::new(hyper::Method::POST, path).json(request.body(true));
        let operation = self.begin(call).await?;
        let what = operation.what().to_owned();
        let secrets = &operation.record().metadata["fds"];
        let path = format!("/1.0/operations/{}/websocket", segment(&operation.record().id));
        let connecting = ["control", "0", "1", "2"].map(|name| {
            let secret = secrets[name].as_str().map(str::to_owned);
            let (path, what) = (path.clone(), &what);
            async move {
                let secret = secret
                    .ok_or_else(|| Error::shape(what, format!("it has no secret for stream {name}")))?;
                // The secret is the right to the stream: no project is asked for.
                self.websocket(&Call::get(path).query("secret", secret).global(), what).await
            }
        });
        // The command starts when all of them are there.
        let mut streams = try_join_all(connecting).await?.into_iter();
        let (Some(control), Some(stdin), stdout, stderr) =
            (streams.next(), streams.next(), streams.next(), streams.next())
        else {
            return Err(Error::shape(&what, "too few streams"));
        };
        Ok(Exec { operation, control, stdin, stdout, stderr, deadline: self.deadline() })
    }
}

impl Exec {
    /// The next bytes that the command prints; `None` when it closed both streams.
    ///
    /// Safe to drop at any moment: no byte is lost that was not returned.
    pub async fn read(&mut self) -> Result<Option<ExecOutput>, Error> {
        loop {
            let (bytes, is_stdout) = match (&mut self.stdout, &mut self.stderr) {
                (None, None) => return Ok(None),
                (Some(stdout), None) => (stdout.read().await?, true),
                (None, Some(stderr)) => (stderr.read().await?, false),
                (Some(stdout), Some(stderr)) => tokio::select! {
                    bytes = stdout.read() => (bytes?, true),
                    bytes = stderr.read() => (bytes?, false),
                },
            };
            match (bytes, is_stdout) {
                (Some(bytes), true) => return Ok(Some(ExecOutput::Stdout(bytes))),
                (Some(bytes), false) => return Ok(Some(ExecOutput::Stderr(bytes))),
                (None, true) => self.stdout = None,
                (None, false) => self.stderr = None,
            }
        }
    }

    /// Writes to the command's standard input.
    pub async fn write(&mut self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        self.stdin.write(bytes.into()).await
    }

    /// Ends the command's standard input.
    pub async fn close_stdin(&mut self) -> Result<(), Error> {
        self.stdin.write_text(String::new()).await
    }

    /// Sends a signal to the command.
    pub async fn signal(&mut self, number: i32) -> Result<(), Error> {
        let message = json!({ "command": "signal", "signal": number });
        self.control.write_text(message.to_string()).await
    }

    /// Reads away what is left of the output and returns the exit code.
    ///
    /// A command that can't be started has the code 127, or 126 when it is no program. [`Error::OperationForgotten`]: it
    /// ended more than five seconds ago.
    pub async fn wait(mut self) -> Result<i32, Error> {
        while self.read().await?.is_some() {}
        let what = self.operation.what().to_owned();
        let record = self.operation.wait(self.deadline).await?;
        exit_code(&what, &record.metadata)
    }
}

fn exit_code(what: &str, metadata: &Value) -> Result<i32, Error> {
    let code = metadata["return"].as_i64().and_then(|code| i32::try_from(code).ok());
    code.ok_or_else(|| Error::shape(what, "it has no exit code"))
}
