//! Streams that are open: of each kind, and of each client.

use earnest_http::{ApiError, ClientStream, ClientStreams, LimitConfig};
use http::{HeaderMap, StatusCode};
use std::{net::IpAddr, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Readers of events that are sent something at once.
const TURNS: usize = 4;

/// What a stream tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bids that lead, told to builders.
    TopBids,
    /// Constraints, told to builders and gateways.
    Constraints,
    /// What happens here, told to anyone.
    Events,
}

impl Kind {
    /// Its name in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TopBids => "top_bid",
            Self::Constraints => "constraints",
            Self::Events => "events",
        }
    }
}

/// Places for streams.
#[derive(Debug)]
pub(crate) struct Streams {
    top_bids: Arc<Semaphore>,
    constraints: Arc<Semaphore>,
    events: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    clients: ClientStreams,
}

/// A place, free again when dropped. Until then its stream counts as open.
#[derive(Debug)]
pub(crate) struct Place {
    kind: Kind,
    turns: Arc<Semaphore>,
    _permit: OwnedSemaphorePermit,
    _client: ClientStream,
}

impl Place {
    /// What its stream tells.
    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Turns at sending to readers, which all streams share.
    pub(crate) fn turns(&self) -> Arc<Semaphore> {
        Arc::clone(&self.turns)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!("earnest_relay_streams", "stream" => self.kind.name()).decrement(1);
    }
}

impl Streams {
    /// At most `most` streams, a third of them of each kind, and `per_client` of each client: however many listen to
    /// events, builders still hear of bids and of constraints.
    pub(crate) fn new(most: usize, per_client: usize, clients: LimitConfig) -> Self {
        let places = || Arc::new(Semaphore::new(most.div_ceil(3).min(Semaphore::MAX_PERMITS)));
        Self {
            top_bids: places(),
            constraints: places(),
            events: places(),
            turns: Arc::new(Semaphore::new(TURNS)),
            clients: ClientStreams::new(per_client, clients),
        }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// `too_many_streams`: 429 if the client has as many as it may, 503 if all places of the kind are taken. The
    /// connection ends with that: those who are turned away hold none.
    pub(crate) fn open(&self, kind: Kind, peer: IpAddr, headers: &HeaderMap) -> Result<Place, ApiError> {
        let client = self.clients.open(peer, headers).map_err(ApiError::closing)?;
        let of_kind = match kind {
            Kind::TopBids => &self.top_bids,
            Kind::Constraints => &self.constraints,
            Kind::Events => &self.events,
        };
        let permit = Arc::clone(of_kind).try_acquire_owned().map_err(|_| {
            let message = "too many streams of this kind are open; try again later";
            ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message)
                .retry_after(5)
                .closing()
        })?;
        metrics::gauge!("earnest_relay_streams", "stream" => kind.name()).increment(1);
        Ok(Place { kind, turns: Arc::clone(&self.turns), _permit: permit, _client: client })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(streams: &Streams, kind: Kind, client: u8) -> Result<Place, (u16, bool)> {
        let peer = IpAddr::from([1, 1, 1, client]);
        streams.open(kind, peer, &HeaderMap::new()).map_err(|error| (error.status.as_u16(), error.closes))
    }

    #[test]
    fn a_crowd_of_one_kind_leaves_the_others_their_places() {
        let streams = Streams::new(12, 2, LimitConfig::default());
        for crowd in [Kind::Events, Kind::Constraints, Kind::TopBids] {
            let mut readers: Vec<Place> =
                [1, 1, 2, 2].map(|client| open(&streams, crowd, client).unwrap()).into();
            assert_eq!(open(&streams, crowd, 1).unwrap_err(), (429, true));
            assert_eq!(open(&streams, crowd, 3).unwrap_err(), (503, true));
            for other in [Kind::Events, Kind::Constraints, Kind::TopBids] {
                assert_eq!(open(&streams, other, 3).is_ok(), other != crowd, "{other:?} beside {crowd:?}");
            }
            readers.pop();
            drop(open(&streams, crowd, 3).unwrap());
        }
    }

    #[test]
    fn a_single_place_is_for_any_kind() {
        let streams = Streams::new(1, 1, LimitConfig::default());
        for kind in [Kind::TopBids, Kind::Constraints, Kind::Events] {
            drop(open(&streams, kind, 1).unwrap());
        }
    }
}
