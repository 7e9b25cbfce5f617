//! A project of its own on the real daemon, with a tiny image, for each test.
//!
//! Invariant: nothing of a test is left when its [`World`] is dropped, whether it passed or not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use incus_client::{Client, Config, Error, Filter, ImageImport, NewInstance, NewProfile, NewProject};

const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 12] =
    ["sh", "cat", "dd", "echo", "head", "kill", "mkdir", "mount", "sleep", "true", "wc", "yes"];

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A name that nobody else uses, short enough for a network's interface.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}{:x}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst))
}

/// The daemon's socket.
pub(crate) fn socket() -> PathBuf {
    let folder = std::env::var_os("PIKA_TEST_INCUS_DIR")
        .expect("PIKA_TEST_INCUS_DIR does not name the folder of a test daemon: run `cargo xtask test`");
    Path::new(&folder).join("unix.socket")
}

/// A project, and whatever else bears its name: a pool, a network, a certificate.
pub(crate) struct World {
    /// Looks through the project.
    pub(crate) client: Client,
    pub(crate) project: String,
}

impl World {
    /// An empty project whose profile gives instances a root disk.
    pub(crate) async fn start() -> World {
        World::start_at(&socket()).await
    }

    /// The same on another daemon.
    pub(crate) async fn start_at(socket: &Path) -> World {
        let world = World::empty(socket);
        let project = NewProject { name: world.project.clone(), ..NewProject::default() };
        world.client.create_project(&project).await.unwrap();
        let root = [("type", "disk"), ("path", "/"), ("pool", "default")];
        let root = root.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let devices = [("root".to_owned(), root)].into();
        let profile = NewProfile { name: "default".to_owned(), devices, ..NewProfile::default() };
        world.client.put_profile(&profile).await.unwrap();
        world
    }

    /// Nothing but a name.
    pub(crate) fn empty(socket: &Path) -> World {
        let project = unique("ic-");
        World { client: Client::unix(socket).with_project(&project), project }
    }

    /// Imports an image that is like no other.
    pub(crate) async fn image(&self) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image.tar");
        write_image(&file, &unique("serial-"));
        self.client.import_image(&file, &ImageImport::default()).await.unwrap()
    }

    /// Starts a container.
    pub(crate) async fn container(&self, name: &str) {
        let image = self.image().await;
        self.client.create_instance(&NewInstance::container(name, image).started()).await.unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A runtime of its own, because the test's is in use, and a client of its own, because the test's is bound to that.
        let fresh = Client::new(self.client.endpoint().clone())
            .with_project(&self.project)
            .with_deadline(Duration::from_secs(30));
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(clean(&fresh))
        })
        .join();
        // A second panic would hide the first.
        if !std::thread::panicking() {
            cleaned.unwrap().unwrap();
        }
    }
}

/// Removes the client's project with all that is in it, and what else bears its name.
async fn clean(client: &Client) -> Result<(), Error> {
    let name = client.project();
    for certificate in client.certificates().await?.iter().filter(|known| known.name == name) {
        client.delete_certificate(&certificate.fingerprint).await?;
    }
    let is_there = match client.find_project(name).await {
        Ok(_) => true,
        Err(error) if error.is_not_found() => false,
        Err(error) => return Err(error),
    };
    if is_there {
        for instance in client.instances(&Filter::all()).await? {
            client.destroy_instance(&instance.name).await?;
        }
        for image in client.images().await? {
            client.delete_image(&image.fingerprint).await?;
        }
        for profile in client.profiles().await?.iter().filter(|profile| profile.name != "default") {
            client.delete_profile(&profile.name).await?;
        }
    }
    if client.pools().await?.iter().any(|pool| pool.name == name) {
        for volume in client.volumes(name).await? {
            client.delete_volume(name, &volume.name).await?;
        }
        client.delete_pool(name).await?;
    }
    match client.with_project("default").delete_network(name).await {
        Err(error) if !error.is_not_found() => return Err(error),
        _ => {}
    }
    if is_there { client.delete_project(name).await } else { Ok(()) }
}

/// Writes an image of nothing but busybox.
pub(crate) fn write_image(file: &Path, serial: &str) {
    let mut archive = tar::Builder::new(std::fs::File::create(file).unwrap());
    let header = |kind, mode, length| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(length);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header
    };
    let metadata = format!(
        "architecture: {}\ncreation_date: 1700000000\nproperties:\n  os: busybox\n  serial: {serial}\n",
        std::env::consts::ARCH
    );
    let files = [
        ("metadata.yaml", 0o644, metadata.into_bytes()),
        ("rootfs/bin/busybox", 0o755, std::fs::read(BUSYBOX).expect("the package busybox-static")),
        ("rootfs/etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n".to_vec()),
        ("rootfs/etc/group", 0o644, b"root:x:0:\n".to_vec()),
        ("rootfs/etc/inittab", 0o644, b"::sysinit:/bin/true\n".to_vec()),
    ];
    for (path, mode, content) in files {
        let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
        archive.append_data(&mut header, path, content.as_slice()).unwrap();
    }
    for folder in ["dev", "proc", "sys", "root", "run", "tmp", "sbin", "mnt"] {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        archive.append_data(&mut header, format!("rootfs/{folder}"), std::io::empty()).unwrap();
    }
    let applets = APPLETS.map(|name| format!("rootfs/bin/{name}"));
    for link in applets.iter().map(String::as_str).chain(["rootfs/sbin/init"]) {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        archive.append_link(&mut header, link, BUSYBOX).unwrap();
    }
    archive.into_inner().unwrap();
}

/// Keys of a configuration.
pub(crate) fn config<const N: usize>(keys: [(&str, &str); N]) -> Config {
    BTreeMap::from(keys.map(|(name, value)| (name.to_owned(), value.to_owned())))
}
