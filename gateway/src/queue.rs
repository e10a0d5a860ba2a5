//! The bounded way from requests to the sequencer.

use std::sync::mpsc::{SyncSender, TrySendError};

use earnest_protocol::{RollupId, Slot, tx::ValidatedTx};
use tokio::sync::oneshot;

use crate::{
    board::Place,
    records::{Event, WindowOpened},
    sequencer::{Command, Refusal},
};

/// Why a transaction did not reach the sequencer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueueError {
    #[error("too many transactions are waiting; try again shortly")]
    Full,
    #[error("the gateway is stopping")]
    Stopped,
    #[error("the journal's disk is full")]
    NoSpace,
}

/// Sending end of the sequencer's queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue(SyncSender<Command>);

impl Queue {
    pub(crate) const fn new(sender: SyncSender<Command>) -> Self {
        Self(sender)
    }

    /// Waits for the transaction's place, or for the reason why it has none.
    pub(crate) async fn submit(
        &self,
        rollup: RollupId,
        transaction: ValidatedTx,
    ) -> Result<Result<Place, Refusal>, QueueError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Submit { rollup, transaction, answer })?;
        answered.await.map_err(|_| QueueError::Stopped)
    }

    /// Gives the sequencer a window to take up at its start.
    pub(crate) fn take(&self, window: WindowOpened) -> Result<(), QueueError> {
        self.send(Command::Take(Box::new(window)))
    }

    /// Makes an event durable that keeps a promise already made.
    pub(crate) async fn record(&self, event: Event) -> Result<(), QueueError> {
        let (done, is_done) = oneshot::channel();
        self.send(Command::Record { event, done })?;
        if is_done.await.map_err(|_| QueueError::Stopped)? { Ok(()) } else { Err(QueueError::NoSpace) }
    }

    /// Takes back a window that was handed over and has not begun.
    pub(crate) fn revoke(&self, rollup: RollupId, slot: Slot) -> Result<(), QueueError> {
        self.send(Command::Revoke { rollup, slot })
    }

    fn send(&self, command: Command) -> Result<(), QueueError> {
        self.0.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => QueueError::Full,
            TrySendError::Disconnected(_) => QueueError::Stopped,
        })
    }
}
