//! A browser without a window, told what to do over two pipes (the DevTools protocol, one JSON document a message, each
//! ended by a zero byte).
//!
//! Invariant: it has a profile of its own and ends with its value.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;
use crate::wait::{DEADLINE, eventually};

/// Names under which distributions install it.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// One tab.
pub struct Browser {
    requests: File,
    messages: Receiver<Value>,
    session: Option<String>,
    next_id: u64,
    _process: Process,
    _folder: TempDir,
}

impl Browser {
    /// Opens a browser that sends this token with every request.
    #[track_caller]
    pub fn open(token: &str) -> Browser {
        let mut browser = Browser::open_signed_out();
        let headers = json!({"headers": {"Authorization": format!("Bearer {token}")}});
        browser.call("Network.setExtraHTTPHeaders", &headers);
        browser
    }

    /// Opens a browser that nobody is signed in with.
    #[track_caller]
    pub fn open_signed_out() -> Browser {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (input, output) = (folder.path().join("in"), folder.path().join("out"));
        for pipe in [&input, &output] {
            mkfifoat(CWD, pipe, Mode::RUSR | Mode::WUSR).expect("a pipe can be made");
        }
        let mut command = Command::new("sh");
        let program = find_program();
        // Opened for both ways, a pipe does not wait for its other end.
        let script = format!("exec {program} \"$@\" 3<>in 4<>out");
        command.current_dir(folder.path()).env("HOME", folder.path()).args(["-c", &script, "sh"]).args([
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--window-size=1280,900",
        ]);
        command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        let process = Process::start(&mut command, &folder.path().join("browser.log"));
        let open = |path: &Path| {
            File::options().read(true).write(true).open(path).expect("the browser's pipe can be opened")
        };
        let (requests, answers) = (open(&input), open(&output));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(answers).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap_or(Value::Null);
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser =
            Browser { requests, messages, session: None, next_id: 1, _process: process, _folder: folder };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser.call("Page.enable", &json!({}));
        browser.call("Network.enable", &json!({}));
        browser
    }

    /// Gives the browser a device that keeps passkeys and is unlocked by whoever asks. Returns its name.
    #[track_caller]
    pub fn add_authenticator(&mut self) -> String {
        self.call("WebAuthn.enable", &json!({}));
        let options = json!({
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": true,
            "hasUserVerification": true,
            "isUserVerified": true,
        });
        let added = self.call("WebAuthn.addVirtualAuthenticator", &json!({"options": options}));
        added["authenticatorId"].as_str().expect("the device has a name").to_owned()
    }

    /// Says whether a device makes sure of its user from now on.
    #[track_caller]
    pub fn set_user_verified(&mut self, authenticator: &str, is_verified: bool) {
        let parameters = json!({"authenticatorId": authenticator, "isUserVerified": is_verified});
        self.call("WebAuthn.setUserVerified", &parameters);
    }

    /// The keys that a device keeps, and how often each was used.
    #[track_caller]
    pub fn credentials(&mut self, authenticator: &str) -> Vec<Value> {
        let found = self.call("WebAuthn.getCredentials", &json!({"authenticatorId": authenticator}));
        found["credentials"].as_array().cloned().unwrap_or_default()
    }

    /// Puts a key into a device, as whoever copied it would.
    #[track_caller]
    pub fn add_credential(&mut self, authenticator: &str, credential: &Value) {
        self.call(
            "WebAuthn.addCredential",
            &json!({"authenticatorId": authenticator, "credential": credential}),
        );
    }

    /// Takes a key out of a device.
    #[track_caller]
    pub fn remove_credential(&mut self, authenticator: &str, credential: &Value) {
        let id = &credential["credentialId"];
        self.call(
            "WebAuthn.removeCredential",
            &json!({"authenticatorId": authenticator, "credentialId": id}),
        );
    }

    /// Goes to an address.
    #[track_caller]
    pub fn go(&mut self, url: &str) {
        let answer = self.call("Page.navigate", &json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
    }

    /// The value of an expression of the page's.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        self.call("Runtime.evaluate", &parameters)["result"]["value"].clone()
    }

    /// Waits until an expression of the page's is true.
    #[track_caller]
    pub fn until(&mut self, what: &str, expression: &str) {
        eventually(what, || (self.value(expression) == json!(true)).then_some(()));
    }

    /// The visible text of what a selector finds first.
    #[track_caller]
    pub fn text(&mut self, selector: &str) -> String {
        let found = self.value(&format!("document.querySelector({selector:?})?.innerText ?? ''"));
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks on what a selector finds first.
    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        let clicked = self.value(&format!(
            "(() => {{ const found = document.querySelector({selector:?}); found?.click(); return !!found; }})()"
        ));
        assert_eq!(clicked, json!(true), "there is no {selector}");
    }

    #[track_caller]
    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.requests.write_all(&bytes).expect("the browser reads");
        let ends_at = Instant::now() + DEADLINE;
        loop {
            let left = ends_at.saturating_duration_since(Instant::now());
            let answer = self.messages.recv_timeout(left);
            let answer = answer.unwrap_or_else(|error| panic!("{method}: the browser is silent: {error}"));
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }
}

fn find_program() -> &'static str {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &&&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    PROGRAMS.iter().find(is_there).expect("chromium is installed: `cargo xtask test` does it")
}
