//! An async client for the REST API of [Incus](https://linuxcontainers.org/incus/docs/main/rest-api/), over its Unix
//! socket or over HTTPS with a client certificate and a pinned server certificate.
//!
//! It knows nothing of what instances are used for. Every call has a deadline and a typed [`Error`]; dropping a call that
//! waits for an operation asks the server to cancel the operation.
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
//! client.delete_instance("one").await
//! # }
//! ```
//!
//! # Glossary
//!
//! - **operation**: work that the server goes on with after it has answered; it is waited for, and forgotten by the server
//!   five seconds after its end.
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
pub use transport::Endpoint;
