//! `pikaci image build|import|list|verify`

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use incus_client::{Client, Error, ImageImport};
use jiff::Timestamp;
use pikaci::guest::{IMAGE_CONTRACT_PROPERTY, IMAGE_CONTRACT_VERSION};
use pikaci_engine::executor::incus::doctor::{Finding, Health};
use pikaci_engine::image::{self as guest_image, BuildRequest, Programs, ScratchFolder};
use serde_json::json;

use super::{DONE, doctor, session};
use crate::arguments::{ImageBuildArguments, ImageCommand, Instance, Json, Recipe};
use crate::config::Config;
use crate::failure::Failure;
use crate::output::{Table, plain, print_json, print_line, size};
use crate::{incus, interrupt};

/// Looks after the images of guests.
pub(crate) fn image(command: &ImageCommand, config: &Config) -> Result<u8, Failure> {
    match command {
        ImageCommand::Build(arguments) => build(arguments, config),
        ImageCommand::Import { file, alias } => {
            let settings = incus::settings(config)?;
            let fingerprint = session::block_on(import(&settings.client(), file, alias))?;
            print_line(&format!("{alias} is image {fingerprint}"));
            Ok(DONE)
        }
        ImageCommand::List(format) => list(format, config),
        ImageCommand::Verify { image, instance } => verify(image, *instance, config),
    }
}

fn build(arguments: &ImageBuildArguments, config: &Config) -> Result<u8, Failure> {
    let beside = || config.program.with_file_name("pikaci-incus-run");
    let recipe = match arguments.recipe {
        Recipe::Busybox => guest_image::Recipe::Busybox,
        Recipe::Debian => guest_image::Recipe::Debian {
            suite: arguments.suite.clone(),
            packages: arguments.packages.clone(),
            mirror: arguments.mirror.clone(),
        },
    };
    // Said before minutes of work: an image that is built and can't be imported is a nuisance.
    let client = match &arguments.output {
        Some(_) => None,
        None => {
            let settings = incus::settings(config)?;
            let client = settings.client();
            let project =
                async { client.find_project(&settings.project).await.map_err(Failure::infrastructure) };
            session::block_on(project)?;
            Some(client)
        }
    };
    if let Some(installable) = &arguments.nix {
        return with_nix(installable, arguments, client.as_ref(), config);
    }
    let folder =
        ScratchFolder::create().context("cannot make a temporary folder").map_err(Failure::infrastructure)?;
    let output = match &arguments.output {
        Some(file) => config.current_dir.join(file),
        None => folder.path().join("image.tar.gz"),
    };
    let mut request = BuildRequest::new(recipe, arguments.runner.clone().unwrap_or_else(beside), &output);
    request.programs = Programs::find(&config.path);
    request.created_at = Timestamp::now();
    let built = session::block_on(async {
        interrupt::listen(request.cancel.clone())?;
        let built = tokio::task::spawn_blocking(move || guest_image::build(&request)).await;
        built.map_err(Failure::infrastructure)?.map_err(Failure::from)
    })?;
    let Some(client) = client else {
        print_line(&format!("{}: image {}, {}", built.path.display(), built.sha256, size(built.bytes)));
        return Ok(DONE);
    };
    let fingerprint = session::block_on(import(&client, &built.path, &arguments.alias))?;
    print_line(&format!("{} is image {fingerprint}, {}", arguments.alias, size(built.bytes)));
    Ok(DONE)
}

/// Has Nix build an image, and imports it, or writes it to the file that was asked for.
fn with_nix(
    installable: &str,
    arguments: &ImageBuildArguments,
    client: Option<&Client>,
    config: &Config,
) -> Result<u8, Failure> {
    let tarball = built_by_nix(installable, config)?;
    let bytes = tarball.metadata().map_or(0, |metadata| metadata.len());
    match (client, &arguments.output) {
        (Some(client), _) => {
            let fingerprint = session::block_on(import(client, &tarball, &arguments.alias))?;
            print_line(&format!("{} is image {fingerprint}, {}", arguments.alias, size(bytes)));
        }
        (None, Some(file)) => {
            let file = config.current_dir.join(file);
            fs::copy(&tarball, &file)
                .with_context(|| format!("cannot write {}", file.display()))
                .map_err(Failure::infrastructure)?;
            print_line(&format!("{}: {}", file.display(), size(bytes)));
        }
        (None, None) => {}
    }
    Ok(DONE)
}

