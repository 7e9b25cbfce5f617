//! Two hundred watchers of one live log: does each get every byte, and does the forge's memory stay where it was?

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::figure::Figure;
use super::forge::Forge;
use super::process::{memory, wait_for};

const WATCHERS: usize = 200;
/// Ten seconds at 1 MB/s: a hundred times 100,000 bytes, each followed by a tenth of a second.
const LOG_BYTES: u64 = 10_000_000;
const COMMAND: &str =
    "i=0; while [ $i -lt 100 ]; do head -c 99999 /dev/zero | tr '\\0' x; echo; sleep 0.1; i=$((i+1)); done";
const STACK_BYTES: usize = 128 * 1024;

pub(super) fn bench(forge: &Forge) -> Result<[Figure; 3]> {
    let manifest = format!(
        "version = 1\n\n[targets.check]\ntitle = \"A live log\"\n\n[[targets.check.jobs]]\nid = \"loud\"\ncommand = {COMMAND:?}\n"
    );
    fs::write(forge.clone().join("pikaci.toml"), manifest)?;
    forge.commit("watched")?;
    let branch = forge.push("watched")?;
    let run = wait_for("the start of the lane", Duration::from_secs(20), || {
        Some(forge.lane(&branch).ok()?["run_id"].as_str()?.to_owned())
    })?;
    forge.wait_for_first_line(&run, Duration::from_secs(20))?;
    let watchers: Vec<JoinHandle<Result<u64>>> = (0..WATCHERS).map(|_| watch(forge, &run)).collect();
    // All are connected and the log is a second old when the growth begins to count.
    std::thread::sleep(Duration::from_secs(3));
    let early = memory(forge.pid()).context("the forge's memory")?;
    std::thread::sleep(Duration::from_secs(5));
    let late = memory(forge.pid()).context("the forge's memory")?;
    let mut lost = 0;
    for watcher in watchers {
        let bytes = watcher.join().map_err(|_| anyhow::anyhow!("a watcher panicked"))??;
        if bytes != LOG_BYTES {
            eprintln!("  a watcher got {bytes} of {LOG_BYTES} bytes");
            lost += 1;
        }
    }
    let attempt = forge.finished(&branch, Duration::from_secs(60))?;
    if attempt["outcome"] != "passed" {
        bail!("the watched lane did not pass: {attempt}");
    }
    Ok([
        Figure::count("watchers of 200 that lost a byte of a log at 1 MB/s", lost, 0),
        Figure::memory("memory of the forge with 200 watchers", late, 128.0),
        Figure::memory("its growth over five seconds of that", late.saturating_sub(early), 8.0),
    ])
}

/// Follows the log from its first byte, and counts what arrives: the letters of the text, and its line ends.
fn watch(forge: &Forge, run: &str) -> JoinHandle<Result<u64>> {
    let address = forge.address().trim_start_matches("http://").to_owned();
    let request = format!(
        "GET /news/api/forge/pikaci/logs/{run}/stream?kind=guest HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\r\n",
        forge.token()
    );
    let follow = move || -> Result<u64> {
        let mut stream = TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(request.as_bytes())?;
        let mut bytes = 0;
        let mut line = Vec::new();
        let mut reader = BufReader::with_capacity(64 * 1024, stream);
        // The names of the answer's own headers have such letters too.
        while reader.read_until(b'\n', &mut line)? > 0 && line != b"\r\n" {
            line.clear();
        }
        loop {
            line.clear();
            if reader.by_ref().take(4 << 20).read_until(b'\n', &mut line)? == 0 {
                bail!("the stream broke off after {bytes} bytes");
            }
            if line.starts_with(b"event: end") {
                return Ok(bytes);
            }
            // A chunk of the transfer may end within a line; its own lines hold no `x`. A line end of the log is `\n` in JSON.
            bytes += line.iter().filter(|byte| **byte == b'x').count() as u64;
            // The key has one as well.
            bytes -= line.windows(6).filter(|part| part == b"\"text\"").count() as u64;
            bytes += line.windows(2).filter(|pair| pair == b"\\n").count() as u64;
        }
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(follow).expect("a thread can be started")
}
