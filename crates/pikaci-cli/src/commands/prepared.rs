//! `pikaci prepared list|show|rm|gc`

use std::fs;

use anyhow::anyhow;
use pikaci::Provider;
use pikaci_engine::prepared::{Kept, PreparedBudget, Store, Tombstone, UseError, evict};
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
        let when = if kept.provider == Provider::Nix { ", which Nix frees when it collects" } else { "" };
        print_line(&format!(
            "{verb} prepared output {} {}, {}{when}: {rule}",
            plain(&kept.name),
            short(kept),
            size(*bytes)
        ));
    }
    for (kept, reason) in eviction.spared.iter().chain(&eviction.stuck) {
        print_line(&format!("kept prepared output {} {}: {}", plain(&kept.name), short(kept), plain(reason)));
    }
    if eviction.failures > 0 {
        print_line(&format!("{verb} what was kept of {} builds that failed", eviction.failures));
    }
    if eviction.leftovers > 0 {
        print_line(&format!("{verb} {} leftovers of prepared outputs", eviction.leftovers));
    }
    let ours = eviction.removed.iter().filter(|(kept, _, _)| kept.provider == Provider::Command);
    let bytes = ours.map(|(_, bytes, _)| bytes).sum();
    // What is in use stays: that is as it should be.
    Ok((bytes, if eviction.stuck.is_empty() { DONE } else { INFRASTRUCTURE }))
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
    let failures = failures(store, text);
    let graves = graves(store, text);
    if kept.is_empty() && failures.is_empty() && graves.is_empty() {
        return Err(unknown(text));
    }
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
    for (name, key) in &failures {
        print_line(&format!("{} {key} could not be built. Its log:", plain(name)));
        let log = store.log(key).map(fs::read).transpose();
        let log =
            log.map_err(|error| Failure::infrastructure(anyhow::Error::new(error)))?.unwrap_or_default();
        for line in String::from_utf8_lossy(&log).lines() {
            print_line(&format!("  {}", plain(line)));
        }
    }
    for grave in &graves {
        let key = &grave.key.as_str()[..KEY_DIGITS_SHOWN];
        print_line(&format!(
            "{} {key} was evicted at {:.0} by rule {:?}",
            plain(&grave.name),
            grave.evicted_at,
            grave.rule
        ));
    }
    Ok(DONE)
}

fn graves(store: &Store, text: &str) -> Vec<Tombstone> {
    let mut graves = store.tombstones();
    graves.retain(|grave| grave.name == text || (text.len() >= 6 && grave.key.as_str().starts_with(text)));
    graves
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
