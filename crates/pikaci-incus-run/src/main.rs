//! The binary that images have at `/run/current-system/sw/bin/pikaci-incus-run`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    ExitCode::from(pikaci_incus_run::main(&[], arguments, &|name| std::env::var_os(name)))
}
