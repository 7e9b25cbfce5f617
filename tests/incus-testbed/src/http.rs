//! One question to a daemon: whether it is ready.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Asks for a path and says whether the answer is 200.
pub(crate) fn is_ok(socket: &Path, path: &str, deadline: Duration) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(deadline))?;
    stream.set_write_timeout(Some(deadline))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: incus\r\n\r\n")?;
    let mut begin = [0; 12];
    stream.read_exact(&mut begin)?;
    Ok(begin.ends_with(b" 200"))
}
