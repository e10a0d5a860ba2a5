//! How many streams one client has open.

use crate::error::ApiError;
use crate::limit::{LimitConfig, client_address, group};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Counts open streams for each client's address.
#[derive(Debug)]
pub struct ClientStreams {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
    /// For its trusted proxies.
    clients: LimitConfig,
}

/// One stream of a client, counted until it is dropped.
#[derive(Debug)]
pub struct ClientStream {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    client: IpAddr,
}

impl ClientStreams {
    /// At most `most` streams for each client.
    pub fn new(most: usize, clients: LimitConfig) -> Self {
        Self { open: Arc::default(), most, clients }
    }

    /// Counts one more stream.
    ///
    /// # Errors
    /// 429 `too_many_streams`.
    pub fn open(&self, peer: IpAddr, headers: &HeaderMap) -> Result<ClientStream, ApiError> {
        let client = group(client_address(peer, headers, &self.clients.trusted_proxies));
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