/// The tarball of an installable. What Nix says meanwhile goes to standard error.
fn built_by_nix(installable: &str, config: &Config) -> Result<PathBuf, Failure> {
    let mut command = Command::new("nix");
    command.args(["--extra-experimental-features", "nix-command flakes", "build", "--no-link", "--json"]);
    command.args(["--print-build-logs", "--no-write-lock-file"]).arg(installable);
    command.current_dir(&config.current_dir).env_clear().env("PATH", &config.nix.path);
    command.envs(config.nix.environment.iter().cloned()).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::usage_text("there is no nix on the path; on Debian: apt-get install nix-bin".to_owned())
        }
        _ => Failure::infrastructure(anyhow::Error::new(error).context("cannot start nix")),
    })?;
    let refused = |what: &str| Failure::infrastructure(anyhow!("nix build {installable}: {what}"));
    if !output.status.success() {
        return Err(refused(&format!("it ended with {}; what it said is above", output.status)));
    }
    // The paths of all versions of Nix: `--print-out-paths` came with 2.9.
    let built: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let Some(path) = built[0]["outputs"]["out"].as_str().map(PathBuf::from) else {
        return Err(refused("it named no output"));
    };
    let candidates = [path.clone(), path.join("pikaci-image.tar")];
    let tarball = candidates.into_iter().find(|path| path.is_file());
    tarball.ok_or_else(|| refused(&format!("{} is no image and holds no pikaci-image.tar", path.display())))
}

/// How long an image may take to the server, and there until it is known.
const IMPORT_DEADLINE: Duration = Duration::from_secs(15 * 60);

/// Imports a file, or finds that the server has it, and moves the alias.
pub(super) async fn import(client: &Client, file: &Path, alias: &str) -> Result<String, Failure> {
    let cannot = |error: Error| {
        Failure::infrastructure(
            anyhow::Error::new(error).context(format!("cannot import {}", file.display())),
        )
    };
    if !file.is_file() {
        return Err(Failure::usage_text(format!("{} is no file", file.display())));
    }
    let file_name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let import = ImageImport { file_name, ..ImageImport::default() };
    let client = client.with_deadline(IMPORT_DEADLINE);
    let known = pikaci_engine::image::digest_of_file(file)
        .with_context(|| format!("cannot read {}", file.display()))
        .map_err(Failure::infrastructure)?;
    let fingerprint = match client.image(&known).await {
        Ok(image) => image.fingerprint,
        Err(Error::NotFound { .. }) => client.import_image(file, &import).await.map_err(cannot)?,
        Err(error) => return Err(cannot(error)),
    };
    client.set_alias(alias, &fingerprint).await.map_err(cannot)?;
    Ok(fingerprint)
}

fn list(format: &Json, config: &Config) -> Result<u8, Failure> {
    let client = incus::settings(config)?.client();
    let images = session::block_on(async { client.images().await.map_err(Failure::infrastructure) })?;
    if format.json {
        let values = images.iter().map(|image| {
            json!({
                "fingerprint": image.fingerprint,
                "aliases": image.aliases.iter().map(|alias| &alias.name).collect::<Vec<_>>(),
                "type": image.kind,
                "architecture": image.architecture,
                "bytes": image.size,
                "uploaded_at": image.uploaded_at,
                "contract": image.properties.get(IMAGE_CONTRACT_PROPERTY),
                "properties": image.properties,
            })
        });
        print_json(&values.collect());
        return Ok(DONE);
    }
    let mut table = Table::new(&["image", "alias", "kind", "size", "contract", "description"]);
    let is_empty = images.is_empty();
    for image in images {
        let aliases: Vec<String> = image.aliases.iter().map(|alias| plain(&alias.name)).collect();
        let contract = match image.properties.get(IMAGE_CONTRACT_PROPERTY) {
            Some(version) if *version == IMAGE_CONTRACT_VERSION.to_string() => version.clone(),
            Some(other) => format!("{} (not this one)", plain(other)),
            None => "none".to_owned(),
        };
        table.push(vec![
            image.fingerprint.chars().take(12).collect(),
            aliases.join(", "),
            image.kind.to_string(),
            size(image.size),
            contract,
            image.properties.get("description").map(|text| plain(text)).unwrap_or_default(),
        ]);
    }
    let none = format!("project {} has no image; `pikaci image build` makes one", client.project());
    print_line(&if is_empty { none } else { table.to_string() });
    Ok(DONE)
}

/// The part of the doctor's examination that is about the image.
fn verify(image: &str, instance: Option<Instance>, config: &Config) -> Result<u8, Failure> {
    let findings = doctor::findings(image, instance, config)?;
    let about = |what: &str| matches!(what, "daemon" | "project" | "image" | "probe job");
    // Whatever else is bad has kept the image from being tried.
    let is_shown = |finding: &Finding| about(finding.what) || finding.health == Health::Bad;
    let findings: Vec<_> = findings.into_iter().filter(is_shown).collect();
    Ok(doctor::show(&findings))
}
