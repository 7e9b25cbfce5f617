//! An async client for the REST API of [Incus](https://linuxcontainers.org/incus/docs/main/rest-api/), over its Unix
//! socket or over HTTPS with a client certificate and a pinned server certificate. For Incus 6.0 LTS and newer.
//!
//! It knows nothing of what instances are used for.
//!
//! ```no_run
//! # async fn example() -> Result<(), incus_client::Error> {
//! use incus_client::{Client, ExecRequest, NewInstance};
//!
//! let client = Client::unix("/var/lib/incus/unix.socket").with_project("default");
//! let image = client.resolve_alias("debian/12").await?;
//! client.create_instance(&NewInstance::container("one", &image).started()).await?;
//! let code = client.exec("one", &ExecRequest::new(["/bin/true"])).await?.wait().await?;
//! assert_eq!(code, 0);
//! client.destroy_instance("one").await
//! # }
//! ```
//!
//! # Deadlines
//!
//! Every call is over by the client's deadline, which is [`DEADLINE_DEFAULT`] unless [`Client::with_deadline`] says otherwise,
//! with [`Error::TimedOut`]. It counts for the whole of a call: the connection, the request, and the operation that it waits
//! for. What is read for as long as the caller likes has none: [`Exec::read`], [`Events::next`] and [`FileBody::read`] may be
//! dropped at any moment and called again, so `tokio::time::timeout` gives them one.
//!
//! # Cancellation
//!
//! Dropping a call ends it. What is dropped while an operation runs on the server, or while the server has not said yet whether
//! there is one, cancels it in the background, as far as Incus lets it be cancelled: an attached command is killed; the
//! making of an instance, an image that was sent, and a command without streams, go on. A call that changes something and was dropped, timed out
//! or [lost](Error::Dropped) may have been carried out, and the next look at the object tells: [`Client::destroy_instance`]
//! works so.
//!
//! # Connections
//!
//! A [`Client`] keeps a few idle connections, and its clones share them. They serve questions only, and a question that
//! finds its idle connection closed is asked again on a fresh one; nothing that changes something is ever sent twice.
//!
//! # Changing what others change
//!
//! An object that is read with its [`Tag`] can be changed on the condition that nobody else did meanwhile:
//!
//! ```no_run
//! # async fn example(client: incus_client::Client) -> Result<(), incus_client::Error> {
//! use incus_client::{Error, InstancePatch};
//!
//! let idle = client.instance("one").await?;
//! let mut mine = InstancePatch::default();
//! mine.config.insert("user.taken-by".to_owned(), "me".to_owned());
//! match client.patch_instance("one", &mine, Some(&idle.tag)).await {
//!     Err(Error::Stale { .. }) => println!("somebody was faster"),
//!     done => done?,
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Over HTTPS
//!
//! ```no_run
//! # fn example(client_certificate: String, client_key: String, server_certificate: String)
//! # -> Result<incus_client::Client, incus_client::TlsError> {
//! use incus_client::{Client, HttpsSettings};
//!
//! let url = "https://ci.example:8443".to_owned();
//! let settings = HttpsSettings { url, client_certificate, client_key, server_certificate };
//! Ok(Client::new(settings.endpoint()?).with_project("ci"))
//! # }
//! ```
//!
//! # Glossary
//!
//! - **operation**: work that the server goes on with after it has answered; it is waited for, and forgotten by the server
//!   five seconds after its end.
//! - **member**: a server of a cluster.
//! - **stale**: an object was changed since its [`Tag`] was read.

mod answer;
mod call;
mod client;
mod cluster;
mod connection;
mod error;
mod events;
mod exec;
mod files;
mod images;
mod instances;
mod networks;
mod operations;
mod projects;
mod server;
mod storage;
mod tls;
mod transport;
mod websocket;

pub use client::{Client, DEADLINE_DEFAULT, Tag, Tagged};
pub use cluster::{Member, MemberState};
pub use error::Error;
pub use events::{Event, Events};
pub use exec::{Exec, ExecOutput, ExecRequest};
pub use files::{File, FileBody, FileInfo, FileKind, NewFile};
pub use images::{Alias, Image, ImageImport};
pub use instances::{
    Config, Devices, Filter, Instance, InstanceKind, InstancePatch, InstanceState, NewInstance, StateChange,
};
pub use networks::{Network, NewNetwork};
pub use operations::{Operation, OperationRecord};
pub use projects::{NewProfile, NewProject, Profile, Project, ProjectState, ProjectUsage};
pub use server::{Certificate, NewCertificate, Server, ServerEnvironment, Warning};
pub use storage::{NewPool, Pool, PoolResources, Space, Volume};
pub use tls::{HttpsSettings, TlsError, fingerprint_of_certificate};
pub use transport::{Credentials, Endpoint};
