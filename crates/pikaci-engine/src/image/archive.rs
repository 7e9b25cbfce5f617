//! The tarball of an image: written beside its place, compressed and hashed on the way, renamed when it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};
use tempfile::NamedTempFile;
use zstd::stream::write::Encoder as ZstdEncoder;

use super::metadata::Metadata;
use super::tree::{Kind, Node, Tree};
use super::{BuiltImage, ImageError, hex, scratch};

/// How the name of an image ends, which also says how it is compressed.
///
/// `.tar.gz` works with every server. `.tar.zst` is smaller, and unpacked in a sixth of the time, but needs the program
/// `zstd` on the server. `.tar` is the fastest where it is made and used on one machine.
pub const OUTPUT_ENDINGS: [&str; 3] = [".tar.gz", ".tar.zst", ".tar"];

/// Whoever waits for an image waits for its making and its unpacking; a better level costs three times as much.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 3;
const BUFFER_BYTES: usize = 256 * 1024;
/// The folder of the root file system within the tarball (Incus, image-handling.md, "Unified tarball").
const ROOTFS: &str = "rootfs";

/// Refuses a name that says nothing of a kind.
pub(super) fn check_name(output: &Path) -> Result<(), ImageError> {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let is_named = |ending: &&str| name.len() > ending.len() && name.ends_with(*ending);
    let found = OUTPUT_ENDINGS.iter().any(is_named);
    found.then_some(()).ok_or_else(|| ImageError::Name { path: output.to_owned() })
}

/// A tarball that grows.
pub(super) struct Archive {
    output: PathBuf,
    builder: Builder<BufWriter<Compressor>>,
    mtime_s: u64,
}

impl Archive {
    /// Begins a tarball. Dropped before it is finished, it leaves nothing; what a killed build left there is removed.
    pub(super) fn create(output: &Path, created_at: Timestamp) -> Result<Archive, ImageError> {
        let folder = match output.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder).map_err(ImageError::io("make the folder", folder))?;
        let file = scratch::building_file(folder).map_err(ImageError::io("write into", folder))?;
        let hashing = Hashing { file, digest: Sha256::new(), bytes: 0 };
        let compressor =
            Compressor::create(output, hashing).map_err(ImageError::io("begin to write", output))?;
        let mut builder = Builder::new(BufWriter::with_capacity(BUFFER_BYTES, compressor));
        builder.sparse(false);
        let mtime_s = u64::try_from(created_at.as_second()).unwrap_or(0);
        Ok(Archive { output: output.to_owned(), builder, mtime_s })
    }

    /// Adds what the image says of itself. First: Incus reads a tarball only so far.
    pub(super) fn metadata(&mut self, metadata: &Metadata) -> Result<(), ImageError> {
        let node = Node { mode: 0o644, owner: 0, kind: Kind::File(metadata.to_yaml().into_bytes()) };
        self.node(Path::new("metadata.yaml"), &node)?;
        let root = Node { mode: 0o755, owner: 0, kind: Kind::Folder };
        self.node(Path::new(ROOTFS), &root)
    }

    /// Adds the files of a tree that are wanted.
    pub(super) fn tree(&mut self, tree: &Tree, is_wanted: impl Fn(&str) -> bool) -> Result<(), ImageError> {
        for (path, node) in tree.iter().filter(|(path, _)| is_wanted(path)) {
            self.node(&Path::new(ROOTFS).join(path), node)?;
        }
        Ok(())
    }

    /// Adds an entry of another tarball, at a path below the root file system. `content` has as much as the header says.
    pub(super) fn foreign(
        &mut self,
        header: &mut Header,
        attributes: &[(String, Vec<u8>)],
        path: &Path,
        link: Option<&Path>,
        content: impl Read,
    ) -> Result<(), ImageError> {
        let failed = ImageError::io("write", &self.output);
        let path = Path::new(ROOTFS).join(path);
        let write = || {
            if !attributes.is_empty() {
                let attributes = attributes.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
                self.builder.append_pax_extensions(attributes)?;
            }
            match link {
                // The name of a hard link's other end is a path of the tarball; a symbolic link's, one of the guest.
                Some(other) if header.entry_type() == EntryType::Link => {
                    self.builder.append_link(header, &path, Path::new(ROOTFS).join(other))
                }
                Some(target) => self.builder.append_link(header, &path, target),
                None => self.builder.append_data(header, &path, content),
            }
        };
        write().map_err(failed)
    }

    /// Completes the tarball and gives it its name.
    pub(super) fn finish(self) -> Result<BuiltImage, ImageError> {
        let Archive { output, builder, .. } = self;
        let written = || -> io::Result<Hashing> {
            let buffer = builder.into_inner()?;
            let hashing = buffer.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?;
            hashing.file.as_file().sync_all()?;
            Ok(hashing)
        };
        let Hashing { file, digest, bytes } = written().map_err(ImageError::io("write", &output))?;
        file.persist(&output).map_err(|error| ImageError::io("rename into place", &output)(error.error))?;
        Ok(BuiltImage { path: output, sha256: hex(&digest.finalize()), bytes })
    }

    fn node(&mut self, path: &Path, node: &Node) -> Result<(), ImageError> {
        let mut header = Header::new_gnu();
        header.set_mode(node.mode);
        header.set_uid(node.owner.into());
        header.set_gid(node.owner.into());
        header.set_mtime(self.mtime_s);
        header.set_size(0);
        let written = match &node.kind {
            Kind::Folder => {
                header.set_entry_type(EntryType::Directory);
                self.builder.append_data(&mut header, path, io::empty())
            }
            Kind::File(content) => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(content.len() as u64);
                self.builder.append_data(&mut header, path, &content[..])
            }
            Kind::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                self.builder.append_link(&mut header, path, target)
            }
        };
        written.map_err(ImageError::io("write", &self.output))
    }
}

enum Compressor {
    None(Hashing),
    Gzip(GzEncoder<Hashing>),
    Zstd(ZstdEncoder<'static, Hashing>),
}

impl Compressor {
    fn create(output: &Path, inner: Hashing) -> io::Result<Compressor> {
        Ok(match output.extension().and_then(|ending| ending.to_str()) {
            Some("gz") => Compressor::Gzip(GzEncoder::new(inner, flate2::Compression::new(GZIP_LEVEL))),
            Some("zst") => Compressor::Zstd(ZstdEncoder::new(inner, ZSTD_LEVEL)?),
            _ => Compressor::None(inner),
        })
    }

    fn finish(self) -> io::Result<Hashing> {
        match self {
            Compressor::None(inner) => Ok(inner),
            Compressor::Gzip(encoder) => encoder.finish(),
            Compressor::Zstd(encoder) => encoder.finish(),
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Compressor::None(inner) => inner,
            Compressor::Gzip(encoder) => encoder,
            Compressor::Zstd(encoder) => encoder,
        }
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }
}

struct Hashing {
    file: NamedTempFile<File>,
    digest: Sha256,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
