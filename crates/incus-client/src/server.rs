//! The server itself: what it is, what it can do, whom it trusts.

use std::collections::BTreeMap;

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::call::{Call, segment};
use crate::client::Client;
use crate::error::Error;
use crate::tls::{TlsError, base64_of_certificate};

/// A server.
#[derive(Clone, Debug, Deserialize)]
pub struct Server {
    /// What the API can do beyond its first version.
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
    pub api_extensions: Vec<String>,
    /// `trusted`, or `untrusted`: then it says nothing more.
    #[serde(default)]
    pub auth: String,
    /// Its keys.
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
    pub config: BTreeMap<String, String>,
    /// Where it runs.
    #[serde(default)]
    pub environment: ServerEnvironment,
}

/// Where a server runs, and on what.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ServerEnvironment {
    /// The addresses that it listens on.
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
    pub addresses: Vec<String>,
    /// Its certificate, in PEM form.
    #[serde(default)]
    pub certificate: String,
    /// What it makes instances with, such as `lxc | qemu`.
    #[serde(default)]
    pub driver: String,
    /// The host's kernel.
    #[serde(default)]
    pub kernel_version: String,
    /// The version of Incus.
    #[serde(default)]
    pub server_version: String,
    /// The host's name, or the cluster member's.
    #[serde(default)]
    pub server_name: String,
    /// Whether it is a member of a cluster.
    #[serde(default)]
    pub server_clustered: bool,
}

impl Server {
    /// Whether this client has rights.
    pub fn is_trusted(&self) -> bool {
        self.auth == "trusted"
    }

    /// Whether it can make virtual machines.
    pub fn has_virtual_machines(&self) -> bool {
        self.environment.driver.split('|').any(|driver| driver.trim() == "qemu")
    }

    /// Major and minor version.
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.environment.server_version.split('.');
        let major = numbers.next()?.parse().ok()?;
        Some((major, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
    }
}

/// Something that the server wants a person to know.
#[derive(Clone, Debug, Deserialize)]
pub struct Warning {
    /// What kind of thing.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// What happened last.
    #[serde(default)]
    pub last_message: String,
    /// `new`, `acknowledged` or `resolved`.
    #[serde(default)]
    pub status: String,
}

/// A certificate that the server trusts.
#[derive(Clone, Debug, Deserialize)]
pub struct Certificate {
    /// For people.
    #[serde(default)]
    pub name: String,
    /// SHA-256 of its content.
    pub fingerprint: String,
    /// Whether it sees only some projects.
    #[serde(default)]
    pub restricted: bool,
    /// Those projects.
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
    pub projects: Vec<String>,
}

/// A certificate to be trusted.
#[derive(Clone, Debug, Serialize)]
pub struct NewCertificate {
    /// For people.
    pub name: String,
    /// The base64 of the certificate's content: PEM without its first and last line.
    pub certificate: String,
    /// Whether it sees only some projects.
    pub restricted: bool,
    /// Those projects.
    pub projects: Vec<String>,
}

impl NewCertificate {
    /// A certificate that sees only these projects, from its PEM.
    pub fn restricted<T: Into<String>>(
        name: impl Into<String>,
        pem: &str,
        projects: impl IntoIterator<Item = T>,
    ) -> Result<NewCertificate, TlsError> {
        Ok(NewCertificate {
            name: name.into(),
            certificate: base64_of_certificate(pem)?,
            restricted: true,
            projects: projects.into_iter().map(Into::into).collect(),
        })
    }
}

impl Client {
    /// What the server is. It answers whoever asks: see [`Server::is_trusted`].
    pub async fn server(&self) -> Result<Server, Error> {
        self.ask(Call::get("/1.0")).await
    }

    /// Sets keys of the server; an empty value removes one.
    pub async fn patch_server(&self, config: &BTreeMap<String, String>) -> Result<(), Error> {
        self.tell(Call::new(Method::PATCH, "/1.0").global().json(json!({ "config": config }))).await
    }

    /// What the server warns of.
    pub async fn warnings(&self) -> Result<Vec<Warning>, Error> {
        self.ask_list(Call::get("/1.0/warnings").global().query("recursion", "1")).await
    }

    /// Whom the server trusts.
    pub async fn certificates(&self) -> Result<Vec<Certificate>, Error> {
        self.ask_list(Call::get("/1.0/certificates").global().query("recursion", "1")).await
    }

    /// Trusts a certificate. [`Error::Conflict`] when it does already.
    pub async fn create_certificate(&self, certificate: &NewCertificate) -> Result<(), Error> {
        let mut body =
            serde_json::to_value(certificate).map_err(|error| Error::shape("new certificate", error))?;
        body["type"] = json!("client");
        self.tell(Call::new(Method::POST, "/1.0/certificates").global().json(body)).await
    }

    /// Lets a certificate see these projects, and no others. [`Error::NotFound`] when the server does not trust it.
    pub async fn restrict_certificate(&self, fingerprint: &str, projects: &[String]) -> Result<(), Error> {
        let path = format!("/1.0/certificates/{}", segment(fingerprint));
        let body = json!({ "restricted": true, "projects": projects });
        self.tell(Call::new(Method::PATCH, path).global().json(body)).await
    }

    /// Trusts a certificate no more. [`Error::NotFound`] when it does not.
    pub async fn delete_certificate(&self, fingerprint: &str) -> Result<(), Error> {
        let path = format!("/1.0/certificates/{}", segment(fingerprint));
        self.tell(Call::new(Method::DELETE, path).global()).await
    }
}
