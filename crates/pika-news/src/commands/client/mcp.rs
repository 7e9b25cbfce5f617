//! `pika-news mcp`

use std::path::PathBuf;

use pika_news::mcp::Agent;

use super::failure::Failure;
use super::{DONE, PlaceArguments, person};

/// Where the agent acts.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The forge, such as https://pika.example.org [default: that of the working tree's remotes]
    #[arg(long, value_name = "URL", env = "PIKA_NEWS_SERVER")]
    server: Option<String>,
    /// The repository [default: that of the working tree's remotes]
    #[arg(long, short = 'R', value_name = "NAME")]
    repository: Option<String>,
    /// The working tree to act in, unless a call names another
    #[arg(long, value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

/// Serves until standard input ends.
pub(super) async fn serve(arguments: &Arguments) -> Result<u8, Failure> {
    let Arguments { server, repository, folder } = arguments;
    let place = PlaceArguments { server: server.clone(), repository: repository.clone(), json: false };
    let folder = folder
        .canonicalize()
        .map_err(|error| Failure::usage(format!("cannot find the folder {}: {error}", folder.display())))?;
    // What git asks for the token is this very program.
    let helper = std::env::current_exe().map_err(Failure::infrastructure)?;
    Agent::new(person(&place)?, folder, helper).serve_stdio().await.map_err(Failure::infrastructure)?;
    Ok(DONE)
}
