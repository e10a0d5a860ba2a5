//! Requests per client.

use crate::error::ApiError;
use crate::layers::not_found;
use crate::serve::PeerAddr;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::{HeaderMap, StatusCode};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How often old clients are forgotten, in requests.
const SWEEP_EVERY: u32 = 4096;

/// How much one client may ask.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitConfig {
    /// Requests per second in the long run. Default 200; 0 switches the limit off.
    pub per_second: u32,
    /// Requests at once. Default 400.
    pub burst: u32,
    /// Proxies whose `X-Forwarded-For` is believed, as addresses or networks (`10.0.0.0/8`). Default none.
    #[serde(with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self { per_second: 200, burst: 400, trusted_proxies: Vec::new() }
    }
}

/// Networks in the configuration: `10.0.0.0/8`, or one address alone.
mod networks {
    use super::{IpAddr, IpNet};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
        Vec::<String>::deserialize(deserializer)?
            .iter()
            .map(|text| {
                text.parse::<IpNet>()
                    .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                    .map_err(|_| D::Error::custom(format!("{text:?} is not an address or a network")))
            })
            .collect()
    }

    pub(super) fn serialize<S: Serializer>(networks: &[IpNet], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(networks.iter().map(ToString::to_string))
    }
}

/// Counts requests per client. Cloning shares the counts.
#[derive(Clone)]
pub struct ClientLimiter {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    trusted: Vec<IpNet>,
    since_sweep: AtomicU32,
}

impl ClientLimiter {
    /// A limiter without any client yet.
    pub fn new(config: &LimitConfig) -> Self {
        let Some(rate) = NonZeroU32::new(config.per_second) else { return Self { inner: None } };
        let burst = NonZeroU32::new(config.burst).unwrap_or(rate);
        let inner = Inner {
            limiter: RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)),
            trusted: config.trusted_proxies.clone(),
            since_sweep: AtomicU32::new(0),
        };
        Self { inner: Some(Arc::new(inner)) }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// 429 `busy` with the seconds until the next one will pass.
    pub fn check(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(inner) = &self.inner else { return Ok(()) };
        if inner.since_sweep.fetch_add(1, Ordering::Relaxed) >= SWEEP_EVERY {
            inner.since_sweep.store(0, Ordering::Relaxed);
            inner.limiter.retain_recent();
        }
        let client = group(client_address(peer, headers, &inner.trusted));
        inner.limiter.check_key(&client).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            metrics::counter!("earnest_http_limited_total").increment(1);
            ApiError::named(StatusCode::TOO_MANY_REQUESTS, "busy", "too many requests from this address")
                .retry_after(wait.as_secs().saturating_add(1))
        })
    }

    /// Puts the limit before every route of a router that [`serve()`](crate::serve::serve) will serve, and
    /// before its 404 and 405, which are the only fallbacks it may have: paths that do not exist cost too.
    pub fn guard(&self, router: Router) -> Router {
        let limiter = self.clone();
        // A fallback of its own stays, with its limit, when the router is merged with an unguarded one.
        router.fallback(async || not_found()).layer(from_fn(move |request: Request, next: Next| {
            let limiter = limiter.clone();
            async move { limiter.pass(request, next).await }
        }))
    }

    async fn pass(&self, request: Request, next: Next) -> Response {
        let peer = request.extensions().get::<PeerAddr>().copied();
        if let Some(PeerAddr(peer)) = peer
            && let Err(error) = self.check(peer.ip(), request.headers())
        {
            return error.into_response();
        }
        next.run(request).await
    }
}

/// The client's address: the peer, or, behind trusted proxies, the last address of `X-Forwarded-For`
/// that is not itself a trusted proxy. What an untrusted peer writes there counts for nothing.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let peer = peer.to_canonical();
    if !is_trusted(&peer) {
        return peer;
    }
    let mut client = peer;
    for value in headers.get_all("x-forwarded-for").iter().rev() {
        let Ok(text) = value.to_str() else { return client };
        for hop in text.rsplit(',') {
            let Some(address) = hop_address(hop.trim()) else { return client };
            client = address.to_canonical();
            if !is_trusted(&client) {
                return client;
            }
        }
    }
    client
}

/// An entry of `X-Forwarded-For`: an address, which some proxies follow with the port or put in brackets.
fn hop_address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|hop| hop.ip())).or_else(bracketed)
}

