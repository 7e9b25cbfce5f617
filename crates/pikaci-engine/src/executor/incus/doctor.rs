//! Says what is right and wrong with a server, and what to do about it. The last word has a probe job.

use std::path::Path;
use std::time::Duration;

use incus_client::{Client, ExecRequest, InstanceKind, NewInstance, Server};
use pikaci::InstanceType;
use pikaci::guest::{RUN_BINARY, SENTINEL_NAME};
use serde::Serialize;

use super::context::{key, named};
use super::devices::guest_keys;
use super::runtime::kind;
use super::{IncusSettings, check, described, image};

/// The oldest Incus that is supported.
const VERSION_MIN: (u32, u32) = (6, 0);
const SPACE_MIN_BYTES: u64 = 5 << 30;
const PROBE_DEADLINE: Duration = Duration::from_secs(120);
const PROBE_DIGEST: &str = "probe";

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// As it should be.
    Ok,
    /// It works, but not well.
    Warning,
    /// Jobs can't be run.
    Bad,
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The thing.
    pub what: &'static str,
    /// How it is.
    pub health: Health,
    /// What was seen.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// Something that is as it should be.
    pub fn ok(what: &'static str, detail: impl Into<String>) -> Finding {
        Finding { what, health: Health::Ok, detail: detail.into(), remedy: None }
    }

    /// Something that works, but not well.
    pub fn warning(what: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { what, health: Health::Warning, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    /// Something that keeps jobs from being run.
    pub fn bad(what: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { what, health: Health::Bad, detail: detail.into(), remedy: Some(remedy.into()) }
    }
}

/// Examines the server. `probe_folder` is a folder below the state root that a probe job may share; it is filled and emptied.
pub async fn examine(
    settings: &IncusSettings,
    image_name: &str,
    instance: Option<InstanceType>,
    probe_folder: &Path,
) -> Vec<Finding> {
    let client = settings.client();
    let server = match client.server().await {
        Ok(server) => server,
        Err(error) => {
            let remedy = "install Incus (https://linuxcontainers.org/incus/docs/main/installing/), start its daemon, and let this \
                          user into the group incus-admin; INCUS_DIR or INCUS_SOCKET name another socket";
            return vec![Finding::bad("daemon", described(&error), remedy)];
        }
    };
    let mut findings =
        vec![daemon(&client, &server), version(&server), instance_types(&client, &server).await];
    if !server.is_trusted() {
        return findings;
    }
    let project = client.find_project(&settings.project).await;
    let is_there = project.is_ok();
    findings.push(match project {
        Ok(_) => Finding::ok("project", settings.project.clone()),
        Err(error) => Finding::bad("project", described(&error), "run `pikaci init-incus`"),
    });
    if !is_there {
        return findings;
    }
    findings.extend(storage(&client, settings).await);
    findings.push(state_root(settings));
    let (finding, image) = contract(&client, image_name, instance).await;
    findings.push(finding);
    if let Some((fingerprint, instance)) = image
        && findings.iter().all(|finding| finding.health != Health::Bad)
    {
        findings.push(probe(&client, settings, &fingerprint, instance, probe_folder).await);
    }
    findings
}

fn daemon(client: &Client, server: &Server) -> Finding {
    if server.is_trusted() {
        return Finding::ok("daemon", format!("answers at {}", client.endpoint()));
    }
    let remedy =
        "run `pikaci init-incus` on the server's host with --certificate, and use that certificate here";
    Finding::bad("daemon", format!("{} does not trust this client", client.endpoint()), remedy)
}

fn version(server: &Server) -> Finding {
    let text = server.environment.server_version.clone();
    match server.version() {
        Some(version) if version < VERSION_MIN => {
            Finding::bad("version", text, "install Incus 6.0 LTS or newer")
        }
        // Before 6.0 is refused above; what a newer one adds is no reason to change.
        Some((6, 0)) => {
            Finding::ok("version", format!("{text} (LTS; a newer one has faster lists of instances)"))
        }
        _ => Finding::ok("version", text),
    }
}

async fn instance_types(client: &Client, server: &Server) -> Finding {
    if server.has_virtual_machines() {
        return Finding::ok("instance types", "containers and virtual machines");
    }
    let warnings = client.warnings().await.unwrap_or_default();
    let why = warnings.into_iter().find(|warning| warning.kind == "Instance type not operational");
    let why = why.map_or_else(|| "no qemu".to_owned(), |warning| warning.last_message);
    Finding::warning(
        "instance types",
        format!("containers only: {why}"),
        "install qemu and load the kernel module vhost_vsock, or use `instance = \"container\"`",
    )
}

async fn storage(client: &Client, settings: &IncusSettings) -> Vec<Finding> {
    let profile = match client.profile(&settings.profile).await {
        Ok(found) => found.value,
        Err(error) => return vec![Finding::bad("profile", described(&error), "run `pikaci init-incus`")],
    };
    let root = profile.devices.values().find(|keys| keys.get("path").is_some_and(|path| path == "/"));
    let Some(pool) = root.and_then(|keys| keys.get("pool")) else {
        let detail = format!("profile {} has no root disk", profile.name);
        return vec![Finding::bad("profile", detail, "run `pikaci init-incus`")];
    };
    let mut findings = vec![Finding::ok("profile", profile.name.clone())];
    match client.pool(pool).await {
        Ok(found) if found.driver == "dir" => findings.push(Finding::warning(
            "storage pool",
            format!("{pool} is of the kind dir: an image is unpacked for every instance, and a job may fill the disk"),
            "make a pool of the kind btrfs or zfs, and run `pikaci init-incus --pool NAME`",
        )),
        Ok(found) => findings.push(Finding::ok("storage pool", format!("{pool} ({})", found.driver))),
        Err(error) => findings.push(Finding::warning(
            "storage pool",
            described(&error),
            "a restricted client may not look; nothing has to be done",
        )),
    }
    if let Ok(resources) = client.pool_resources(pool).await {
        let free = resources.space.total.saturating_sub(resources.space.used);
        let detail = format!("{} GiB free in pool {pool}", free >> 30);
        findings.push(if free < SPACE_MIN_BYTES {
            let remedy = format!(
                "delete images that nobody uses (`incus image delete --project {} FINGERPRINT`, `pikaci image list` names them), or \
                 enlarge the pool",
                settings.project
            );
            Finding::warning("free space", detail, remedy)
        } else {
            Finding::ok("free space", detail)
        });
    }
    findings
}

fn state_root(settings: &IncusSettings) -> Finding {
    if settings.endpoint.is_local() || settings.shares_files {
        return Finding::ok("state root", "the server sees its files");
    }
    Finding::bad(
        "state root",
        format!("{} may be on another host, and shares its own folders only", settings.endpoint),
        "if it sees the state root under the same path, say `shares_files = true` in the settings",
    )
}

async fn contract(
    client: &Client,
    name: &str,
    instance: Option<InstanceType>,
) -> (Finding, Option<(String, InstanceType)>) {
    let found = async {
        let fingerprint = image::resolve(client, name).await?;
        client.image(&fingerprint).await
    };
    let image = match found.await {
        Ok(image) => image,
        Err(error) => {
            let remedy = "`pikaci image build` makes one, `pikaci image list` shows what there is";
            return (Finding::bad("image", described(&error), remedy), None);
        }
    };
    if let Some(reason) = check::of_contract(name, &image) {
        return (Finding::bad("image", reason, "run `pikaci image build`"), None);
    }
    let own = match image.kind {
        InstanceKind::Container => InstanceType::Container,
        InstanceKind::VirtualMachine => InstanceType::VirtualMachine,
    };
    let instance = instance.unwrap_or(own);
    if own != instance {
        let detail = format!("{name} is for a {}, and a {} was asked about", image.kind, kind(instance));
        return (Finding::bad("image", detail, "name another image, or another --instance"), None);
    }
    let short = image.fingerprint.chars().take(12).collect::<String>();
    let detail = format!("{name} ({short}), for a {}", image.kind);
    (Finding::ok("image", detail), Some((image.fingerprint, instance)))
}

/// Runs a guest with one share, and looks whether the share is there and can't be written.
async fn probe(
    client: &Client,
    settings: &IncusSettings,
    fingerprint: &str,
    instance: InstanceType,
    folder: &Path,
) -> Finding {
    let start = std::time::Instant::now();
    // A new one each time: one that a killed doctor left must not stand in the way of the next.
    let name = named(&format!("doctor:{}", pikaci::RunId::random(jiff::Timestamp::now())));
    let (parent, folder) = (folder, folder.join(&name));
    let probed = async {
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        std::fs::write(folder.join(SENTINEL_NAME), PROBE_DIGEST)
            .map_err(|error| format!("cannot write to {}: {error}", folder.display()))?;
        let mut new = NewInstance::new(kind(instance), &name, fingerprint).started();
        new.ephemeral = true;
        new.profiles = vec![settings.profile.clone()];
        new.config = guest_keys(instance, 1, 1 << 30, settings.processes_max);
        let deadline =
            jiff::Timestamp::now().saturating_add(2 * PROBE_DEADLINE).unwrap_or(jiff::Timestamp::MAX);
        new.config.insert(key::OWNER.to_owned(), settings.owner.clone());
        new.config.insert(key::DEADLINE.to_owned(), deadline.as_second().to_string());
        let source = folder.to_string_lossy().into_owned();
        let mut share = std::collections::BTreeMap::from(
            [("type", "disk"), ("path", pikaci::guest::SNAPSHOT_PATH), ("readonly", "true")]
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        share.insert("source".to_owned(), source);
        if instance == InstanceType::VirtualMachine {
            share.insert("io.bus".to_owned(), "virtiofs".to_owned());
        }
        new.devices.insert("snapshot".to_owned(), share);
        client.create_instance(&new).await.map_err(|error| described(&error))?;
        run_probe(client, &name, settings.boot_deadline).await
    };
    let probed = tokio::time::timeout(PROBE_DEADLINE, probed).await;
    let probed = probed.unwrap_or_else(|_| Err(format!("not done within {} s", PROBE_DEADLINE.as_secs())));
    let deleted = client.destroy_instance(&name).await;
    let _ = crate::snapshot::remove_tree(&folder);
    // Unless another doctor is at work there.
    let _ = std::fs::remove_dir(parent);
    let remedy = "look at the daemon's log, and at `incus info --show-log` of an instance of this image";
    match (probed, deleted) {
        (Err(detail), _) => Finding::bad("probe job", detail, remedy),
        (Ok(()), Err(error)) => {
            Finding::bad("probe job", format!("its instance can't be deleted: {}", described(&error)), remedy)
        }
        (Ok(()), Ok(())) => {
            let took = start.elapsed().as_millis();
            Finding::ok("probe job", format!("ran with a read-only share, and is gone again, in {took} ms"))
        }
    }
}

async fn run_probe(client: &Client, name: &str, boot_deadline: Duration) -> Result<(), String> {
    // The runner itself says whether the share is there: the job then tries to write to it.
    let script = format!(
        "! touch {0}/written 2>/dev/null && test -f {0}/{SENTINEL_NAME}",
        pikaci::guest::SNAPSHOT_PATH
    );
    let sentinel = format!("{}={PROBE_DIGEST}", pikaci::guest::SNAPSHOT_PATH);
    let request =
        ExecRequest::new([RUN_BINARY, "run", "--sentinel-wait-ms", "30000", "--sentinel", &sentinel])
            .env(pikaci::guest::COMMAND_VARIABLE, script)
            .env(pikaci::guest::TIMEOUT_VARIABLE, "30")
            .env(pikaci::guest::RUN_AS_ROOT_VARIABLE, "1");
    let start = tokio::time::Instant::now();
    loop {
        match client.exec_unattended(name, &request).await {
            Ok(0) => return Ok(()),
            Ok(125) => return Err("the guest runner refused to start: the share is not there".to_owned()),
            Ok(code) => {
                return Err(format!("the share can be written, or read by nobody (exit code {code})"));
            }
            // The agent of a virtual machine takes its time.
            Err(_) if start.elapsed() < boot_deadline && !is_container(client, name).await => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(format!("no command can be run: {}", described(&error))),
        }
    }
}

async fn is_container(client: &Client, name: &str) -> bool {
    client.instance(name).await.is_ok_and(|found| found.value.kind == incus_client::InstanceKind::Container)
}
