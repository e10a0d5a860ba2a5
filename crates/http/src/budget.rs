//! Bytes of bodies that a process holds at once, with a share for each client.

use crate::body::BodyError;
use crate::limit::group;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;
use tokio::sync::Semaphore;

/// A budget of body bytes. Clones are the same one.
///
/// Bodies are counted by the memory that holds them, compressed and decompressed ones alike, from their first byte until
/// their lease is dropped. What has been made of a body should live no longer than its lease.
#[derive(Clone, Debug)]
pub struct BodyBudget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    max_bytes: usize,
    max_bytes_per_client: usize,
    held: Mutex<Held>,
    inflating: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    clients: HashMap<IpAddr, usize>,
}

impl BodyBudget {
    /// At most `max_bytes` at once, of them `max_bytes_per_client` of one IPv4 address or IPv6 /64. Neither should be
    /// less than twice the largest body, or a compressed one of that size never fits.
    pub fn new(max_bytes: usize, max_bytes_per_client: usize) -> Self {
        let cores = available_parallelism().map_or(2, usize::from).min(Semaphore::MAX_PERMITS);
        let inner = Inner {
            max_bytes,
            max_bytes_per_client,
            held: Mutex::default(),
            inflating: Arc::new(Semaphore::new(cores)),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A lease without bytes, for one body of a client.
    pub fn lease(&self, client: IpAddr) -> BodyLease {
        BodyLease { budget: self.clone(), client: group(client.to_canonical()), bytes: 0 }
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.inner.held.lock().bytes
    }

    /// Turns at decompressing, one for each core.
    pub(crate) fn inflating(&self) -> Arc<Semaphore> {
        Arc::clone(&self.inner.inflating)
    }
}

/// Bytes of a budget, given back when dropped. Whoever works on a body after its request is gone holds this.
#[derive(Debug)]
#[must_use = "dropping a lease gives its bytes back"]
pub struct BodyLease {
    budget: BodyBudget,
    client: IpAddr,
    bytes: usize,
}

impl BodyLease {
    /// A lease of a budget without limit, for servers whose clients are trusted or bounded otherwise.
    pub fn unlimited() -> Self {
        static UNLIMITED: LazyLock<BodyBudget> = LazyLock::new(|| BodyBudget::new(usize::MAX, usize::MAX));
        UNLIMITED.lease(Ipv4Addr::UNSPECIFIED.into())
    }

    /// Bytes of this lease.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn budget(&self) -> &BodyBudget {
        &self.budget
    }

    /// Takes more, or nothing.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), BodyError> {
        let Inner { max_bytes, max_bytes_per_client, held, .. } = &*self.budget.inner;
        let mut held = held.lock();
        let of_client = held.clients.get(&self.client).copied().unwrap_or_default().saturating_add(bytes);
        if of_client > *max_bytes_per_client {
            return Err(refused("client", BodyError::ClientBusy));
        }
        let of_all = held.bytes.saturating_add(bytes);
        if of_all > *max_bytes {
            return Err(refused("process", BodyError::Busy));
        }
        held.bytes = of_all;
        if of_client > 0 {
            held.clients.insert(self.client, of_client);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Gives some back.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        let mut held = self.budget.inner.held.lock();
        held.bytes = held.bytes.saturating_sub(bytes);
        let left = held.clients.get(&self.client).map_or(0, |of_client| of_client.saturating_sub(bytes));
        if left == 0 {
            held.clients.remove(&self.client);
        } else {
            held.clients.insert(self.client, left);
        }
    }
}

impl Drop for BodyLease {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

fn refused(whose: &'static str, error: BodyError) -> BodyError {
    metrics::counter!("earnest_http_bodies_refused_total", "budget" => whose).increment(1);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_spends_its_share_and_all_together_the_whole() {
        let budget = BodyBudget::new(100, 40);
        let mut first = budget.lease(ip("1.1.1.1"));
        let mut again = budget.lease(ip("::ffff:1.1.1.1"));
        first.take(30).unwrap();
        assert_eq!(again.take(11), Err(BodyError::ClientBusy));
        again.take(10).unwrap();
        let mut second = budget.lease(ip("2001:db8::1"));
        second.take(40).unwrap();
        assert_eq!(
            budget.lease(ip("2001:db8::2")).take(1),
            Err(BodyError::ClientBusy),
            "one /64 is one client"
        );
        let mut third = budget.lease(ip("3.3.3.3"));
        assert_eq!(third.take(21), Err(BodyError::Busy));
        third.take(20).unwrap();
        assert_eq!((budget.held(), third.bytes()), (100, 20));
        first.give_back(10);
        third.take(10).unwrap();
        drop((first, again, second, third));
        assert_eq!(budget.held(), 0);
        assert!(budget.inner.held.lock().clients.is_empty(), "nothing is kept of those who left");
    }
}
