//! Files inside an instance, whether it runs or not.
//!
//! What is read was written by the guest: kinds, sizes and names are its word.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use serde::Deserialize;

use crate::client::{Call, Client, segment};
use crate::error::Error;

const LISTING_BYTES_MAX: usize = 16 << 20;

/// What kind of thing is at a path. Links are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
}

/// What is at a path, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// What it is. A pipe, a socket or a device passes for an empty file.
    pub kind: FileKind,
    /// Its permission bits.
    pub mode: u32,
    /// The number of its owner, inside the instance.
    pub user: u32,
    /// Its size, of a regular file only.
    pub bytes: u64,
}

/// Something at a path of an instance.
#[derive(Debug)]
pub struct File {
    /// What it is.
    pub kind: FileKind,
    /// Its permission bits.
    pub mode: u32,
    /// The number of its owner, inside the instance.
    pub user: u32,
    /// What it holds.
    pub body: FileBody,
}

/// A file's content, as it comes: the text of a link, the JSON of a folder's names.
#[derive(Debug)]
pub struct FileBody {
    what: String,
    body: Incoming,
}

/// A file to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewFile {
    /// What it holds.
    pub content: Bytes,
    /// Its permission bits.
    pub mode: u32,
    /// The number of its owner, inside the instance.
    pub user: u32,
    /// The number of its group.
    pub group: u32,
}

impl FileBody {
    /// The next bytes; `None` at the end.
    pub async fn read(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(error)) => return Err(Error::dropped(&self.what, error)),
            }
        }
    }

    /// All of it, unless it has more than so many bytes.
    pub async fn read_all(&mut self, bytes_max: usize) -> Result<Option<Vec<u8>>, Error> {
        let mut all = Vec::new();
        while let Some(bytes) = self.read().await? {
            if all.len() + bytes.len() > bytes_max {
                return Ok(None);
            }
            all.extend_from_slice(&bytes);
        }
        Ok(Some(all))
    }
}

impl File {
    /// A folder's names, sorted.
    pub async fn names(mut self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Listing {
            #[serde(default)]
            metadata: Option<Vec<String>>,
        }
        let what = self.body.what.clone();
        let Some(content) = self.body.read_all(LISTING_BYTES_MAX).await? else {
            return Err(Error::shape(&what, "the folder has too many names"));
        };
        let listing: Listing =
            serde_json::from_slice(&content).map_err(|error| Error::shape(&what, error))?;
        let mut names = listing.metadata.unwrap_or_default();
        names.sort_unstable();
        Ok(names)
    }
}

impl Client {
    fn file_call(method: Method, instance: &str, path: &str) -> Call {
        Call::new(method, format!("/1.0/instances/{}/files", segment(instance))).query("path", path)
    }

    /// Opens what is at a path. The call's deadline ends with the headers; reading the body is the caller's to bound.
    pub async fn file(&self, instance: &str, path: &str) -> Result<File, Error> {
        let what = format!("{path} in {instance}");
        let response = match self.fetch(Client::file_call(Method::GET, instance, path)).await {
            Err(Error::NotFound { .. }) => return Err(Error::NotFound { what }),
            response => response?,
        };
        let (head, body) = response.into_parts();
        let FileInfo { kind, mode, user, .. } = info(&what, &head.headers)?;
        Ok(File { kind, mode, user, body: FileBody { what, body } })
    }

    /// What is at a path, without opening it: to open a pipe would wait for its other end.
    pub async fn file_info(&self, instance: &str, path: &str) -> Result<FileInfo, Error> {
        let what = format!("{path} in {instance}");
        // An error without a body: its status says all.
        let response = self.fetch_head(Client::file_call(Method::HEAD, instance, path), &what).await?;
        info(&what, response.headers())
    }

    /// Writes a file, replacing what is there.
    pub async fn push_file(&self, instance: &str, path: &str, file: &NewFile) -> Result<(), Error> {
        let call = Client::file_call(Method::POST, instance, path)
            .header("x-incus-type", "file")
            .header("x-incus-mode", format!("{:04o}", file.mode))
            .header("x-incus-uid", file.user.to_string())
            .header("x-incus-gid", file.group.to_string());
        let (length, content) = (file.content.len() as u64, file.content.clone());
        self.upload(call, length, std::io::Cursor::new(content)).await.map(|_| ())
    }

    /// Removes a file, or an empty folder.
    pub async fn delete_file(&self, instance: &str, path: &str) -> Result<(), Error> {
        self.tell(Client::file_call(Method::DELETE, instance, path)).await
    }
}

fn info(what: &str, headers: &HeaderMap) -> Result<FileInfo, Error> {
    let kind = match header(headers, "x-incus-type") {
        Some("file") => FileKind::File,
        Some("directory") => FileKind::Folder,
        Some("symlink") => FileKind::Link,
        kind => return Err(Error::shape(what, format!("it is of the kind {kind:?}"))),
    };
    let number = |name, radix| {
        header(headers, name).and_then(|text| u32::from_str_radix(text, radix).ok()).unwrap_or(0)
    };
    Ok(FileInfo {
        kind,
        mode: number("x-incus-mode", 8),
        user: number("x-incus-uid", 10),
        bytes: header(headers, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0),
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
