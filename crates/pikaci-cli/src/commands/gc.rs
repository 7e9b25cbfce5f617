//! `pikaci gc`

use jiff::{SignedDuration, Timestamp};
use pikaci_engine::gc::{Budget, collect};
use pikaci_engine::prepared::PreparedBudget;

use super::prepared;
use crate::arguments::GcArguments;
use crate::config::Config;
use crate::failure::{Failure, INFRASTRUCTURE};
use crate::output::{plain, print_line, size};

/// Removes what is not needed, and says what and why.
pub(crate) fn gc(arguments: &GcArguments, config: &Config) -> Result<u8, Failure> {
    let not_before = arguments
        .max_age_days
        .and_then(|days| Timestamp::now().checked_sub(SignedDuration::from_hours(i64::from(days) * 24)).ok());
    let budget = Budget {
        bytes_max: arguments.max_size,
        snapshot_bytes_max: arguments.max_snapshots_size.unwrap_or(u64::MAX),
        log_bytes_max: arguments.max_logs_size.unwrap_or(u64::MAX),
        artifact_bytes_max: arguments.max_artifacts_size.unwrap_or(u64::MAX),
        not_before,
        runs_min: arguments.keep,
    };
    let collected = collect(&config.state, &budget, arguments.dry_run)?;
    let (verb, sum) = if arguments.dry_run { ("would remove", "would free") } else { ("removed", "freed") };
    for removal in &collected.removed {
        let what = plain(&removal.what.to_string());
        print_line(&format!("{verb} {what}, {}: {}", size(removal.bytes), removal.reason));
    }
    for (removal, reason) in &collected.spared {
        print_line(&format!("kept {}: {}", plain(&removal.what.to_string()), plain(reason)));
    }
    let bytes: u64 = collected.removed.iter().map(|removal| removal.bytes).sum();
    let budget = PreparedBudget { bytes_max: arguments.max_prepared_size, runs_min: arguments.keep };
    let (prepared_bytes, code) = prepared::collect(config, &budget, arguments.dry_run)?;
    print_line(&format!("{sum} {}", size(bytes + prepared_bytes)));
    Ok(if collected.spared.is_empty() { code } else { INFRASTRUCTURE })
}
