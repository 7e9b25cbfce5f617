//! Where the parts of a virtual machine are on this host.
//!
//! Invariant: a part that is missing is an error with the command that brings it, and a static one is known to be static.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::programs;

/// Where `cargo xtask virtual-machine` puts kernel and virtiofsd, below the target folder.
const FOLDER: &str = "virtual-machine";
const REMEDY: &str = "run `cargo xtask virtual-machine`";

/// In the order that they are loaded in. A kernel may have any of them built in.
const MODULES: [&str; 8] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_console",
    "fuse",
    "virtiofs",
];

/// What a machine is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) qemu: PathBuf,
    pub(super) virtiofsd: PathBuf,
    pub(super) kernel: PathBuf,
    /// In the order that they are loaded in.
    pub(super) modules: Vec<PathBuf>,
    pub(super) busybox: PathBuf,
    pub(super) cpio: PathBuf,
    pub(super) guest_runner: PathBuf,
}

impl Parts {
    pub(super) fn find() -> Result<Parts> {
        let folder = programs::target_folder().join(FOLDER);
        let (kernel, modules) = kernel(&folder.join("kernel"))?;
        let virtiofsd = folder.join("bin/virtiofsd");
        ensure!(virtiofsd.is_file(), "there is no {}; {REMEDY}", virtiofsd.display());
        let busybox = program("busybox", "busybox-static")?;
        ensure!(is_static(&busybox)?, "{} is not static; {}", busybox.display(), install("busybox-static"));
        let guest_runner = programs::guest_runner();
        ensure!(is_static(&guest_runner)?, "{} is not static", guest_runner.display());
        Ok(Parts {
            qemu: program("qemu-system-x86_64", "qemu-system-x86")?,
            virtiofsd,
            kernel,
            modules,
            busybox,
            cpio: program("cpio", "cpio")?,
            guest_runner,
        })
    }
}

fn install(package: &str) -> String {
    format!("run `sudo apt-get install --no-install-recommends {package}`")
}

fn program(name: &str, package: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file());
    found.with_context(|| format!("there is no {name} on the path; {}", install(package)))
}

/// The kernel in an unpacked package, and those of its modules that are to be loaded.
fn kernel(folder: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let mut files = Vec::new();
    list_files(folder, &mut files).with_context(|| format!("there is no kernel; {REMEDY}"))?;
    let named = |is_wanted: &dyn Fn(&str) -> bool| {
        let mut all = files.iter();
        all.find(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(is_wanted)).cloned()
    };
    let Some(kernel) = named(&|name| name.starts_with("vmlinuz-")) else {
        bail!("there is no kernel in {}; remove it and {REMEDY}", folder.display());
    };
    let modules = MODULES.iter().filter_map(|module| {
        let file_name = format!("{module}.ko");
        named(&|name| name == file_name)
    });
    Ok((kernel, modules.collect()))
}

fn list_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list_files(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Whether a 64-bit ELF file asks for no dynamic loader: none of its program headers is a `PT_INTERP` (elf(5)).
fn is_static(path: &Path) -> Result<bool> {
    const PT_INTERP: u32 = 3;
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let number = |at: usize, size: usize| {
        let bytes = bytes.get(at..at + size)?;
        Some(bytes.iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte)))
    };
    let read = || {
        let (first, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        (0..count).map(|index| number(first + index * size, 4)).collect::<Option<Vec<usize>>>()
    };
    ensure!(bytes.starts_with(b"\x7fELF"), "{} is no program", path.display());
    let kinds = read().with_context(|| format!("{} is cut off", path.display()))?;
    Ok(!kinds.contains(&(PT_INTERP as usize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_part_names_the_command_that_brings_it() {
        let nowhere = tempfile::tempdir().unwrap();
        let error = kernel(&nowhere.path().join("kernel")).unwrap_err();
        assert!(format!("{error:#}").contains("cargo xtask virtual-machine"), "{error:#}");
        let error = kernel(nowhere.path()).unwrap_err();
        assert!(format!("{error:#}").contains("cargo xtask virtual-machine"), "{error:#}");
        let error = program("no-such-program", "its-package").unwrap_err();
        assert!(error.to_string().contains("apt-get install --no-install-recommends its-package"), "{error}");
    }

    #[test]
    fn modules_come_in_the_order_that_they_are_loaded_in_and_those_built_in_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("lib/modules/fs")).unwrap();
        for file in ["vmlinuz-6.1", "lib/modules/fs/virtiofs.ko", "lib/modules/fuse.ko", "lib/modules/nfs.ko"]
        {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let (kernel, modules) = kernel(folder.path()).unwrap();
        assert_eq!(kernel, folder.path().join("vmlinuz-6.1"));
        let modules: Vec<_> = modules.iter().map(|module| module.file_name().unwrap()).collect();
        assert_eq!(modules, ["fuse.ko", "virtiofs.ko"]);
    }

    #[test]
    fn a_program_with_a_dynamic_loader_is_told_from_one_without() {
        assert!(!is_static(&env::current_exe().unwrap()).unwrap());
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut header = [0_u8; 64];
        header[..4].copy_from_slice(b"\x7fELF");
        fs::write(file.path(), header).unwrap();
        assert!(is_static(file.path()).unwrap());
        fs::write(file.path(), &header[..50]).unwrap();
        is_static(file.path()).unwrap_err();
        fs::write(file.path(), "#!/bin/sh\n").unwrap();
        is_static(file.path()).unwrap_err();
    }
}
