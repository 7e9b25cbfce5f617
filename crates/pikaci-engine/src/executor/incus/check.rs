//! What can't be had is said before anything is made, all of it at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use incus_client::{Client, Error, Image, Network, Profile, Project, Server};
use pikaci::guest::{IMAGE_CONTRACT_PROPERTY, IMAGE_CONTRACT_VERSION};
use pikaci::{InstanceType, JobSpec, Provider};

use super::image::Images;
use super::runtime::kind;
use super::{IncusSettings, described};

const NIX_STORE: &str = "/nix/store";

/// What was learned on the way.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What the instances' disks are made by.
    pub storage_driver: Option<String>,
    /// What works, but not well.
    pub warnings: Vec<String>,
}

/// Holds jobs against the server. Returns every reason why they can't be run there; empty: go on.
pub(crate) async fn check(
    client: &Client,
    settings: &IncusSettings,
    images: &Images,
    jobs: &[JobSpec],
) -> (Vec<String>, Facts) {
    let names: BTreeSet<&str> = jobs.iter().map(|job| job.image.as_str()).collect();
    let asking = futures_util::future::join_all(names.iter().map(|name| find_image(client, images, name)));
    let has_network = jobs.iter().any(|job| job.network);
    let network = async { if has_network { Some(client.network(&settings.network).await) } else { None } };
    let (server, project, profile, found, network) = tokio::join!(
        client.server(),
        client.find_project(&settings.project),
        client.profile(&settings.profile),
        asking,
        network,
    );
    let server = match server {
        Ok(server) if server.is_trusted() => server,
        Ok(_) => {
            let reason = format!(
                "Incus at {} does not trust this client; `pikaci init-incus` makes a certificate for it",
                client.endpoint()
            );
            return (vec![reason], Facts::default());
        }
        // Nothing else could be asked.
        Err(error) => return (vec![unreachable(&error)], Facts::default()),
    };
    let found: BTreeMap<&str, Result<Image, Error>> = names.into_iter().zip(found).collect();
    let mut reasons = Vec::new();
    reasons.extend(of_host(&server, settings, client));
    let project = noted(project.map(|project| project.value), &mut reasons);
    let profile = noted(profile.map(|profile| profile.value), &mut reasons);
    reasons.extend(of_images(&found));
    if jobs.iter().any(|job| job.instance == InstanceType::VirtualMachine) && !server.has_virtual_machines() {
        reasons.push(no_virtual_machines(client).await);
    }
    if let Some(project) = &project {
        reasons.extend(of_shares(project, &settings.state_root));
        let has_nix =
            |job: &JobSpec| job.output.as_ref().is_some_and(|output| output.provider == Provider::Nix);
        if jobs.iter().any(has_nix) {
            reasons.extend(of_shares(project, Path::new(NIX_STORE)));
        }
        reasons.extend(jobs.iter().flat_map(|job| of_limits(job, project)));
    }
    reasons.extend(jobs.iter().flat_map(|job| of_job(job, found.get(job.image.as_str()), network.as_ref())));
    let facts = match &profile {
        Some(profile) => of_storage(client, profile, jobs, &mut reasons).await,
        None => Facts::default(),
    };
    (reasons, facts)
}

async fn find_image(client: &Client, images: &Images, name: &str) -> Result<Image, Error> {
    let fingerprint = images.resolve(client, name).await?;
    client.image(&fingerprint).await
}

fn unreachable(error: &Error) -> String {
    let remedy = match error {
        Error::Unreachable { .. } => {
            "; is the daemon running, and may this user use its socket? `pikaci doctor` says more"
        }
        _ => "",
    };
    format!("{}{remedy}", described(error))
}

fn noted<T>(found: Result<T, Error>, reasons: &mut Vec<String>) -> Option<T> {
    found
        .map_err(|error| {
            let remedy = if error.is_not_found() { "; `pikaci init-incus` makes it" } else { "" };
            reasons.push(format!("{}{remedy}", described(&error)));
        })
        .ok()
}

/// Shares are folders of the host that the instance is on.
fn of_host(server: &Server, settings: &IncusSettings, client: &Client) -> Option<String> {
    let is_here = client.endpoint().is_local();
    if is_here && server.environment.server_clustered && settings.member.is_none() {
        // The local member sees the state root; another one need not.
        return Some(format!(
            "the server is the member {0:?} of a cluster; say `member = \"{0}\"` in the settings, so that instances are made \
             where the state root is",
            server.environment.server_name
        ));
    }
    (!is_here && !settings.shares_files).then(|| {
        format!(
            "Incus at {} may be on another host, and shares its own folders only; if it sees the state root under the same \
             path, say `shares_files = true` in the settings",
            client.endpoint()
        )
    })
}

/// A project may let in folders below some paths only.
fn of_shares(project: &Project, folder: &Path) -> Option<String> {
    let paths = project.config.get("restricted.devices.disk.paths")?;
    let is_restricted = project.config.get("restricted").is_some_and(|restricted| restricted == "true");
    let is_allowed = |path: &str| !path.is_empty() && folder.starts_with(path);
    if !is_restricted || paths.split(',').any(is_allowed) {
        return None;
    }
    let folder = folder.display();
    Some(format!(
        "project {} does not let in {folder}; `pikaci init-incus --share {folder}` allows it",
        project.name
    ))
}

