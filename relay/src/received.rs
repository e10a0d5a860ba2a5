//! Bids received, for the data API. A submission only leaves its bid in a bounded channel; one task writes what has come
//! a few times a second, and folds it in. A bid that a crash takes before it is written breaks no promise: it is missing
//! from the data API, no more.

mod archive;
mod index;

pub(crate) use index::{ReceivedBid, ReceivedFilter, Room};

use crate::relay::Relay;
use archive::Archive;
use earnest_builder_types::BidTrace;
use index::ReceivedBids;
use parking_lot::{Mutex, RwLock};
use std::{convert::Infallible, io, path::Path, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Bids on their way to the task; more are left out.
const WAITING: usize = 8_192;
/// How long bids are collected for one record.
const COLLECT: Duration = Duration::from_millis(250);

/// What builders bid, as far as it is kept.
#[derive(Debug)]
pub(crate) struct Received {
    waiting: mpsc::Sender<ReceivedBid>,
    bids: RwLock<ReceivedBids>,
    room: Room,
}

/// Writes what [`Received::record`] notes.
#[derive(Debug)]
pub(crate) struct Recorder {
    arriving: mpsc::Receiver<ReceivedBid>,
    archive: Arc<Mutex<Archive>>,
}

impl Received {
    /// Reads what is kept in a directory. Blocks.
    ///
    /// # Errors
    /// The directory cannot be made or listed.
    pub(crate) fn open(directory: &Path, free_space_floor: u64, room: Room) -> io::Result<(Self, Recorder)> {
        let mut bids = ReceivedBids::new(room);
        let archive = Archive::open(directory, free_space_floor, room.bids, |bid| bids.insert(bid))?;
        let (waiting, arriving) = mpsc::channel(WAITING);
        let received = Self { waiting, bids: RwLock::new(bids), room };
        Ok((received, Recorder { arriving, archive: Arc::new(Mutex::new(archive)) }))
    }

    /// Notes a bid that passed its checks. Never waits: what finds the channel full is counted and left out.
    pub(crate) fn record(&self, trace: &BidTrace, block_number: u64, num_tx: u64, received_at_ms: u64) {
        let bid = ReceivedBid { trace: trace.clone(), block_number, num_tx, received_at_ms };
        if self.waiting.try_send(bid).is_err() {
            metrics::counter!("earnest_relay_received_bids_total", "outcome" => "left_out").increment(1);
        }
    }

    /// Bids that the filter takes, those of the newest slot first and of a slot the newest: at most `limit`, or as many
    /// as are kept of one slot.
    pub(crate) fn find(&self, filter: &ReceivedFilter, limit: Option<usize>) -> Vec<ReceivedBid> {
        self.bids.read().find(filter, limit.unwrap_or(self.room.per_slot))
    }

    /// How many bids are kept.
    pub(crate) fn len(&self) -> usize {
        self.bids.read().len()
    }

    /// How many builders have a bid for `slot` or a later one.
    pub(crate) fn builders_from(&self, slot: u64) -> usize {
        self.bids.read().builders_from(slot)
    }

    fn insert(&self, bids: Vec<ReceivedBid>) {
        let mut kept = self.bids.write();
        bids.into_iter().for_each(|bid| kept.insert(bid));
    }
}

impl Recorder {
    /// Writes and folds in what comes, until shutdown and then what has come by then.
    pub(crate) async fn run(mut self, relay: Arc<Relay>) -> Result<(), Infallible> {
        let shutdown = relay.tasks.token();
        while let Some(bids) = self.collect(&shutdown).await {
            let bids = self.write(bids).await;
            relay.received.insert(bids);
        }
        shutdown.cancelled().await;
        self.archive.lock().close();
        Ok(())
    }

    /// What comes within [`COLLECT`] of the first bid; at shutdown what is there, then nothing.
    async fn collect(&mut self, shutdown: &CancellationToken) -> Option<Vec<ReceivedBid>> {
        let first = tokio::select! {
            biased;
            first = self.arriving.recv() => first?,
            () = shutdown.cancelled() => {
                self.arriving.close();
                self.arriving.recv().await?
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(COLLECT) => {}
        }
        let mut bids = vec![first];
        while let Ok(next) = self.arriving.try_recv() {
            bids.push(next);
        }
        Some(bids)
    }

    /// Writes bids and gives them back: those that cannot be written are shown all the same.
    async fn write(&self, bids: Vec<ReceivedBid>) -> Vec<ReceivedBid> {
        let archive = Arc::clone(&self.archive);
        let written = tokio::task::spawn_blocking(move || (archive.lock().append(&bids), bids)).await;
        let Ok((written, bids)) = written else { return Vec::new() };
        let outcome = match written {
            Ok(()) => "written",
            Err(error) => {
                tracing::error!(%error, "bids received are not written");
                "not_written"
            }
        };
        metrics::counter!("earnest_relay_received_bids_total", "outcome" => outcome)
            .increment(bids.len() as u64);
        bids
    }
}
