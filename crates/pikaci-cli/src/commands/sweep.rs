//! `pikaci sweep`

use pikaci_engine::executor::incus;

use super::{DONE, resume, session};
use crate::config::Config;
use crate::failure::{Failure, INFRASTRUCTURE};
use crate::incus as operator;
use crate::output::{plain, print_line};

/// Takes up every run whose guests may live on, writes down the end of every other run whose process is gone, and deletes
/// the instances that nobody waits for. One that cannot be dealt with does not stop the others.
pub(crate) fn sweep(config: &Config) -> Result<u8, Failure> {
    let mut code = DONE;
    let mut has_said = false;
    let mut say = |text: String| {
        has_said = true;
        print_line(&text);
    };
    for run in resume::take_up_all(config) {
        say(format!("run {run}: taken up"));
    }
    for run in pikaci_engine::sweep(&config.state)? {
        match run.outcome {
            Ok(outcome) => say(format!("run {}: {}", run.run, plain(outcome.as_str()))),
            Err(error) => {
                code = INFRASTRUCTURE;
                let error = anyhow::Error::new(error);
                say(format!("run {}: cannot be finished: {}", run.run, plain(&format!("{error:#}"))));
            }
        }
    }
    if uses_incus(config) {
        let settings = operator::settings(config)?;
        let swept = session::block_on(async {
            let swept = incus::sweep(&settings.client(), &settings, &config.state).await;
            swept.map_err(|error| {
                let context = "cannot look for instances that nobody waits for";
                Failure::infrastructure(anyhow::Error::new(error).context(context))
            })
        })?;
        for orphan in swept {
            match orphan.deleted {
                Ok(()) => say(format!("instance {}: deleted, {}", orphan.instance, orphan.reason)),
                Err(error) => {
                    code = INFRASTRUCTURE;
                    let error = anyhow::Error::new(error);
                    say(format!(
                        "instance {}: cannot be deleted: {}",
                        orphan.instance,
                        plain(&format!("{error:#}"))
                    ));
                }
            }
        }
    }
    if !has_said {
        print_line("nothing to sweep");
    }
    Ok(code)
}

/// Whether this state root ever had instances, or the operator means it to.
fn uses_incus(config: &Config) -> bool {
    config.incus_settings.is_some()
        || config.executor == crate::arguments::Executor::Incus
        || config.state.path().join("owner-id").exists()
}
