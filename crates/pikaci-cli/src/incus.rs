//! Which Incus jobs run on: the operator's `incus.toml`, else the socket of this host.
//!
//! Invariant: nothing of it comes from the tested repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use incus_client::{Endpoint, HttpsSettings};
use jiff::SignedDuration;
use pikaci::InstanceType;
use pikaci_engine::executor::incus::owner_id;
use pikaci_engine::{IncusSettings, PoolSettings};
use serde::Deserialize;

use crate::config::Config;
use crate::failure::Failure;

/// `incus.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    url: Option<String>,
    client_certificate: Option<PathBuf>,
    client_key: Option<PathBuf>,
    server_certificate: Option<PathBuf>,
    project: Option<String>,
    profile: Option<String>,
    network: Option<String>,
    shares_files: Option<bool>,
    member: Option<String>,
    processes_max: Option<u32>,
    boot_timeout: Option<SignedDuration>,
    #[serde(default)]
    images: BTreeMap<String, Image>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    pool: Option<Pool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pool {
    size: u32,
    instance: Option<InstanceType>,
    cpus: Option<u32>,
    memory: Option<String>,
    max_age: Option<SignedDuration>,
}

/// What the operator says, with the defaults filled in.
pub(crate) fn settings(config: &Config) -> Result<IncusSettings, Failure> {
    let file = match &config.incus_settings {
        Some(path) => read(path)
            .with_context(|| format!("the settings {} can't be used", path.display()))
            .map_err(Failure::usage)?,
        None => (File::default(), PathBuf::new()),
    };
    let owner = owner_id(&config.state)
        .with_context(|| format!("cannot write to the state root {}", config.state.path().display()));
    let (file, folder) = file;
    let owner = owner.map_err(Failure::infrastructure)?;
    let endpoint = endpoint(&file, &folder, config).map_err(Failure::usage)?;
    let state_root = fs::canonicalize(config.state.path()).unwrap_or(config.state.path().to_owned());
    merged(file, endpoint, state_root, owner).map_err(Failure::usage)
}

/// The settings, and the folder that paths in them are relative to.
fn read(path: &Path) -> anyhow::Result<(File, PathBuf)> {
    let text = fs::read_to_string(path)?;
    Ok((toml::from_str(&text)?, path.parent().unwrap_or(Path::new("/")).to_owned()))
}

fn endpoint(file: &File, folder: &Path, config: &Config) -> anyhow::Result<Endpoint> {
    let Some(url) = &file.url else { return Ok(config.incus_socket.clone()) };
    let text = |name: &str, path: &Option<PathBuf>| {
        let Some(path) = path else { bail!("`url` needs `{name}`: the path of a PEM file") };
        let path = folder.join(path);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let settings = HttpsSettings {
        url: url.clone(),
        client_certificate: text("client_certificate", &file.client_certificate)?,
        client_key: text("client_key", &file.client_key)?,
        server_certificate: text("server_certificate", &file.server_certificate)?,
    };
    Ok(settings.endpoint()?)
}

fn merged(
    file: File,
    endpoint: Endpoint,
    state_root: PathBuf,
    owner: String,
) -> anyhow::Result<IncusSettings> {
    let mut settings = IncusSettings::new(endpoint, state_root, owner);
    settings.project = file.project.unwrap_or(settings.project);
    settings.profile = file.profile.unwrap_or(settings.profile);
    settings.network = file.network.unwrap_or(settings.network);
    settings.shares_files = file.shares_files.unwrap_or(settings.shares_files);
    settings.member = file.member;
    settings.processes_max = file.processes_max.unwrap_or(settings.processes_max);
    if let Some(timeout) = file.boot_timeout {
        settings.boot_deadline = positive("boot_timeout", timeout)?;
    }
    for (image, Image { pool }) in file.images {
        let Some(pool) = pool else { continue };
        let mut wanted = PoolSettings { size: pool.size, ..PoolSettings::default() };
        wanted.instance = pool.instance.unwrap_or(wanted.instance);
        wanted.cpus = pool.cpus.unwrap_or(wanted.cpus);
        if let Some(memory) = pool.memory {
            wanted.memory_bytes = pikaci::manifest::parse_size_bytes(&memory)
                .with_context(|| format!("`memory` of the pool of {image}"))?;
        }
        if let Some(age) = pool.max_age {
            wanted.age_max = positive("max_age", age)?;
        }
        settings.pools.insert(image, wanted);
    }
    Ok(settings)
}

fn positive(name: &str, duration: SignedDuration) -> anyhow::Result<Duration> {
    match Duration::try_from(duration) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => bail!("`{name}` takes a duration above 0, such as \"90s\" or \"2h\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> anyhow::Result<IncusSettings> {
        let endpoint = Endpoint::Unix { socket: "/nowhere".into() };
        merged(toml::from_str(text)?, endpoint, "/state".into(), "owner".to_owned())
    }

    #[test]
    fn what_is_not_said_is_as_the_contract_has_it() {
        let settings = parsed("").unwrap();
        assert_eq!((settings.project.as_str(), settings.profile.as_str()), ("pikaci", "pikaci"));
        assert!(settings.shares_files && settings.pools.is_empty());
    }

    #[test]
    fn a_pool_belongs_to_an_image() {
        let text = r#"
            boot_timeout = "90s"
            [images."pikaci/dev"]
            pool = { size = 2, instance = "container", memory = "512MiB", max_age = "2h" }
        "#;
        let settings = parsed(text).unwrap();
        let pool = settings.pools["pikaci/dev"];
        assert_eq!((pool.size, pool.memory_bytes), (2, 512 << 20));
        assert_eq!(pool.age_max, Duration::from_secs(7200));
        assert_eq!(settings.boot_deadline, Duration::from_secs(90));
    }

    #[test]
    fn the_documented_pool_is_one() {
        let page = include_str!("../../../docs/formats/incus.md");
        let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let settings = parsed(example).unwrap();
        let pool = &settings.pools["pikaci/dev"];
        assert_eq!((pool.size, pool.instance), (2, pikaci::InstanceType::Container));
    }

    #[test]
    fn words_that_mean_nothing_are_refused() {
        for text in ["proyect = \"x\"", "[images.a]\npool = { sice = 1 }", "boot_timeout = \"-1s\""] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