/// One client per IPv4 address, and per IPv6 /64, which one host has whole.
pub(crate) fn group(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn forwarded(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        headers
    }

    #[test]
    fn client_address_by_table() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let cases: &[(&str, &[&str], &str)] = &[
            ("1.2.3.4", &[], "1.2.3.4"),
            ("1.2.3.4", &["9.9.9.9"], "1.2.3.4"),
            ("10.1.1.1", &["9.9.9.9"], "9.9.9.9"),
            ("10.1.1.1", &["6.6.6.6, 9.9.9.9"], "9.9.9.9"),
            ("10.1.1.1", &["9.9.9.9, 10.2.2.2"], "9.9.9.9"),
            ("10.1.1.1", &["6.6.6.6", "9.9.9.9"], "9.9.9.9"),
            ("10.1.1.1", &["6.6.6.6, 9.9.9.9:4711"], "9.9.9.9"),
            ("10.1.1.1", &["9.9.9.9, 10.2.2.2:80"], "9.9.9.9"),
            ("10.1.1.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.1.1.1", &["[2001:db8::7]"], "2001:db8::7"),
            ("10.1.1.1", &["9.9.9.9:99999"], "10.1.1.1"),
            ("10.1.1.1", &["[9.9.9.9]"], "10.1.1.1"),
            ("10.1.1.1", &["junk"], "10.1.1.1"),
            ("10.1.1.1", &["9.9.9.9, junk"], "10.1.1.1"),
            ("10.1.1.1", &[], "10.1.1.1"),
            ("10.1.1.1", &["10.3.3.3"], "10.3.3.3"),
            ("::ffff:10.1.1.1", &["9.9.9.9"], "9.9.9.9"),
            ("::1", &["2001:db8::7"], "2001:db8::7"),
        ];
        for (peer, lines, expected) in cases {
            assert_eq!(
                client_address(ip(peer), &forwarded(lines), &trusted),
                ip(expected),
                "{peer} {lines:?}"
            );
        }
    }

    #[test]
    fn one_client_does_not_spend_anothers_budget() {
        let config = LimitConfig { per_second: 1, burst: 2, trusted_proxies: vec![] };
        let limiter = ClientLimiter::new(&config);
        let none = HeaderMap::new();
        assert!(limiter.check(ip("1.1.1.1"), &none).is_ok());
        assert!(limiter.check(ip("1.1.1.1"), &none).is_ok());
        let error = limiter.check(ip("1.1.1.1"), &none).unwrap_err();
        assert_eq!(error.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(error.body()["code"], "busy");
        assert_eq!(error.retry_after, Some(1));
        assert!(limiter.check(ip("2.2.2.2"), &none).is_ok());
        assert!(limiter.check(ip("2001:db8::1"), &none).is_ok());
        assert!(limiter.check(ip("2001:db8::2"), &none).is_ok());
        assert!(limiter.check(ip("2001:db8::3"), &none).is_err(), "one /64 is one client");
        assert!(limiter.check(ip("2001:db8:0:1::3"), &none).is_ok());
    }

    #[test]
    fn zero_switches_it_off() {
        let limiter = ClientLimiter::new(&LimitConfig { per_second: 0, ..LimitConfig::default() });
        assert!((0..10_000).all(|_| limiter.check(ip("1.1.1.1"), &HeaderMap::new()).is_ok()));
    }

    #[test]
    fn configuration() {
        let config: LimitConfig =
            serde_json::from_str(r#"{"per_second": 5, "trusted_proxies": ["10.0.0.0/8", "::1"]}"#).unwrap();
        assert_eq!(config.per_second, 5);
        assert_eq!(config.burst, 400);
        assert_eq!(config.trusted_proxies.len(), 2);
        assert!(serde_json::from_str::<LimitConfig>(r#"{"trusted_proxies": ["nowhere"]}"#).is_err());
        assert!(serde_json::from_str::<LimitConfig>(r#"{"per_secnd": 5}"#).is_err());
    }

    #[test]
    fn any_forwarded_address_is_of_a_client_or_of_the_proxy() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        bolero::check!().with_iterations(1000).with_type::<Vec<Vec<u8>>>().for_each(|lines| {
            let mut headers = HeaderMap::new();
            for line in lines {
                if let Ok(value) = http::HeaderValue::from_bytes(line) {
                    headers.append("x-forwarded-for", value);
                }
            }
            assert_eq!(client_address(ip("1.2.3.4"), &headers, &trusted), ip("1.2.3.4"));
            let client = client_address(ip("10.1.1.1"), &headers, &trusted);
            assert!(client == ip("10.1.1.1") || !headers.is_empty());
        });
    }
}
