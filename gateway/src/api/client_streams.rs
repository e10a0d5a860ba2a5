//! How many streams one client has open.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use earnest_http::{ApiError, LimitConfig, limit::client_address};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;

/// Counts open streams for each client's address.
#[derive(Debug)]
pub(crate) struct ClientStreams {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
    /// For its trusted proxies.
    clients: LimitConfig,
}

/// One stream of a client, counted until it is dropped.
#[derive(Debug)]
pub(super) struct ClientStream {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    client: IpAddr,
}

impl ClientStreams {
    pub(crate) fn new(most: usize, clients: LimitConfig) -> Self {
        Self { open: Arc::default(), most, clients }
    }

    /// Counts one more stream.
    ///
    /// # Errors
    /// 429 `too_many_streams`.
    pub(super) fn open(&self, peer: IpAddr, headers: &HeaderMap) -> Result<ClientStream, ApiError> {
        let client = one_client(client_address(peer, headers, &self.clients.trusted_proxies));
        let mut open = self.open.lock();
        let count = open.get(&client).copied().unwrap_or_default();
        if count >= self.most {
            let message = format!("{count} streams are open from this address: close one first");
            let error = ApiError::named(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", message);
            return Err(error.retry_after(5));
        }
        open.insert(client, count.saturating_add(1));
        Ok(ClientStream { open: Arc::clone(&self.open), client })
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        let left = open.get(&self.client).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            open.remove(&self.client);
        } else {
            open.insert(self.client, left);
        }
    }
}

/// One client per IPv4 address, and per IPv6 /64, which one host has whole.
fn one_client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_streams() {
        let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let streams = ClientStreams::new(2, LimitConfig { trusted_proxies, ..LimitConfig::default() });
        let none = HeaderMap::new();
        let open = |peer: &str, headers| streams.open(peer.parse().unwrap(), headers);
        let first = open("2001:db8::1", &none).unwrap();
        let second = open("2001:db8::2", &none).unwrap();
        let error = open("2001:db8::3", &none).unwrap_err();
        assert_eq!((error.status.as_u16(), error.body()["code"].as_str()), (429, Some("too_many_streams")));
        let other = open("1.1.1.1", &none).unwrap();
        drop(first);
        let again = open("2001:db8::3", &none).unwrap();

        let mut behind = HeaderMap::new();
        behind.insert("x-forwarded-for", "1.1.1.1".parse().unwrap());
        let proxied = open("10.0.0.1", &behind).unwrap();
        assert!(open("10.0.0.2", &behind).is_err(), "one client behind two proxies");
        drop((other, proxied, again, second));
        assert!(streams.open.lock().is_empty(), "nothing is kept of those who left");
    }
}
