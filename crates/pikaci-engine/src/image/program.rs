//! Programs that go into an image: they must run there, where none of this machine's libraries is.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};

/// A guest runner has less than two megabytes.
const BYTES_MAX: u64 = 64 << 20;

/// A program that needs nothing but a kernel.
pub(super) struct Program {
    pub(super) content: Vec<u8>,
    pub(super) architecture: Architecture,
}

/// What machines a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    X86_64,
    Aarch64,
}

impl Architecture {
    /// The kernel's and Incus's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Architecture::X86_64 => "x86_64",
            Architecture::Aarch64 => "aarch64",
        }
    }

    /// Debian's name.
    pub(super) fn debian_name(self) -> &'static str {
        match self {
            Architecture::X86_64 => "amd64",
            Architecture::Aarch64 => "arm64",
        }
    }
}

/// Why a program can't go into an image.
#[derive(Debug, thiserror::Error)]
pub enum ProgramProblem {
    /// There is no such file.
    #[error("does not exist")]
    Missing,
    /// It can't be read.
    #[error("can't be read: {0}")]
    Unreadable(io::Error),
    /// Far larger than any such program.
    #[error("is larger than {} MiB", BYTES_MAX >> 20)]
    TooLarge,
    /// A script, or another machine's.
    #[error("is no program for x86_64 or aarch64")]
    Foreign,
    /// It asks for an interpreter, which no image need have.
    #[error("is not static: it needs {interpreter}")]
    Dynamic {
        /// The program that would load it.
        interpreter: String,
    },
    /// It can't do what an image needs.
    #[error("has no {command}")]
    Poor {
        /// The command that it lacks.
        command: &'static str,
    },
    /// All of an image's programs are for one kind of machine.
    #[error("is not for {machine}, as the guest runner is")]
    Other {
        /// What the guest runner is for.
        machine: &'static str,
    },
}

impl Program {
    /// Reads a program and makes sure that it is static.
    pub(super) fn read(path: &Path) -> Result<Program, ProgramProblem> {
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ProgramProblem::Missing,
            _ => ProgramProblem::Unreadable(error),
        })?;
        let mut content = Vec::new();
        file.take(BYTES_MAX + 1).read_to_end(&mut content).map_err(ProgramProblem::Unreadable)?;
        if content.len() as u64 > BYTES_MAX {
            return Err(ProgramProblem::TooLarge);
        }
        let architecture = examine(&content)?;
        Ok(Program { content, architecture })
    }
}

fn examine(content: &[u8]) -> Result<Architecture, ProgramProblem> {
    let foreign = |_| ProgramProblem::Foreign;
    let header = elf::FileHeader64::<Endianness>::parse(content).map_err(foreign)?;
    let endian = header.endian().map_err(foreign)?;
    let architecture = match header.e_machine(endian) {
        elf::EM_X86_64 => Architecture::X86_64,
        elf::EM_AARCH64 => Architecture::Aarch64,
        _ => return Err(ProgramProblem::Foreign),
    };
    // A library has no interpreter either, and no entry.
    if header.e_entry(endian) == 0 || !matches!(header.e_type(endian), elf::ET_EXEC | elf::ET_DYN) {
        return Err(ProgramProblem::Foreign);
    }
    for segment in header.program_headers(endian, content).map_err(foreign)? {
        if let Some(interpreter) = segment.interpreter(endian, content).map_err(foreign)? {
            return Err(ProgramProblem::Dynamic {
                interpreter: String::from_utf8_lossy(interpreter).into_owned(),
            });
        }
    }
    Ok(architecture)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(content: &[u8]) -> String {
        examine(content).unwrap_err().to_string()
    }

    #[test]
    fn a_program_that_needs_a_loader_is_refused_by_the_loaders_name() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(problem(&own).starts_with("is not static: it needs /lib"), "{}", problem(&own));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(problem(b"#!/bin/sh\n").starts_with("is no program"));
        assert!(problem(b"").starts_with("is no program"));
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(problem(&own[..200]).starts_with("is no program"), "a file that was cut off");
    }
}
