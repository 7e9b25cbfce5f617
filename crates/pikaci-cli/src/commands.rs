//! One file for each command.
//!
//! Invariant: a command returns the exit code; it never ends the program.

mod cancel;
mod completions;
mod doctor;
mod gc;
mod image;
mod init;
mod init_incus;
mod list;
mod logs;
mod pool;
mod prepared;
mod prepared_outputs;
mod rerun;
mod resume;
mod run;
mod secrets;
mod session;
mod status;
mod sweep;
mod why;

use crate::arguments::Command;
use crate::config::Config;
use crate::failure::Failure;

/// The exit code of a command that did what it was asked to.
const DONE: u8 = 0;

/// Does what was asked for. Returns the exit code.
pub(crate) fn perform(command: Command, config: &Config) -> Result<u8, Failure> {
    match command {
        Command::Run(arguments) => run::run(arguments, config),
        Command::Rerun(arguments) => rerun::rerun(&arguments, config),
        Command::Init => init::init(config),
        Command::List(format) => list::list(format.json, config),
        Command::Status(arguments) => status::status(&arguments, config),
        Command::Logs(arguments) => logs::logs(&arguments, config),
        Command::Why(arguments) => why::why(&arguments, config),
        Command::Cancel { run } => cancel::cancel(&run, config),
        Command::Prepared(command) => prepared::prepared(&command, config),
        Command::PreparedOutputs(arguments) => prepared_outputs::prepared_outputs(&arguments, config),
        Command::Sweep => sweep::sweep(config),
        Command::Resume(arguments) => resume::resume(&arguments, config),
        Command::Image(command) => image::image(&command, config),
        Command::Pool(command) => pool::pool(&command, config),
        Command::InitIncus(arguments) => init_incus::init_incus(&arguments, config),
        Command::Doctor(arguments) => doctor::doctor(&arguments, config),
        Command::Gc(arguments) => gc::gc(&arguments, config),
        Command::Completions { shell } => Ok(completions::completions(shell)),
    }
}
