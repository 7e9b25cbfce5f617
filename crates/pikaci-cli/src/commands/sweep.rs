//! `pikaci sweep`

use super::DONE;
use crate::config::Config;
use crate::failure::{Failure, INFRASTRUCTURE};
use crate::output::{plain, print_line};

/// Writes down the end of every run whose process is gone. One that cannot be finished does not stop the others.
pub(crate) fn sweep(config: &Config) -> Result<u8, Failure> {
    let swept = pikaci_engine::sweep(&config.state)?;
    let mut code = DONE;
    if swept.is_empty() {
        print_line("nothing to sweep");
    }
    for run in swept {
        match run.outcome {
            Ok(outcome) => print_line(&format!("run {}: {}", run.run, plain(outcome.as_str()))),
            Err(error) => {
                code = INFRASTRUCTURE;
                let error = anyhow::Error::new(error);
                print_line(&format!("run {}: cannot be finished: {}", run.run, plain(&format!("{error:#}"))));
            }
        }
    }
    Ok(code)
}
