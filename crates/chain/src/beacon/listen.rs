//! The event streams of all nodes, each opened again when it breaks, as one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use eventsource_stream::{Event, Eventsource};
use futures::{
    StreamExt, future,
    stream::{self, BoxStream, Stream},
};
use reqwest::{Method, header};

use super::{BeaconClient, BeaconEvent, BeaconOptions, EventTopic, merge::Merger};
use crate::{error::ChainError, transport::Endpoint};

impl BeaconClient {
    /// The events of these topics from all nodes, without end. A stream that breaks is opened again with growing
    /// pauses; [`BeaconEvent::Connected`] and [`BeaconEvent::Disconnected`] tell of each node whenever that
    /// changes, and once at the beginning.
    ///
    /// What several nodes tell comes once, from the first. Heads come as of one node that is never behind:
    ///
    /// - A head in a later slot than the last one told is told, unless it was told before.
    /// - A head in the same slot or an earlier one is told if its node stood on the last one told, and so has left
    ///   it (a reorg), or if no node that is connected stands on that any more. From any other node it is late, or
    ///   a matter between nodes that the next slot settles.
    /// - From nodes that [`Self::survey`] found to mislead (behind, on another branch, ahead of time, unverified)
    ///   no head is taken while another node tells of heads.
    ///
    /// Payload attributes are left out only if they are equal in everything: nodes that differ about one proposal
    /// (in the fee recipient, say) are both heard.
    ///
    /// An event that cannot be read is logged and left out.
    pub fn events(&self, topics: &[EventTopic]) -> impl Stream<Item = BeaconEvent> + Send + Unpin + 'static {
        let names: Vec<&str> = topics.iter().map(|topic| topic.as_str()).collect();
        let path = format!("/eth/v1/events?topics={}", names.join(","));
        let streams = self.nodes.iter().enumerate().map(|(place, node)| {
            let listener = Listener {
                node: node.clone(),
                options: self.options.clone(),
                path: path.clone(),
                failures: 0,
                reported: None,
                open: None,
            };
            let events = stream::unfold(listener, move |mut listener| async move {
                let event = listener.next().await;
                Some(((place, event), listener))
            });
            events.boxed()
        });
        let mut merger = Merger::new(self.nodes.len());
        let shared = self.shared.clone();
        stream::select_all(streams)
            .filter_map(move |(place, event)| {
                let told = merger.admit(place, event, |node| shared.agreement.lock().standing(node));
                future::ready(told)
            })
            .boxed()
    }
}

type Events = BoxStream<'static, Result<Event, String>>;

/// One node's stream.
struct Listener {
    node: Endpoint,
    options: Arc<BeaconOptions>,
    path: String,
    /// Attempts and streams in a row that gave no event.
    failures: u32,
    /// What was said last: whether the stream is open.
    reported: Option<bool>,
    open: Option<Opened>,
}

struct Opened {
    events: Events,
    unread: Arc<AtomicUsize>,
}

impl Listener {
    async fn next(&mut self) -> BeaconEvent {
        loop {
            let Some(open) = &mut self.open else {
                tokio::time::sleep(self.pause()).await;
                match open_stream(&self.node, &self.path, &self.options).await {
                    Ok(opened) => {
                        self.open = Some(opened);
                        self.reported = Some(true);
                        return BeaconEvent::Connected { node: self.node.name().to_owned() };
                    }
                    Err(reason) => match self.broken(reason) {
                        Some(event) => return event,
                        None => continue,
                    },
                }
            };
            let broken = match open.events.next().await {
                Some(Ok(event)) => {
                    open.unread.store(0, Ordering::Relaxed);
                    self.failures = 0;
                    match BeaconEvent::decode(&event.event, &event.data) {
                        Ok(Some(event)) => return event,
                        Ok(None) => {}
                        Err(error) => {
                            let (node, event) = (self.node.name(), event.event);
                            tracing::warn!(node, event, %error, "an event that cannot be read");
                        }
                    }
                    continue;
                }
                Some(Err(reason)) => self.node.malformed(&reason),
                None => self.node.malformed(&"the event stream ended"),
            };
            if let Some(event) = self.broken(broken) {
                return event;
            }
        }
    }

    /// What to say of it: nothing, if it was said before.
    fn broken(&mut self, reason: ChainError) -> Option<BeaconEvent> {
        self.open = None;
        self.failures = self.failures.saturating_add(1);
        let node = self.node.name().to_owned();
        (self.reported.replace(false) != Some(false)).then_some(BeaconEvent::Disconnected { node, reason })
    }

    /// None before the first attempt; then doubling.
    fn pause(&self) -> Duration {
        match self.failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => self
                .options
                .event_retry
                .saturating_mul(2u32.saturating_pow(doublings))
                .min(self.options.event_retry_max),
        }
    }
}

async fn open_stream(node: &Endpoint, path: &str, options: &BeaconOptions) -> Result<Opened, ChainError> {
    let request = node.request(Method::GET, path).header(header::ACCEPT, "text/event-stream");
    let response = node.open(request).await?;
    let unread = Arc::new(AtomicUsize::new(0));
    let bytes = response.bytes_stream().map(|chunk| chunk.map_err(|error| error.to_string())).boxed();
    let bytes = bounded(bytes, unread.clone(), options.max_event_bytes, options.event_silence);
    let events = bytes.eventsource().map(|event| event.map_err(|error| error.to_string())).boxed();
    Ok(Opened { events, unread })
}

/// Ends with an error when more than `limit` bytes came without an event being read out of them, or when
/// nothing came for `silence`.
fn bounded(
    bytes: BoxStream<'static, Result<Bytes, String>>,
    unread: Arc<AtomicUsize>,
    limit: usize,
    silence: Duration,
) -> BoxStream<'static, Result<Bytes, String>> {
    stream::unfold(Some((bytes, unread)), move |state| async move {
        let (mut bytes, unread) = state?;
        match tokio::time::timeout(silence, bytes.next()).await {
            Err(_) => Some((Err(format!("nothing for {silence:?}")), None)),
            Ok(None) => None,
            Ok(Some(Err(reason))) => Some((Err(reason), None)),
            Ok(Some(Ok(chunk))) => {
                let total = unread.fetch_add(chunk.len(), Ordering::Relaxed).saturating_add(chunk.len());
                if total > limit {
                    return Some((Err(format!("an event longer than {limit} bytes")), None));
                }
                Some((Ok(chunk), Some((bytes, unread))))
            }
        }
    })
    .boxed()
}
