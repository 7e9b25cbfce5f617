//! `pikaci completions`

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::DONE;
use crate::arguments::Arguments;
use crate::output::print_bytes;

/// Prints a script that teaches a shell the words of this program.
pub(crate) fn completions(shell: Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "pikaci", &mut script);
    let _ = print_bytes(&script);
    DONE
}
