//! Builds the guest runner as images have it: one static file, small enough to be copied into each of them.
//!
//! Invariant: its flags reach no other build. With a target of its own, cargo keeps its files in a folder of their own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cargo;

/// Tells tests where the static guest runner is.
pub(super) const VARIABLE: &str = "PIKA_GUEST_RUNNER";

const NAME: &str = "pikaci-incus-run";
const PROFILE: &str = "guest";
const STATIC: &str = "-C target-feature=+crt-static";
const BYTES_MAX: u64 = 3 * 512 * 1024;

/// Builds it, and returns where it is once it was seen to be what images need.
pub(super) fn build() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let status =
        cargo::command(&["build", "-p", NAME, "--bin", NAME, "--profile", PROFILE, "--target", &target])
            .env("RUSTFLAGS", STATIC)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .status()
            .context("cannot run cargo")?;
    if !status.success() {
        bail!(
            "the static guest runner does not build; it needs libc.a (on Debian: apt-get install libc6-dev)"
        );
    }
    let program = cargo::target_directory()?.join(target).join(PROFILE).join(NAME);
    check(&program)?;
    Ok(program)
}

/// Makes sure that a program needs nothing but the kernel, and is small.
fn check(program: &Path) -> Result<()> {
    let content = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let interpreters = segment_kinds(&content)
        .with_context(|| format!("{} is no 64-bit little-endian ELF file", program.display()))?
        .into_iter()
        .filter(|kind| *kind == PT_INTERP);
    ensure!(interpreters.count() == 0, "{} is not static: it asks for a dynamic loader", program.display());
    let bytes = content.len() as u64;
    ensure!(bytes < BYTES_MAX, "{} has {bytes} bytes; it must stay below {BYTES_MAX}", program.display());
    Ok(())
}

/// The segment that names the dynamic loader (elf(5)).
const PT_INTERP: u64 = 3;

/// The kinds of an ELF file's segments: `p_type` of each program header (elf(5), `Elf64_Ehdr` and `Elf64_Phdr`).
fn segment_kinds(content: &[u8]) -> Option<Vec<u64>> {
    const CLASS_64_LITTLE_ENDIAN: [u8; 2] = [2, 1];
    if !content.starts_with(b"\x7fELF") || content.get(4..6)? != CLASS_64_LITTLE_ENDIAN {
        return None;
    }
    let number = |offset: u64, size: usize| {
        let start = usize::try_from(offset).ok()?;
        let bytes = content.get(start..start.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    (0..count).map(|index| number(table.checked_add(index * size)?, 4)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PT_LOAD: u8 = 1;

    /// An ELF header, and program headers of these kinds.
    fn elf(kinds: &[u8]) -> Vec<u8> {
        let mut content = vec![0; 64 + kinds.len() * 56];
        content[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (content[32], content[54], content[56]) = (64, 56, kinds.len().try_into().unwrap());
        for (index, kind) in kinds.iter().enumerate() {
            content[64 + index * 56] = *kind;
        }
        content
    }

    fn refusal(content: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        fs::write(&path, content).unwrap();
        check(&path).map_or_else(|error| format!("{error:#}"), |()| "none".to_owned())
    }

    #[test]
    fn a_small_program_without_a_loader_is_what_images_need() {
        assert_eq!(refusal(&elf(&[PT_LOAD, PT_LOAD])), "none");
    }

    #[test]
    fn a_program_with_a_loader_is_refused() {
        assert!(refusal(&elf(&[PT_LOAD, 3])).contains("not static"));
        // These tests themselves are linked as programs usually are.
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(segment_kinds(&own).unwrap().contains(&PT_INTERP));
    }

    #[test]
    fn a_large_program_is_refused_with_both_sizes() {
        let mut content = elf(&[PT_LOAD]);
        content.resize(1_572_864, 0);
        let refusal = refusal(&content);
        assert!(refusal.contains("has 1572864 bytes; it must stay below 1572864"), "{refusal}");
    }

    #[test]
    fn what_is_no_program_or_only_a_part_of_one_is_refused() {
        for content in [b"#!/bin/sh\n".as_slice(), b"\x7fELF", &elf(&[PT_LOAD, PT_LOAD])[..100]] {
            assert!(refusal(content).contains("no 64-bit little-endian ELF"), "{}", refusal(content));
        }
    }
}
