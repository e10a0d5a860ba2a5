//! Streams that are open: in all, and of each client.

use earnest_http::{ApiError, ClientStream, ClientStreams, LimitConfig};
use http::{HeaderMap, StatusCode};
use std::{net::IpAddr, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for streams.
#[derive(Debug)]
pub(crate) struct Streams {
    all: Arc<Semaphore>,
    clients: ClientStreams,
}

impl Streams {
    /// At most `most` streams, and `per_client` of each client.
    pub(crate) fn new(most: usize, per_client: usize, clients: LimitConfig) -> Self {
        let all = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { all, clients: ClientStreams::new(per_client, clients) }
    }

    /// Takes a place, which is free again when what is returned is dropped.
    ///
    /// # Errors
    /// `too_many_streams`: 429 if the client has as many as it may, 503 if all places are taken.
    pub(crate) fn open(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
    ) -> Result<(ClientStream, OwnedSemaphorePermit), ApiError> {
        let client = self.clients.open(peer, headers)?;
        let permit = Arc::clone(&self.all).try_acquire_owned().map_err(|_| {
            let message = "too many streams are open; try again later";
            ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message).retry_after(5)
        })?;
        Ok((client, permit))
    }
}
