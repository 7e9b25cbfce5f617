//! Names of the forge's rows, as types, so that a branch's number can't be taken for a lane run's.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! row_id {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<$name, ParseIntError> {
                text.parse().map($name)
            }
        }
    )*};
}

row_id! {
    /// One repository.
    RepositoryId
    /// One branch of a repository; it keeps its number when it is closed and pushed again.
    BranchId
    /// One head of a branch.
    HeadId
    /// One lane of a head.
    LaneId
    /// One attempt at a lane.
    LaneRunId
    /// One merge, from its intent on.
    MergeId
}
