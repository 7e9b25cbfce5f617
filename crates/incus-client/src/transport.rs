//! Where the server is, and how a connection to it is made.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::error::Error;

/// Where Incus keeps its socket when nothing else is said.
const INCUS_DIR_DEFAULT: &str = "/var/lib/incus";
/// The other place for it: systems whose service keeps only `/run` open to users.
const SOCKET_IN_RUN: &str = "/run/incus/unix.socket";

/// A peer that has gone is noticed after about half a minute.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_TRIES: u32 = 3;

/// Where a server is.
#[derive(Clone)]
pub enum Endpoint {
    /// A Unix socket of this host.
    Unix {
        /// Its path.
        socket: PathBuf,
    },
    /// HTTPS.
    Https {
        /// Host name or address.
        host: String,
        /// Port, 8443 as a rule.
        port: u16,
        /// Client certificate and pinned server certificate.
        tls: Credentials,
    },
}

/// What this client shows, and what it wants to see; made by [`HttpsSettings::endpoint`](crate::HttpsSettings::endpoint).
#[derive(Clone)]
pub struct Credentials(pub(crate) Arc<rustls::ClientConfig>);

impl Endpoint {
    /// The socket that the variables `INCUS_SOCKET` (a path) and `INCUS_DIR` (the folder that holds `unix.socket`) name, the
    /// former first; else where Incus keeps it.
    pub fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>) -> Endpoint {
        let is_set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let socket = is_set("INCUS_SOCKET")
            .or_else(|| is_set("INCUS_DIR").map(|folder| folder.join("unix.socket")))
            .unwrap_or_else(|| {
                let usual = PathBuf::from(INCUS_DIR_DEFAULT).join("unix.socket");
                let other = PathBuf::from(SOCKET_IN_RUN);
                if !usual.exists() && other.exists() { other } else { usual }
            });
        Endpoint::Unix { socket }
    }

    /// Whether the server is on this host.
    pub fn is_local(&self) -> bool {
        matches!(self, Endpoint::Unix { .. })
    }

    /// What the `Host` header says.
    pub(crate) fn authority(&self) -> String {
        match self {
            Endpoint::Unix { .. } => "incus".to_owned(),
            Endpoint::Https { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Endpoint::Https { host, port, .. } => format!("{host}:{port}"),
        }
    }

    pub(crate) async fn connect(&self) -> Result<Box<dyn Stream>, Error> {
        self.open().await.map_err(|error| {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
            match cause {
                Some(rustls::Error::InvalidCertificate(_)) => Error::Untrusted { endpoint: self.to_string() },
                _ => self.unreachable(error),
            }
        })
    }

    pub(crate) fn unreachable(&self, source: io::Error) -> Error {
        Error::Unreachable { endpoint: self.to_string(), source }
    }

    async fn open(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Endpoint::Unix { socket } => Ok(Box::new(UnixStream::connect(socket).await?)),
            Endpoint::Https { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                // A command may be silent for hours: only this tells a silent peer from one that has gone.
                SockRef::from(&stream).set_tcp_keepalive(
                    &TcpKeepalive::new()
                        .with_time(KEEPALIVE_AFTER)
                        .with_interval(KEEPALIVE_EVERY)
                        .with_retries(KEEPALIVE_TRIES),
                )?;
                // The certificate is pinned, so its names are not looked at.
                let name = ServerName::try_from("incus").map_err(io::Error::other)?;
                Ok(Box::new(TlsConnector::from(Arc::clone(&tls.0)).connect(name, stream).await?))
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix { socket } => write!(formatter, "{}", socket.display()),
            Endpoint::Https { .. } => write!(formatter, "https://{}", self.authority()),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credentials")
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Endpoint({self})")
    }
}

/// A connection, whatever it is made of.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(variables: &[(&str, &str)]) -> String {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        Endpoint::from_variables(&find).to_string()
    }

    #[test]
    fn the_socket_is_where_the_variables_say() {
        assert_eq!(socket(&[("INCUS_DIR", "/tmp/one")]), "/tmp/one/unix.socket");
        assert_eq!(socket(&[("INCUS_DIR", "/tmp/one"), ("INCUS_SOCKET", "/tmp/two")]), "/tmp/two");
        assert_eq!(socket(&[("INCUS_DIR", "")]), socket(&[]));
    }
}
