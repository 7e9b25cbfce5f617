//! Whose turn it is: to be served by git, or to have a live view.
//!
//! Invariant: no user has more than half of the turns, and all strangers together count as one, so that nobody keeps everybody
//! else out by being slow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::auth::Principal;

/// How long a client waits for its turn before it is told to come back.
const TURN_MAX: Duration = Duration::from_secs(30);

/// The turns. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    share: usize,
    /// As many as there are users.
    shares: Arc<Mutex<HashMap<i64, Arc<Semaphore>>>>,
}

/// A turn; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(#[allow(dead_code, reason = "held")] [OwnedSemaphorePermit; 2]);

impl Turns {
    /// So many at once.
    pub(crate) fn new(count: usize) -> Turns {
        Turns { all: Arc::new(Semaphore::new(count)), share: count.div_ceil(2), shares: Arc::default() }
    }

    /// Waits for a turn, for a while.
    pub(crate) async fn take(&self, principal: &Principal) -> Option<Turn> {
        self.take_within(principal.user_id(), TURN_MAX).await
    }

    /// Takes a turn if there is one now.
    pub(crate) fn try_take(&self, principal: &Principal) -> Option<Turn> {
        let own = self.share_of(principal.user_id()).try_acquire_owned().ok()?;
        let turn = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Turn([own, turn]))
    }

    fn share_of(&self, user_id: i64) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shares.entry(user_id).or_insert_with(|| Arc::new(Semaphore::new(self.share))))
    }

    async fn take_within(&self, user_id: i64, wait: Duration) -> Option<Turn> {
        let share = self.share_of(user_id);
        let turn = timeout(wait, async {
            // Who has used their share up waits for themselves, in nobody's way.
            let own = share.acquire_owned().await.ok()?;
            let turn = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Turn([own, turn]))
        });
        turn.await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::auth::{Scopes, User};

    #[tokio::test]
    async fn one_user_has_half_of_the_turns_and_the_others_have_the_rest() {
        let turns = Turns::new(4);
        let take = |user_id| turns.take_within(user_id, Duration::ZERO);
        let first = [take(1).await.unwrap(), take(1).await.unwrap()];
        assert!(take(1).await.is_none());
        let _others = [take(2).await.unwrap(), take(0).await.unwrap()];
        assert!(take(3).await.is_none());
        drop(first);
        assert!(take(3).await.is_some() && take(1).await.is_some());
    }

    #[test]
    fn who_does_not_wait_has_their_half_at_once_or_nothing() {
        let turns = Turns::new(2);
        let user = |id, name: &str| User { id, name: name.to_owned(), is_admin: true };
        let of = |user| Principal::new(user, BTreeMap::new(), Scopes::all(), Arc::default());
        let (ada, bob) = (of(user(1, "ada")), of(user(2, "bob")));
        let first = turns.try_take(&ada).unwrap();
        assert!(turns.try_take(&ada).is_none());
        let _second = turns.try_take(&bob).unwrap();
        drop(first);
        assert!(turns.try_take(&ada).is_some());
    }

    #[tokio::test]
    async fn where_there_is_one_turn_everybody_may_have_it() {
        let turns = Turns::new(1);
        assert!(turns.take_within(7, Duration::ZERO).await.is_some());
    }
}
