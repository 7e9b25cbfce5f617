//! Images and their aliases.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use hyper::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::call::{Call, segment};
use crate::client::Client;
use crate::error::Error;
use crate::instances::InstanceKind;
use crate::operations::Operation;

/// An image.
#[derive(Clone, Debug, Deserialize)]
pub struct Image {
    /// The SHA-256 of its content: its name.
    pub fingerprint: String,
    /// What it makes.
    #[serde(rename = "type")]
    pub kind: InstanceKind,
    /// What its maker says of it.
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
    pub properties: BTreeMap<String, String>,
    /// The names that it has.
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
    pub aliases: Vec<Alias>,
    /// `x86_64` and the like.
    #[serde(default)]
    pub architecture: String,
    /// Its size, in bytes.
    #[serde(default)]
    pub size: u64,
    /// When it was imported, RFC 3339.
    #[serde(default)]
    pub uploaded_at: String,
    /// When an instance was last made of it, RFC 3339.
    #[serde(default)]
    pub last_used_at: String,
}

/// A name for an image.
#[derive(Clone, Debug, Deserialize)]
pub struct Alias {
    /// The name.
    pub name: String,
    /// The fingerprint that it means now; empty where an image tells of its own.
    #[serde(default)]
    pub target: String,
    /// For people.
    #[serde(default)]
    pub description: String,
}

/// An image to be imported: one tarball with `metadata.yaml` and `rootfs`.
#[derive(Clone, Debug, Default)]
pub struct ImageImport {
    /// Added to what the tarball says of itself.
    pub properties: BTreeMap<String, String>,
    /// The file's name, for people.
    pub file_name: String,
}

impl Client {
    /// The fingerprint that an alias means now. [`Error::NotFound`] when there is no such alias.
    pub async fn resolve_alias(&self, alias: &str) -> Result<String, Error> {
        let found: Alias = self.ask(Call::get(alias_path(alias))).await.map_err(named(alias))?;
        Ok(found.target)
    }

    /// Every alias of the project.
    pub async fn aliases(&self) -> Result<Vec<Alias>, Error> {
        self.ask_list(Call::get("/1.0/images/aliases").query("recursion", "1")).await
    }

    /// Makes an alias. [`Error::Conflict`] when there is one of that name.
    pub async fn create_alias(&self, alias: &str, fingerprint: &str) -> Result<(), Error> {
        let body = json!({ "name": alias, "target": fingerprint });
        self.tell(Call::new(Method::POST, "/1.0/images/aliases").json(body)).await
    }

    /// Lets an alias mean this image, whether it is there already or not. [`Error::NotFound`]: there is no such image.
    pub async fn set_alias(&self, alias: &str, fingerprint: &str) -> Result<(), Error> {
        let body = json!({ "target": fingerprint, "description": "" });
        let change = Call::new(Method::PUT, alias_path(alias)).json(body);
        match self.tell(change.clone()).await {
            Err(Error::NotFound { .. }) => {}
            done => return done,
        }
        match self.create_alias(alias, fingerprint).await {
            // Somebody else was first.
            Err(Error::Conflict { .. }) => self.tell(change).await,
            done => done,
        }
    }

    /// Removes an alias; its image stays. [`Error::NotFound`] when there is none.
    pub async fn delete_alias(&self, alias: &str) -> Result<(), Error> {
        self.tell(Call::new(Method::DELETE, alias_path(alias))).await.map_err(named(alias))
    }

    /// Every image of the project.
    pub async fn images(&self) -> Result<Vec<Image>, Error> {
        self.ask_list(Call::get("/1.0/images").query("recursion", "1")).await
    }

    /// An image by its fingerprint, or by the unique beginning of it.
    pub async fn image(&self, fingerprint: &str) -> Result<Image, Error> {
        let call = Call::get(format!("/1.0/images/{}", segment(fingerprint)));
        self.ask(call).await.map_err(|error| error.missing(|| format!("image {fingerprint}")))
    }

    /// Imports an image from a file and returns its fingerprint. The client's deadline is for all of it, the sending too.
    ///
    /// - [`Error::OperationFailed`]: the server has it already, or it is no image.
    /// - [`Error::Unreadable`]: the file can't be read.
    pub async fn import_image(&self, file: &Path, import: &ImageImport) -> Result<String, Error> {
        let (start, what) = (Instant::now(), format!("import of {}", file.display()));
        let unreadable = |source| Error::Unreadable { path: file.to_owned(), source };
        let content = tokio::fs::File::open(file).await.map_err(unreadable)?;
        let length = content.metadata().await.map_err(unreadable)?.len();
        let properties: Vec<String> = import
            .properties
            .iter()
            .map(|(name, value)| format!("{}={}", segment(name), segment(value)))
            .collect();
        let mut call = Call::new(Method::POST, "/1.0/images");
        if !import.file_name.is_empty() {
            // A header takes no more than that.
            let plain = |character: char| if character.is_ascii_graphic() { character } else { '_' };
            call = call.header("x-incus-filename", import.file_name.chars().map(plain).collect::<String>());
        }
        if !properties.is_empty() {
            call = call.header("x-incus-properties", properties.join("&"));
        }
        let said = self.upload(&call, length, content).await.map_err(|error| match error {
            Error::Dropped { source, .. } if is_of_the_file(&*source) => unreadable(io::Error::other(source)),
            error => error,
        })?;
        let ended = Operation::new(self.clone(), what.clone(), said.parse()?)
            .wait_since(start, self.deadline())
            .await?;
        let fingerprint = ended.metadata["fingerprint"].as_str().map(str::to_owned);
        fingerprint.ok_or_else(|| Error::shape(&what, "it has no fingerprint"))
    }

    /// Removes an image. Instances that were made of it live on. [`Error::NotFound`] when there is none.
    pub async fn delete_image(&self, fingerprint: &str) -> Result<(), Error> {
        let path = format!("/1.0/images/{}", segment(fingerprint));
        self.operate(Call::new(Method::DELETE, path)).await.map(|_| ())
    }
}

fn alias_path(alias: &str) -> String {
    format!("/1.0/images/aliases/{}", segment(alias))
}

fn named(alias: &str) -> impl Fn(Error) -> Error {
    move |error| error.missing(|| format!("image alias {alias}"))
}

/// Whether a connection was lost because there was nothing to send: the file can't be read, or became shorter.
fn is_of_the_file(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    cause.downcast_ref::<hyper::Error>().is_some_and(|error| error.is_user() || error.is_body_write_aborted())
}
