//! The server: bounded connections, bounded heads, and a drain at shutdown.

use crate::layers::layered;
use crate::limit::group;
use crate::stall::{Answer, Turn, Watched};
use crate::unread;
use axum::Router;
use http::{HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Bytes that the system takes for a client before it sends them: what waits for one that reads slowly is held back here,
/// where it is bounded, and not in the system's memory, which would take megabytes for each.
const UNSENT_BYTES: u32 = 64 << 10;
/// Files that stay for other things than connections, at the least.
const OTHER_FILES: u64 = 64;

/// The address at the other end of the connection, an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// What connections may cost.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Connections at once, and no more than [`affordable`]; more wait in the listener's backlog. Default 4,096.
    pub max_connections: usize,
    /// Connections at once of one IPv4 address or IPv6 /64; more are closed at once. 0 is no cap. Default 256.
    pub max_connections_per_client: usize,
    /// Networks without that cap, such as those of trusted proxies. Default none.
    pub exempt: Vec<IpNet>,
    /// Time for the head of a request from its first byte, and from the connection for the first. Default 15 s.
    pub head_time: Duration,
    /// Time that a connection may idle between requests. Default 75 s.
    pub idle_time: Duration,
    /// Time that an answer may wait for a client that reads nothing of it. Default 30 s.
    pub write_time: Duration,
    /// Bytes of a request's head. Default 16 KiB.
    pub head_bytes: usize,
    /// Time from a request to the head of its answer. Default 30 s.
    pub request_time: Duration,
    /// Time for what is in flight when shutdown begins. Default 10 s.
    pub drain_time: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_connections_per_client: 256,
            exempt: Vec::new(),
            head_time: Duration::from_secs(15),
            idle_time: Duration::from_secs(75),
            write_time: Duration::from_secs(30),
            head_bytes: 16 << 10,
            request_time: Duration::from_secs(30),
            drain_time: Duration::from_secs(10),
        }
    }
}

/// Serves until `shutdown`, then accepts nothing, lets requests in flight end, and closes what is left
/// after `drain_time`. A stream that never ends has to watch the token itself.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServerLimits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let router = layered(router, limits.request_time);
    let max_connections = affordable(limits.max_connections);
    if max_connections < limits.max_connections {
        tracing::warn!(
            limits.max_connections,
            max_connections,
            "the process may open too few files for so many connections: raise the limit (ulimit -n)"
        );
    }
    let clients = Clients::default();
    let slots = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, peer)| (slot, stream, peer))
        };
        let (slot, stream, peer) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accepted => match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
        };
        let Some(place) = clients.admit(peer.ip(), &limits) else {
            metrics::counter!("earnest_http_connections_refused_total").increment(1);
            tracing::debug!(%peer, "too many connections of this client");
            continue;
        };
        let connection = connect(stream, peer, router.clone(), limits.clone(), shutdown.clone());
        let abort = abort.clone();
        connections.spawn(async move {
            tokio::select! {
                () = connection => {}
                () = abort.cancelled() => {}
            }
            drop((slot, place));
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain_time, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "closing connections that did not end in time");
        abort.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// How many of so many connections the process can serve at once: whoever connects must not use up the files that the role
/// needs for its own work, such as to publish a block. Raises the process's limit of open files as far as it may.
pub fn affordable(connections: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let open_files = if limit.current == limit.maximum || setrlimit(Resource::Nofile, raised).is_err() {
        limit.current
    } else {
        limit.maximum
    };
    within_files(connections, open_files)
}

/// Of so many files, of which `None` is no limit, a quarter are not for connections.
fn within_files(connections: usize, open_files: Option<u64>) -> usize {
    let Some(files) = open_files else { return connections };
    let most = files.saturating_sub((files / 4).max(OTHER_FILES)).max(1);
    connections.min(usize::try_from(most).unwrap_or(usize::MAX))
}

/// Open connections by client.
#[derive(Clone, Default)]
struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A client's place for one connection, free again when dropped.
struct Place(Option<(Clients, IpAddr)>);

impl Clients {
    fn admit(&self, peer: IpAddr, limits: &ServerLimits) -> Option<Place> {
        let peer = peer.to_canonical();
        if limits.max_connections_per_client == 0 || limits.exempt.iter().any(|net| net.contains(&peer)) {
            return Some(Place(None));
        }
        let client = group(peer);
        let mut open = self.0.lock();
        let count = open.entry(client).or_default();
        if *count >= limits.max_connections_per_client {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Place(Some((self.clone(), client))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((clients, client)) = self.0.take() else { return };
        if let Entry::Occupied(mut open) = clients.0.lock().entry(client) {
            if *open.get() <= 1 {
                open.remove();
            } else {
                *open.get_mut() = open.get().saturating_sub(1);
            }
        }
    }
}

/// The listener itself is unusable; anything else (too many files, a reset peer) passes.
fn is_fatal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected)
}

async fn connect(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: ServerLimits,
    shutdown: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "cannot set TCP_NODELAY");
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES) {
        tracing::debug!(%error, %peer, "cannot set TCP_NOTSENT_LOWAT");
    }
    let turn = Turn::default();
    let stream = Watched::new(stream, turn.clone(), limits.head_time, limits.write_time);
    let service = service_fn(move |request: Request<Incoming>| {
        let serving = turn.begin();
        let (head, body) = request.into_parts();
        let (body, rest) = unread::watched(body);
        let mut request = Request::from_parts(head, body);
        request.extensions_mut().insert(PeerAddr(peer));
        let answering = router.clone().oneshot(request);
        async move {
            let mut response = answering.await?;
            if rest.is_some_and(|rest| rest.is_unread()) {
                // Nobody will read the rest, so that no other request can follow on this connection.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            let serving = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                serving.forever();
                None
            } else {
                Some(serving)
            };
            Ok::<_, Infallible>(response.map(|body| Answer::new(body, serving)))
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_time.max(limits.head_time))
        .max_buf_size(limits.head_bytes.max(8192))
        .half_close(false);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_other_things() {
        for (connections, files, expected) in [
            (4096, Some(1024), 768),
            (4096, Some(1 << 20), 4096),
            (700, Some(1024), 700),
            (4096, Some(200), 136),
            (4096, Some(20), 1),
            (usize::MAX, None, usize::MAX),
        ] {
            assert_eq!(within_files(connections, files), expected, "{connections} {files:?}");
        }
    }

    #[test]
    fn places_are_by_client_and_given_back() {
        let limits = ServerLimits { max_connections_per_client: 1, ..ServerLimits::default() };
        let clients = Clients::default();
        let admit = |text: &str| clients.admit(text.parse().unwrap(), &limits);
        let first = admit("1.1.1.1");
        assert!(first.is_some());
        assert!(admit("1.1.1.1").is_none());
        assert!(admit("::ffff:1.1.1.1").is_none(), "the same client by its mapped address");
        assert!(admit("1.1.1.2").is_some());
        let sixth = admit("2001:db8::1");
        assert!(sixth.is_some());
        assert!(admit("2001:db8::2").is_none(), "one /64 is one client");
        drop((first, sixth));
        assert!(clients.0.lock().is_empty());
        assert!(admit("1.1.1.1").is_some());
    }
}
