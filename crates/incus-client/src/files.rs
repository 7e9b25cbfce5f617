//! Files inside an instance, whether it runs or not.
//!
//! What is read was written by the guest: kinds, sizes and names are its word.

use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderMap;
use serde::Deserialize;

use crate::call::{Call, segment};
use crate::client::Client;
use crate::connection::AnswerBody;
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
    /// The number of its group, inside the instance.
    pub group: u32,
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
    /// The number of its group, inside the instance.
    pub group: u32,
    /// What it holds.
    pub body: FileBody,
}

/// A file's content, as it comes: the text of a link, the JSON of a folder's names.
#[derive(Debug)]
pub struct FileBody {
    body: AnswerBody,
}

/// A file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// What it holds.
    pub content: Bytes,
    /// Its permission bits; 0644 unless said.
    pub mode: u32,
    /// The number of its owner, inside the instance; 0 unless said.
    pub user: u32,
    /// The number of its group; 0 unless said.
    pub group: u32,
}

impl NewFile {
    /// A file of root's that everybody may read.
    pub fn new(content: impl Into<Bytes>) -> NewFile {
        NewFile { content: content.into(), ..NewFile::default() }
    }
}

impl Default for NewFile {
    fn default() -> NewFile {
        NewFile { content: Bytes::new(), mode: 0o644, user: 0, group: 0 }
    }
}

impl FileBody {
    /// The next bytes; `None` at the end. It has no deadline; safe to drop at any moment. [`Error::Dropped`]: the connection was
    /// lost before the end.
    pub async fn read(&mut self) -> Result<Option<Bytes>, Error> {
        self.body.read().await
    }

    /// All of it; `None` when it has more than so many bytes.
    pub async fn read_all(&mut self, bytes_max: usize) -> Result<Option<Vec<u8>>, Error> {
        self.body.read_all(None, bytes_max).await
    }
}

impl File {
    /// A folder's names, sorted. [`Error::Shape`] when it is no folder.
    pub async fn names(mut self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Listing {
            #[serde(default)]
            metadata: Option<Vec<String>>,
        }
        let what = self.body.body.what().to_owned();
        if self.kind != FileKind::Folder {
            return Err(Error::shape(&what, "it is no folder"));
        }
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
    ///
    /// [`Error::NotFound`]: nothing is at the path, or there is no such instance.
    pub async fn file(&self, instance: &str, path: &str) -> Result<File, Error> {
        let what = format!("{path} in {instance}");
        let call = Client::file_call(Method::GET, instance, path);
        let mut answer = self.fetch(&call).await.map_err(|error| error.missing(|| what.clone()))?;
        answer.body.rename(&what);
        let FileInfo { kind, mode, user, group, .. } = info(&what, &answer.head.headers)?;
        Ok(File { kind, mode, user, group, body: FileBody { body: answer.body } })
    }

    /// What is at a path, without opening it: to open a pipe would wait for its other end.
    ///
    /// [`Error::NotFound`]: nothing is at the path, or there is no such instance.
    pub async fn file_info(&self, instance: &str, path: &str) -> Result<FileInfo, Error> {
        let what = format!("{path} in {instance}");
        let call = Client::file_call(Method::HEAD, instance, path);
        let answer = self.fetch(&call).await.map_err(|error| error.missing(|| what.clone()))?;
        info(&what, &answer.head.headers)
    }

    /// Writes a file, replacing what is there. [`Error::NotFound`]: its folder, or the instance, does not exist.
    pub async fn push_file(&self, instance: &str, path: &str, file: &NewFile) -> Result<(), Error> {
        let call = Client::file_call(Method::POST, instance, path)
            .header("x-incus-type", "file")
            .header("x-incus-mode", format!("{:04o}", file.mode))
            .header("x-incus-uid", file.user.to_string())
            .header("x-incus-gid", file.group.to_string());
        let (length, content) = (file.content.len() as u64, file.content.clone());
        self.upload(&call, length, std::io::Cursor::new(content)).await.map(|_| ())
    }

    /// Removes a file, or an empty folder. [`Error::NotFound`] when there is none.
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
        group: number("x-incus-gid", 10),
        bytes: header(headers, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0),
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
