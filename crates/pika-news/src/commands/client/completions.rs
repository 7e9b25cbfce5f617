//! `pika-news completions`

use clap_complete::Shell;

use super::{DONE, output};

/// Prints a script that teaches a shell the words of this program.
pub(super) fn print(shell: Shell, mut program: clap::Command) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, "pika-news", &mut script);
    let _ = output::bytes(&script);
    DONE
}
