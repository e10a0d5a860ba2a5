//! Streams that are open: in all, of each kind, and of each client.

use earnest_http::{ApiError, ClientStream, ClientStreams, LimitConfig};
use http::{HeaderMap, StatusCode};
use std::{net::IpAddr, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    all: Arc<Semaphore>,
    top_bids: Arc<Semaphore>,
    constraints: Arc<Semaphore>,
    events: Arc<Semaphore>,
    clients: ClientStreams,
}

/// A place, free again when dropped. Until then its stream counts as open.
#[derive(Debug)]
pub(crate) struct Place {
    kind: Kind,
    _permits: [OwnedSemaphorePermit; 2],
    _client: ClientStream,
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!("earnest_relay_streams", "stream" => self.kind.name()).decrement(1);
    }
}

impl Streams {
    /// At most `most` streams, `per_client` of each client, and half of all of one kind: however many listen to events,
    /// builders still hear of bids and of constraints.
    pub(crate) fn new(most: usize, per_client: usize, clients: LimitConfig) -> Self {
        let places = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        let of_kind = most.div_ceil(2);
        Self {
            all: places(most),
            top_bids: places(of_kind),
            constraints: places(of_kind),
            events: places(of_kind),
            clients: ClientStreams::new(per_client, clients),
        }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// `too_many_streams`: 429 if the client has as many as it may, 503 if all places are taken, or all of the kind. The
    /// connection ends with that: those who are turned away hold none.
    pub(crate) fn open(&self, kind: Kind, peer: IpAddr, headers: &HeaderMap) -> Result<Place, ApiError> {
        let client = self.clients.open(peer, headers).map_err(ApiError::closing)?;
        let of_kind = match kind {
            Kind::TopBids => &self.top_bids,
            Kind::Constraints => &self.constraints,
            Kind::Events => &self.events,
        };
        let take = |places: &Arc<Semaphore>, message| {
            Arc::clone(places).try_acquire_owned().map_err(|_| {
                ApiError::named(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message)
                    .retry_after(5)
                    .closing()
            })
        };
        let permits = [
            take(of_kind, "too many streams of this kind are open; try again later")?,
            take(&self.all, "too many streams are open; try again later")?,
        ];
        metrics::gauge!("earnest_relay_streams", "stream" => kind.name()).increment(1);
        Ok(Place { kind, _permits: permits, _client: client })
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
        let streams = Streams::new(8, 2, LimitConfig::default());
        let mut crowd: Vec<Place> =
            [1, 1, 2, 2].map(|client| open(&streams, Kind::Events, client).unwrap()).into();
        assert_eq!(open(&streams, Kind::Events, 1).unwrap_err(), (429, true));
        assert_eq!(open(&streams, Kind::Events, 3).unwrap_err(), (503, true), "half of all places");
        let others = [
            open(&streams, Kind::Constraints, 3).unwrap(),
            open(&streams, Kind::TopBids, 3).unwrap(),
            open(&streams, Kind::Constraints, 4).unwrap(),
            open(&streams, Kind::TopBids, 4).unwrap(),
        ];
        assert_eq!(open(&streams, Kind::TopBids, 5).unwrap_err(), (503, true), "all places");
        crowd.pop();
        let again = open(&streams, Kind::Events, 5).unwrap();
        drop((crowd, others, again));
        assert_eq!(streams.all.available_permits(), 8);
        assert_eq!(streams.events.available_permits(), 4);
    }

    #[test]
    fn a_single_place_is_for_any_kind() {
        let streams = Streams::new(1, 1, LimitConfig::default());
        for kind in [Kind::TopBids, Kind::Constraints, Kind::Events] {
            drop(open(&streams, kind, 1).unwrap());
        }
    }
}
