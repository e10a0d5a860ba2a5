//! How many requests for headers are answered at once. A beacon node has one or two; each costs a question to every source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Requests at once.
pub const MAX_TURNS: usize = 256;
/// Requests of one address at once.
pub const MAX_TURNS_OF_ONE: usize = 64;

/// The requests that are being answered. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct HeaderTurns {
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// One request's turn, over when dropped.
#[derive(Debug)]
#[must_use = "dropping a turn ends it"]
pub struct HeaderTurn {
    turns: HeaderTurns,
    client: IpAddr,
}

impl HeaderTurns {
    /// A turn for a client's request; none if there are too many.
    pub fn take(&self, client: IpAddr) -> Option<HeaderTurn> {
        let mut open = self.open.lock();
        let of_client = open.by_client.get(&client).copied().unwrap_or_default();
        if open.all >= MAX_TURNS || of_client >= MAX_TURNS_OF_ONE {
            return None;
        }
        open.all = open.all.saturating_add(1);
        open.by_client.insert(client, of_client.saturating_add(1));
        Some(HeaderTurn { turns: self.clone(), client })
    }
}

impl Drop for HeaderTurn {
    fn drop(&mut self) {
        let mut open = self.turns.open.lock();
        open.all = open.all.saturating_sub(1);
        let left = open.by_client.get(&self.client).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            open.by_client.remove(&self.client);
        } else {
            open.by_client.insert(self.client, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_cannot_take_all_turns_and_each_comes_back() {
        let turns = HeaderTurns::default();
        let client = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut taken = Vec::new();
        for last in 0..4 {
            taken.extend((0..MAX_TURNS_OF_ONE).map(|_| turns.take(client(last)).unwrap()));
            assert!(turns.take(client(last)).is_none());
        }
        assert!(turns.take(client(9)).is_none(), "all are taken");
        taken.pop();
        assert!(turns.take(client(9)).is_some());
        taken.clear();
        assert!(turns.open.lock().by_client.is_empty());
        assert!(turns.take(client(0)).is_some());
    }
}