fn of_images(found: &BTreeMap<&str, Result<Image, Error>>) -> Vec<String> {
    let mut reasons = Vec::new();
    for (name, image) in found {
        match image {
            Err(error) if error.is_not_found() => reasons.push(format!(
                "there is no image {name}; `pikaci image list` shows what there is, `pikaci image build` makes one"
            )),
            Err(error) => reasons.push(format!("image {name}: {}", described(error))),
            Ok(image) => reasons.extend(of_contract(name, image)),
        }
    }
    reasons
}

/// Why an image can't be used by this program.
pub(crate) fn of_contract(name: &str, image: &Image) -> Option<String> {
    match image.properties.get(IMAGE_CONTRACT_PROPERTY).map(String::as_str) {
        Some(version) if version == IMAGE_CONTRACT_VERSION.to_string() => None,
        Some(other) => Some(format!(
            "image {name} keeps version {other:?} of the guest contract, this pikaci speaks {IMAGE_CONTRACT_VERSION}; build it \
             anew with `pikaci image build`"
        )),
        None => Some(format!(
            "image {name} was not made for pikaci: it has no property {IMAGE_CONTRACT_PROPERTY}; `pikaci image build` makes one"
        )),
    }
}

async fn no_virtual_machines(client: &Client) -> String {
    let warnings = client.warnings().await.unwrap_or_default();
    let why = warnings.into_iter().find(|warning| {
        // The kind is a fixed word of the API (warningtype/warning_type.go).
        warning.kind == "Instance type not operational" && warning.status != "resolved"
    });
    let why = why.map_or_else(|| "it has no qemu driver".to_owned(), |warning| warning.last_message);
    format!(
        "virtual machines are not available on this server: {why}; `instance = \"container\"` in the manifest runs in containers"
    )
}

/// What the project would never allow, however empty it is.
fn of_limits(job: &JobSpec, project: &Project) -> Vec<String> {
    let limit = |name: &str| project.config.get(name).map(String::as_str);
    let mut reasons = Vec::new();
    let mut over = |what: &str, wanted: String, limit: &str| {
        reasons.push(format!(
            "job {} wants {wanted} of {what}, and project {} allows {limit}",
            job.id, project.name
        ));
    };
    if let Some(cpus) = limit("limits.cpu")
        && cpus.parse::<u32>().is_ok_and(|cpus| cpus < job.cpus)
    {
        over("cpus", job.cpus.to_string(), cpus);
    }
    if let Some(memory) = limit("limits.memory")
        && parse_bytes(memory).is_some_and(|bytes| bytes < job.memory_bytes)
    {
        over("memory", format!("{} MiB", job.memory_bytes >> 20), memory);
    }
    if let (Some(disk), Some(wanted)) = (limit("limits.disk"), job.disk_bytes)
        && parse_bytes(disk).is_some_and(|bytes| bytes < wanted)
    {
        over("disk", format!("{} MiB", wanted >> 20), disk);
    }
    let of_kind = match job.instance {
        InstanceType::Container => "limits.containers",
        InstanceType::VirtualMachine => "limits.virtual-machines",
    };
    for name in ["limits.instances", of_kind] {
        if limit(name) == Some("0") {
            over(name.trim_start_matches("limits."), "1".to_owned(), "none");
        }
    }
    reasons
}

/// Reads `4GiB` and the like, as Incus writes sizes (units.ParseByteSizeString).
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let split = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn of_job(
    job: &JobSpec,
    image: Option<&Result<Image, Error>>,
    network: Option<&Result<Network, Error>>,
) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(Ok(image)) = image
        && image.kind != kind(job.instance)
    {
        reasons.push(format!(
            "job {}: image {} is one for a {}, and the job wants a {}",
            job.id,
            job.image,
            image.kind,
            kind(job.instance)
        ));
    }
    match network.filter(|_| job.network) {
        Some(Err(error)) => {
            let remedy = if error.is_not_found() { "; `pikaci init-incus` makes it" } else { "" };
            reasons.push(format!("job {} asks for a network: {}{remedy}", job.id, described(error)));
        }
        Some(Ok(network)) if !network.managed => reasons.push(format!(
            "job {} asks for a network, and {} is the host's own interface; say another `network` in incus.toml",
            job.id, network.name
        )),
        Some(Ok(_)) | None => {}
    }
    reasons
}

async fn of_storage(
    client: &Client,
    profile: &Profile,
    jobs: &[JobSpec],
    reasons: &mut Vec<String>,
) -> Facts {
    let root = profile.devices.values().find(|device| device.get("path").is_some_and(|path| path == "/"));
    let Some(pool) = root.and_then(|device| device.get("pool")) else {
        reasons.push(format!("profile {} has no root disk; `pikaci init-incus` adds one", profile.name));
        return Facts::default();
    };
    // A restricted client may not be allowed to look.
    let Ok(pool) = client.pool(pool).await else { return Facts::default() };
    let mut warnings = Vec::new();
    if pool.driver == "dir" {
        warnings.push(format!(
            "storage pool {} is of the kind dir: the image is unpacked for every instance; btrfs or zfs clone it",
            pool.name
        ));
        if jobs.iter().any(|job| job.disk_bytes.is_some()) {
            warnings
                .push(format!("storage pool {} of the kind dir may not bound the size of disks", pool.name));
        }
    }
    Facts { storage_driver: Some(pool.driver), warnings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_incus_writes_them() {
        assert_eq!(parse_bytes("4GiB"), Some(4 << 30));
        assert_eq!(parse_bytes("500MB"), Some(500_000_000));
        assert_eq!(parse_bytes("123"), Some(123));
        for bad in ["", "GiB", "4Gib", "-1", "50%"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
    }
}
