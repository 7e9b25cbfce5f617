//! `pika-news mcp`

use super::failure::Failure;
use super::{DONE, PlaceArguments};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: PlaceArguments,
}

/// Serves until standard input ends.
pub(super) async fn serve(_arguments: &Arguments) -> Result<u8, Failure> {
    Ok(DONE)
}
