//! `pikaci init-incus`

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use pikaci_engine::executor::incus::setup::{Deed, SetUp, Step, set_up};

use super::{DONE, session};
use crate::arguments::InitIncusArguments;
use crate::config::Config;
use crate::failure::Failure;
use crate::incus;
use crate::output::{plain, print_line};

/// Makes what jobs need on the server, and says what it did. Asked again, it changes only what is missing.
pub(crate) fn init_incus(arguments: &InitIncusArguments, config: &Config) -> Result<u8, Failure> {
    let settings = incus::settings(config)?;
    let folder = arguments.certificate.clone().unwrap_or_else(|| config.settings_folder.clone());
    let certificate = certificate(&folder).map_err(Failure::infrastructure)?;
    let state_root = fs::canonicalize(config.state.path()).unwrap_or(config.state.path().to_owned());
    let shared = if arguments.share.is_empty() { vec![state_root] } else { arguments.share.clone() };
    let shared: Vec<String> =
        shared.iter().map(|folder| config.current_dir.join(folder).to_string_lossy().into_owned()).collect();
    if let Some(bad) = shared.iter().find(|folder| folder.contains(',')) {
        return Err(Failure::usage_text(format!(
            "{bad} has a comma in its name, which Incus reads as two folders"
        )));
    }
    let wanted = SetUp {
        pool: arguments.pool.clone(),
        disk: arguments.disk.clone(),
        instances_max: arguments.max_instances,
        shared_folders: shared,
        has_egress: arguments.egress,
        certificate: Some(certificate),
    };
    let server = session::block_on(async {
        set_up(&settings, &wanted, &mut |step: &Step| print_line(&shown(step)))
            .await
            .map_err(Failure::infrastructure)?;
        settings.client().server().await.map_err(Failure::infrastructure)
    })?;
    let server_certificate = folder.join("server.crt");
    fs::write(&server_certificate, &server.environment.certificate)
        .with_context(|| format!("cannot write {}", server_certificate.display()))
        .map_err(Failure::infrastructure)?;
    print_line(&format!(
        "the certificates are in {}: with `url`, `client_certificate`, `client_key` and `server_certificate` in incus.toml, a user \
         without rights on the socket can run jobs in project {}, and nothing else{}",
        folder.display(),
        settings.project,
        if server.environment.addresses.is_empty() {
            "; `incus config set core.https_address :8443` lets the server listen"
        } else {
            ""
        }
    ));
    Ok(DONE)
}

fn shown(step: &Step) -> String {
    let what = plain(&step.what);
    match &step.deed {
        Deed::Kept => format!("kept     {what}"),
        Deed::Made => format!("made     {what}"),
        Deed::LeftOut(reason) => format!("left out {what}: {}", plain(reason)),
        Deed::Changed(keys) => format!("changed  {what}: {}", plain(&keys.join(", "))),
    }
}

/// The client certificate of a folder, made with its key when there is none.
fn certificate(folder: &Path) -> anyhow::Result<String> {
    let (certificate, key) = (folder.join("client.crt"), folder.join("client.key"));
    if certificate.exists() && key.exists() {
        return fs::read_to_string(&certificate)
            .with_context(|| format!("cannot read {}", certificate.display()));
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let made = rcgen::generate_simple_self_signed(vec!["pikaci".to_owned()])
        .map_err(|error| anyhow!("cannot make a certificate: {error}"))?;
    write(&key, &made.signing_key.serialize_pem(), 0o600)?;
    let pem = made.cert.pem();
    write(&certificate, &pem, 0o644)?;
    print_line(&format!("made     client certificate {}", certificate.display()));
    Ok(pem)
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)
}
