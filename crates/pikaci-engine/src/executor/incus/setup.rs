//! Makes what jobs need on a server: project, profile, network. Asked again, it changes only what is missing.

use std::collections::BTreeMap;

use incus_client::{
    Client, Config, Devices, Error, NewCertificate, NewNetwork, NewPool, NewProfile, NewProject,
    fingerprint_of_certificate,
};

use super::{IncusSettings, described};

/// The addresses that are tried for the network. Where Incus finds no free one by itself, it takes what it is told.
const ADDRESSES: [&str; 2] = ["auto", "10.177.94.1/24"];

/// What is wanted beyond the settings.
#[derive(Clone, Debug, Default)]
pub struct SetUp {
    /// The storage pool of the profile's root disk; `None`: the first that there is, or a new one of the kind `dir`.
    pub pool: Option<String>,
    /// Size of the root disk, such as `20GiB`.
    pub disk: Option<String>,
    /// The most instances at once.
    pub instances_max: Option<u32>,
    /// Folders of this host that may be shared with instances by a restricted client: the state roots.
    pub shared_folders: Vec<String>,
    /// Whether jobs with a network may reach beyond this host.
    pub has_egress: bool,
    /// A client certificate, in PEM form, that may use the project and nothing else.
    pub certificate: Option<String>,
}

/// One thing that was done, or was found done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is about, such as `project pikaci`.
    pub what: String,
    /// What was done.
    pub deed: Deed,
}

/// What was done about something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It was there as it should be.
    Kept,
    /// It was made.
    Made,
    /// It was there, and keys of it were set.
    Changed(Vec<String>),
    /// It can't be had, and the rest works without it. Holds the reason.
    LeftOut(String),
}

/// Why the set-up stopped.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The server refused.
    #[error("cannot set up {what}")]
    Incus {
        /// What was being set up.
        what: String,
        /// What the server said.
        source: Error,
    },
    /// The certificate can't be read.
    #[error(transparent)]
    Certificate(#[from] incus_client::TlsError),
}

/// Sets up the project of the settings. `tell` hears of each step as it is done.
///
/// Needs full rights on the server: run it where the socket is.
pub async fn set_up(
    settings: &IncusSettings,
    wanted: &SetUp,
    tell: &mut (dyn FnMut(&Step) + Send),
) -> Result<(), SetUpError> {
    let client = settings.client();
    let mut told = |what: String, deed: Deed| tell(&Step { what, deed });
    let about = |what: &str| {
        let what = what.to_owned();
        move |source| SetUpError::Incus { what, source }
    };

    let pool = pool(&client, wanted.pool.as_deref(), &mut told).await.map_err(about("the storage pool"))?;
    let what = format!("network {}", settings.network);
    // In the default project: the pikaci project has none of its own, and its restricted clients may only use this one.
    let deed = network(&client.with_project("default"), settings, wanted).await.map_err(about(&what))?;
    told(what, deed);
    let what = format!("project {}", settings.project);
    let deed = project(&client, settings, wanted).await.map_err(about(&what))?;
    told(what, deed);
    let what = format!("profile {}", settings.profile);
    let deed = profile(&client, settings, wanted, &pool).await.map_err(about(&what))?;
    told(what, deed);
    if let Some(pem) = &wanted.certificate {
        let fingerprint = fingerprint_of_certificate(pem)?;
        let what = format!("certificate {}", &fingerprint[..12]);
        let deed = certificate(&client, settings, pem, &fingerprint).await.map_err(about(&what))?;
        told(what, deed);
    }
    Ok(())
}

async fn pool(
    client: &Client,
    wanted: Option<&str>,
    told: &mut impl FnMut(String, Deed),
) -> Result<String, Error> {
    let pools = client.pools().await?;
    let found = match wanted {
        Some(name) => pools.iter().find(|pool| pool.name == name),
        None => pools.iter().find(|pool| pool.name == "default").or(pools.first()),
    };
    if let Some(pool) = found {
        told(format!("storage pool {} ({})", pool.name, pool.driver), Deed::Kept);
        return Ok(pool.name.clone());
    }
    let name = wanted.unwrap_or("default").to_owned();
    let pool = NewPool { name: name.clone(), driver: "dir".to_owned(), config: Config::new() };
    client.create_pool(&pool).await?;
    told(format!("storage pool {name} (dir)"), Deed::Made);
    Ok(name)
}

/// A bridge that leads to this host and no further, unless the operator says so.
async fn network(client: &Client, settings: &IncusSettings, wanted: &SetUp) -> Result<Deed, Error> {
    let egress = if wanted.has_egress { "true" } else { "false" };
    let config = keys(&[("ipv4.nat", egress), ("ipv4.routing", egress), ("ipv6.address", "none")]);
    match client.network(&settings.network).await {
        // The host's own: what pikaci would set there is not its to set.
        Ok(found) if !found.managed => Ok(Deed::LeftOut(
            "the host has an interface of that name that is not Incus' own; say another `network` in incus.toml, or do without"
                .to_owned(),
        )),
        Ok(found) => {
            let changed = differing(&config, &found.config);
            if !changed.is_empty() {
                client.patch_network(&settings.network, &changed).await?;
            }
            Ok(deed(changed))
        }
        Err(Error::NotFound { .. }) => {
            let mut network = NewNetwork {
                name: settings.network.clone(),
                kind: "bridge".to_owned(),
                config,
                description: "for pikaci jobs that ask for a network".to_owned(),
            };
            let mut last = None;
            for address in ADDRESSES {
                network.config.insert("ipv4.address".to_owned(), address.to_owned());
                match client.create_network(&network).await {
                    Ok(()) => return Ok(Deed::Made),
                    Err(error) => last = Some(error),
                }
            }
            // Jobs without a network need none.
            let reason = last.map(|error| described(&error)).unwrap_or_default();
            Ok(Deed::LeftOut(format!("{reason}; jobs with `network = true` are refused until there is one")))
        }
        Err(error) => Err(error),
    }
}

