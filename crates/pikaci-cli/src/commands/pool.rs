//! `pikaci pool fill|drain|show`

use anyhow::anyhow;
use pikaci_engine::executor::incus::pool;
use serde_json::json;

use super::{DONE, session};
use crate::arguments::{Json, PoolCommand};
use crate::config::Config;
use crate::failure::Failure;
use crate::incus;
use crate::output::{Table, print_json, print_line};

/// Looks after the instances that wait for jobs.
pub(crate) fn pool(command: &PoolCommand, config: &Config) -> Result<u8, Failure> {
    let settings = incus::settings(config)?;
    let client = settings.client();
    session::block_on(async {
        match command {
            PoolCommand::Fill => {
                if settings.pools.is_empty() {
                    let usual = config.settings_folder.join("incus.toml");
                    let file = config.incus_settings.as_ref().unwrap_or(&usual).display();
                    return Err(Failure::usage(anyhow!(
                        "no image has a pool; write `pool = {{ size = 2, instance = \"container\" }}` below \
                         `[images.\"pikaci/dev\"]` in {file}"
                    )));
                }
                let mistakes = pool::mistakes(&client, &settings).await.map_err(Failure::infrastructure)?;
                if !mistakes.is_empty() {
                    return Err(Failure::usage(anyhow!(mistakes.join("; "))));
                }
                let filled = pool::fill(&client, &settings).await.map_err(Failure::infrastructure)?;
                print_line(&format!("made {}, dropped {}", filled.made, filled.dropped));
            }
            PoolCommand::Drain => {
                let dropped = pool::drain(&client).await.map_err(Failure::infrastructure)?;
                print_line(&format!("dropped {dropped}"));
            }
            PoolCommand::Show(Json { json }) => {
                let waiting = pool::list(&client).await.map_err(Failure::infrastructure)?;
                if *json {
                    print_json(&json!(waiting));
                } else {
                    let mut table = Table::new(&["instance", "image", "age"]);
                    let is_empty = waiting.is_empty();
                    for one in waiting {
                        let image = one.fingerprint.chars().take(12).collect();
                        table.push(vec![one.instance, image, format!("{} s", one.age_s)]);
                    }
                    let none = "no instance waits; `pikaci pool fill` makes some".to_owned();
                    print_line(&if is_empty { none } else { table.to_string() });
                }
            }
        }
        Ok(DONE)
    })
}
