//! `pikaci prepared list|show|rm|gc`

use std::fs;

use anyhow::anyhow;
use pikaci_engine::prepared::{Kept, PreparedBudget, Store, UseError, evict};
use serde_json::json;

use super::DONE;
use crate::arguments::{Json, PreparedCommand};
use crate::config::Config;
use crate::failure::{Failure, INFRASTRUCTURE};
use crate::output::{Table, plain, print_json, print_line, size};

const KEY_DIGITS_SHOWN: usize = 12;

/// Looks after the prepared outputs of the state root.
pub(crate) fn prepared(command: &PreparedCommand, config: &Config) -> Result<u8, Failure> {
    let store = Store::new(&config.state);
    match command {
        PreparedCommand::List(Json { json }) => {
            list(&store, *json);
            Ok(DONE)
        }
        PreparedCommand::Show { output, format } => show(&store, output, format.json),
        PreparedCommand::Rm { outputs } => remove(&store, outputs),
        PreparedCommand::Gc(arguments) => {
            let budget = PreparedBudget { bytes_max: arguments.max_size, runs_min: arguments.keep };
            collect(config, &budget, arguments.dry_run).map(|(_, code)| code)
        }
    }
}

/// Evicts, and says what and why. Returns the bytes and the exit code.
pub(super) fn collect(config: &Config, budget: &PreparedBudget, is_dry: bool) -> Result<(u64, u8), Failure> {
    let eviction = evict(&config.state, budget, is_dry)?;
    let verb = if is_dry { "would remove" } else { "removed" };
    for (kept, bytes, rule) in &eviction.removed {
        print_line(&format!(
            "{verb} prepared output {} {}, {}: {rule}",
            plain(&kept.name),
            short(kept),
            size(*bytes)
        ));
    }
    for (kept, reason) in &eviction.spared {
        print_line(&format!("kept prepared output {} {}: {}", plain(&kept.name), short(kept), plain(reason)));
    }
    if eviction.leftovers > 0 {
        print_line(&format!("{verb} {} half-made prepared outputs", eviction.leftovers));
    }
    let bytes = eviction.removed.iter().map(|(_, bytes, _)| bytes).sum();
    Ok((bytes, if eviction.spared.is_empty() { DONE } else { INFRASTRUCTURE }))
}

fn short(kept: &Kept) -> &str {
    &kept.key.as_str()[..KEY_DIGITS_SHOWN]
}

fn list(store: &Store, is_json: bool) {
    let kept = store.list();
    if is_json {
        return print_json(&json!(kept));
    }
    let mut table = Table::new(&["name", "key", "provider", "size", "made", "by run"]);
    let failures = store.failures();
    if kept.is_empty() && failures.is_empty() {
        return print_line("nothing is kept; the first run that needs an output has it built");
    }
    for one in &kept {
        table.push(vec![
            plain(&one.name),
            short(one).to_owned(),
            one.provider.as_str().to_owned(),
            size(one.closure_bytes),
            format!("{:.0}", one.made_at),
            one.run_id.to_string(),
        ]);
    }
    if !kept.is_empty() {
        print_line(&table.to_string());
    }
    for (name, key) in failures {
        let key = &key.as_str()[..KEY_DIGITS_SHOWN];
        print_line(&format!(
            "{} {key} could not be built; `pikaci prepared show {key}` shows why",
            plain(&name)
        ));
    }
}

fn show(store: &Store, text: &str, is_json: bool) -> Result<u8, Failure> {
    let kept = store.named(text);
    if is_json {
        print_json(&json!(kept));
        return Ok(DONE);
    }
    for one in &kept {
        print_line(&format!("{} {}", plain(&one.name), one.key));
        print_line(&format!("  provider  {}", one.provider.as_str()));
        print_line(&format!("  path      {}", plain(&one.realised_path.display().to_string())));
        print_line(&format!("  size      {}", size(one.closure_bytes)));
        print_line(&format!("  made      {:.0}, in {} ms, by run {}", one.made_at, one.build_ms, one.run_id));
        for store_path in &one.closure {
            print_line(&format!("  refers to {}", plain(&store_path.path.display().to_string())));
        }
        for line in [&one.contract_id, &one.warning].into_iter().flatten() {
            print_line(&format!("  {}", plain(line)));
        }
        if let Some(log) = store.log(&one.key) {
            print_line(&format!("  log       {}", plain(&log.display().to_string())));
        }
    }
    let failures = failures(store, text);
    for (name, key) in &failures {
        print_line(&format!("{} {key} could not be built. Its log:", plain(name)));
        let log = store.log(key).map(fs::read).transpose();
        let log =
            log.map_err(|error| Failure::infrastructure(anyhow::Error::new(error)))?.unwrap_or_default();
        for line in String::from_utf8_lossy(&log).lines() {
            print_line(&format!("  {}", plain(line)));
        }
    }
    let graves = store.tombstones();
    let graves: Vec<_> =
        graves.iter().filter(|grave| grave.name == text || grave.key.as_str().starts_with(text)).collect();
    for grave in &graves {
        let key = &grave.key.as_str()[..KEY_DIGITS_SHOWN];
        print_line(&format!(
            "{} {key} was evicted at {:.0} by rule {:?}",
            plain(&grave.name),
            grave.evicted_at,
            grave.rule
        ));
    }
    if kept.is_empty() && failures.is_empty() && graves.is_empty() {
        return Err(unknown(text));
    }
    Ok(DONE)
}

fn failures(store: &Store, text: &str) -> Vec<(String, pikaci::Digest)> {
    let mut failures = store.failures();
    failures.retain(|(name, key)| name == text || (text.len() >= 6 && key.as_str().starts_with(text)));
    failures
}

fn remove(store: &Store, outputs: &[String]) -> Result<u8, Failure> {
    let mut code = DONE;
    for text in outputs {
        let kept = store.named(text).into_iter().map(|kept| (kept.name, kept.key));
        let meant: Vec<_> = kept.chain(failures(store, text)).collect();
        if meant.is_empty() {
            return Err(unknown(text));
        }
        for (name, key) in meant {
            match store.remove(&key, "asked for") {
                Ok(bytes) => {
                    print_line(&format!("removed {} {:.12}, {}", plain(&name), key.as_str(), size(bytes)));
                }
                Err(error @ (UseError::Locked { .. } | UseError::Interrupted { .. })) => {
                    print_line(&format!("kept {}: {error}", plain(&name)));
                    code = INFRASTRUCTURE;
                }
                Err(error) => return Err(Failure::infrastructure(error)),
            }
        }
    }
    Ok(code)
}

fn unknown(text: &str) -> Failure {
    Failure::usage(anyhow!(
        "there is no prepared output {text:?}; `pikaci prepared list` shows what there is"
    ))
}