async fn project(client: &Client, settings: &IncusSettings, wanted: &SetUp) -> Result<Deed, Error> {
    let mut config = keys(&[
        ("restricted", "true"),
        ("restricted.devices.disk", "allow"),
        ("restricted.devices.nic", "allow"),
        ("restricted.networks.access", &settings.network),
        ("restricted.containers.privilege", "unprivileged"),
        ("restricted.containers.nesting", "block"),
    ]);
    config.insert("restricted.devices.disk.paths".to_owned(), wanted.shared_folders.join(","));
    if let Some(max) = wanted.instances_max {
        config.insert("limits.instances".to_owned(), max.to_string());
    }
    match client.find_project(&settings.project).await {
        Ok(found) => {
            let known = &found.value.config;
            if wanted.shared_folders.is_empty() {
                config.remove("restricted.devices.disk.paths");
            } else if let Some(paths) = known.get("restricted.devices.disk.paths") {
                // Another state root may be served by the same project.
                let mut all: Vec<&str> = paths.split(',').filter(|path| !path.is_empty()).collect();
                all.extend(
                    wanted
                        .shared_folders
                        .iter()
                        .map(String::as_str)
                        .filter(|path| !paths.split(',').any(|known| known == *path)),
                );
                config.insert("restricted.devices.disk.paths".to_owned(), all.join(","));
            }
            let changed = differing(&config, known);
            if !changed.is_empty() {
                client.patch_project(&settings.project, &changed).await?;
            }
            Ok(deed(changed))
        }
        Err(Error::NotFound { .. }) => {
            config.extend(keys(&[
                ("features.images", "true"),
                ("features.profiles", "true"),
                ("features.storage.volumes", "true"),
                ("features.networks", "false"),
            ]));
            let description = "pikaci jobs".to_owned();
            let project = NewProject { name: settings.project.clone(), config, description };
            client.create_project(&project).await.map(|()| Deed::Made)
        }
        Err(error) => Err(error),
    }
}

async fn profile(
    client: &Client,
    settings: &IncusSettings,
    wanted: &SetUp,
    pool: &str,
) -> Result<Deed, Error> {
    let mut root = keys(&[("type", "disk"), ("path", "/"), ("pool", pool)]);
    if let Some(size) = &wanted.disk {
        root.insert("size".to_owned(), size.clone());
    }
    // No network: a job that asks for one gets it as a device of its own.
    let devices = Devices::from([("root".to_owned(), root.clone())]);
    let mut new = NewProfile {
        name: settings.profile.clone(),
        config: Config::new(),
        devices,
        description: "pikaci jobs".to_owned(),
    };
    match client.profile(&settings.profile).await {
        Ok(found) => {
            let known = found.value;
            let has_root = |keys: &BTreeMap<String, String>| keys.get("path").is_some_and(|path| path == "/");
            let is_right = known
                .devices
                .values()
                .any(|keys| has_root(keys) && root.iter().all(|(name, value)| keys.get(name) == Some(value)));
            let has_network =
                known.devices.values().any(|keys| keys.get("type").is_some_and(|kind| kind == "nic"));
            if is_right && !has_network {
                return Ok(Deed::Kept);
            }
            new.config = known.config;
            client.put_profile(&new).await?;
            let mut changed = vec!["devices.root".to_owned()];
            if has_network {
                changed.push("its network was removed".to_owned());
            }
            Ok(Deed::Changed(changed))
        }
        Err(Error::NotFound { .. }) => client.create_profile(&new).await.map(|()| Deed::Made),
        Err(error) => Err(error),
    }
}

async fn certificate(
    client: &Client,
    settings: &IncusSettings,
    pem: &str,
    fingerprint: &str,
) -> Result<Deed, Error> {
    let known = client.certificates().await?.into_iter().find(|known| known.fingerprint == fingerprint);
    if let Some(known) = known {
        if !known.restricted {
            // Whoever trusted it so may have no other way in.
            return Ok(Deed::LeftOut(
                "the server trusts it for everything; it was not restricted".to_owned(),
            ));
        }
        if known.projects.contains(&settings.project) {
            return Ok(Deed::Kept);
        }
        // Another state root's project may be on the same server.
        let projects: Vec<String> = known.projects.into_iter().chain([settings.project.clone()]).collect();
        client.restrict_certificate(fingerprint, &projects).await?;
        return Ok(Deed::Changed(vec!["projects".to_owned()]));
    }
    let certificate = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let new = NewCertificate {
        name: "pikaci".to_owned(),
        certificate,
        restricted: true,
        projects: vec![settings.project.clone()],
    };
    client.create_certificate(&new).await.map(|()| Deed::Made)
}

/// The wanted keys that are not as they are known.
fn differing(wanted: &Config, known: &Config) -> Config {
    let is_new =
        |(name, value): &(&String, &String)| known.get(*name).map_or("", String::as_str) != value.as_str();
    wanted.iter().filter(is_new).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn deed(changed: Config) -> Deed {
    if changed.is_empty() { Deed::Kept } else { Deed::Changed(changed.into_keys().collect()) }
}

fn keys(pairs: &[(&str, &str)]) -> Config {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
