//! What the end-to-end tests boot a virtual machine with, beside packages: a kernel of Debian's, which is unpacked and
//! never installed, and virtiofsd, which Debian 12 does not have as a package.
//!
//! Invariant: what is in the folder under its own name is whole; what is there is neither fetched nor built again.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::requirements::{apt, root_prefix};
use crate::cargo;

/// Below the target folder; the tests look here.
const FOLDER: &str = "virtual-machine";
/// Depends on the newest kernel that is meant for virtual machines.
const KERNEL_META_PACKAGE: &str = "linux-image-cloud-amd64";
const VIRTIOFSD_VERSION: &str = "1.14.0";

/// Fetches and builds what is missing.
pub(super) fn prepare() -> Result<()> {
    let folder = cargo::target_directory()?.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    if !folder.join("kernel").exists() {
        fetch_kernel(&folder).context("no kernel for the virtual machine")?;
    }
    if !folder.join("bin/virtiofsd").exists() {
        build_virtiofsd(&folder).context("no virtiofsd for the virtual machine")?;
    }
    Ok(())
}

fn fetch_kernel(folder: &Path) -> Result<()> {
    if download_kernel(folder).is_err() {
        // The lists of packages may be missing, or name a kernel that has been replaced since.
        let Some(prefix) = root_prefix() else {
            bail!("run `sudo apt-get update`, then `cargo xtask virtual-machine`");
        };
        apt(prefix, &["update", "--quiet"])?;
        download_kernel(folder)?;
    }
    let archive = folder.join("kernel.deb");
    let unpacked = folder.join("kernel.new");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).context("cannot remove a kernel that was not unpacked to its end")?;
    }
    let status = Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&unpacked).status();
    if !status.context("cannot run dpkg-deb")?.success() {
        bail!("dpkg-deb cannot unpack {}", archive.display());
    }
    fs::rename(&unpacked, folder.join("kernel")).context("cannot rename the kernel's folder")?;
    fs::remove_file(&archive).context("cannot remove the kernel's archive")
}

/// Leaves the package of the kernel as `kernel.deb`.
fn download_kernel(folder: &Path) -> Result<()> {
    let output = Command::new("apt-cache")
        .args(["depends", KERNEL_META_PACKAGE])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run apt-cache: only Debian's packages are known to bring a kernel")?;
    let depends = String::from_utf8_lossy(&output.stdout);
    let package = kernel_package(&depends)
        .with_context(|| format!("apt knows no kernel that {KERNEL_META_PACKAGE} depends on"))?;
    // `apt-get download` names the file after the version; a folder of its own makes it the only one.
    let download = tempfile::tempdir_in(folder).context("cannot create a folder")?;
    eprintln!("fetching {package}");
    let status = Command::new("apt-get")
        .args(["-o", "Acquire::Retries=3", "-o", "Acquire::http::Timeout=30", "download", "--quiet", package])
        .current_dir(download.path())
        .stdin(Stdio::null())
        .status()
        .context("cannot run apt-get")?;
    let file = fs::read_dir(download.path())?.next().transpose()?;
    match file {
        Some(file) if status.success() => Ok(fs::rename(file.path(), folder.join("kernel.deb"))?),
        _ => bail!("`apt-get download {package}` failed"),
    }
}

/// The package that the meta package stands for, in what `apt-cache depends` prints.
fn kernel_package(depends: &str) -> Option<&str> {
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.map(str::trim).find(|name| name.starts_with("linux-image-"))
}

/// A build folder of its own, removed afterwards: nothing else uses these dependencies.
fn build_virtiofsd(folder: &Path) -> Result<()> {
    let build = folder.join("build");
    let status = cargo::command(&["install", "virtiofsd", "--locked", "--no-track", "--quiet"])
        .args(["--version", VIRTIOFSD_VERSION])
        .arg("--root")
        .arg(folder)
        .env("CARGO_TARGET_DIR", &build)
        // It serves a few files: what counts is how soon it is there.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .status()
        .context("cannot run `cargo install`")?;
    if !status.success() {
        bail!("`cargo install virtiofsd` failed; it needs libcap-ng-dev and libseccomp-dev");
    }
    fs::remove_dir_all(&build).context("cannot remove what virtiofsd was built with")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_the_one_that_the_meta_package_depends_on() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(kernel_package(depends), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(kernel_package("linux-image-cloud-amd64\n"), None);
        assert_eq!(kernel_package("linux-image-cloud-amd64\n  Depends: linux-base\n"), None);
    }
}
