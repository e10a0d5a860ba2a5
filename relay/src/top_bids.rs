//! Who leads the auctions, told to whoever listens.

use crate::{
    bids::{BidKey, Served},
    relay::now_ms,
};
use alloy_primitives::U256;
use bytes::Bytes;
use earnest_builder_types::TopBidUpdate;
use tokio::sync::broadcast;

/// Updates held for readers that are a little behind; one further behind is dropped.
const HELD: usize = 256;
/// Wei of one ether.
const WEI: f64 = 1e18;

/// The updates, as they are sent. Making them costs nothing while nobody listens.
#[derive(Debug)]
pub(crate) struct TopBids(broadcast::Sender<Bytes>);

impl Default for TopBids {
    fn default() -> Self {
        Self(broadcast::channel(HELD).0)
    }
}

impl TopBids {
    /// Tells that another bid leads, or none. The same bid sent again, or under other proofs, is no news.
    pub(crate) fn changed(&self, key: &BidKey, before: Option<&Served>, now: Option<&Served>) {
        let (was, is) = (before.map(|on| &on.candidate.trace), now.map(|on| &on.candidate.trace));
        if was == is {
            return;
        }
        metrics::counter!("earnest_relay_top_bid_updates_total").increment(1);
        metrics::gauge!("earnest_relay_top_bid_eth")
            .set(now.map_or(0.0, |now| eth(now.candidate.trace.value)));
        if self.0.receiver_count() > 0 {
            let _ = self.0.send(update(key, now));
        }
    }

    /// The updates from here on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Bytes> {
        self.0.subscribe()
    }
}

/// The message that tells who leads. If nobody does, value, hash and builder are zero.
pub(crate) fn update(key: &BidKey, now: Option<&Served>) -> Bytes {
    let timestamp = now_ms();
    let update = match now {
        Some(now) => {
            let number = now.candidate.payload.payload().block_number();
            TopBidUpdate::new(&now.candidate.trace, number, timestamp)
        }
        None => TopBidUpdate {
            timestamp,
            slot: key.slot,
            parent_hash: key.parent_hash,
            ..TopBidUpdate::default()
        },
    };
    update.to_ssz().into()
}

/// Ether, for people to look at.
fn eth(wei: U256) -> f64 {
    f64::from(wei) / WEI
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bids::{Book, Candidate, Limits, Sealer},
        held::Required,
        spool::Spool,
        testing::{Block, FORK_VERSION, bls, tx},
    };
    use earnest_builder_types::domain::builder_domain;
    use std::{path::Path, sync::Arc};

    fn book(directory: &Path) -> Book {
        let sealer = Sealer::new(bls(7), builder_domain(FORK_VERSION));
        let limits = Limits { bids: 9, offered: 9, given: 9, bytes: usize::MAX };
        Book::new(sealer, Spool::open(directory, 0).unwrap(), limits)
    }

    fn read(update: &Bytes) -> (u64, u64, U256) {
        let update = TopBidUpdate::from_ssz(update).unwrap();
        (update.slot, update.block_number, update.value)
    }

    #[test]
    fn a_change_is_told_once_and_no_leader_is_told_as_zero() {
        let directory = tempfile::tempdir().unwrap();
        let book = book(directory.path());
        let block = |value, transactions| Block { value, transactions, ..Block::default() };
        let wanted = tx(1, 0, 1);
        let held = block(9, vec![wanted.clone()]).submit(1);
        book.place(Candidate::new(held), None, false, || Arc::from([])).unwrap();
        let (leading, mut live) = book.top_bids(0);
        assert_eq!(leading.iter().map(read).collect::<Vec<_>>(), [(10, 5, U256::from(9))]);
        assert!(book.top_bids(11).0.is_empty(), "of slots ahead alone");

        let other = block(20, vec![]).submit(2);
        book.place(Candidate::new(other), None, false, || Arc::from([])).unwrap();
        assert_eq!(read(&live.try_recv().unwrap()), (10, 5, U256::from(20)));
        // It falls to the one that holds what is required; which is then sealed anew, and still leads; then none does.
        let required = |wanted: &[alloy_primitives::Bytes]| -> Arc<[Required]> {
            wanted.iter().map(|raw| Required::new(raw.clone(), 1337).unwrap()).collect()
        };
        book.require(10, |_| required(std::slice::from_ref(&wanted))).unwrap();
        assert_eq!(read(&live.try_recv().unwrap()), (10, 5, U256::from(9)));
        book.require(10, |_| required(&[wanted.clone(), wanted.clone()])).unwrap();
        assert!(live.try_recv().is_err(), "the same bid under other proofs");
        book.require(10, |_| required(&[wanted.clone(), tx(9, 9, 9)])).unwrap();
        let none = live.try_recv().unwrap();
        assert_eq!(read(&none), (10, 0, U256::ZERO));
        assert!(live.try_recv().is_err());
    }
}
