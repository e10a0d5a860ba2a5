//! The event stream.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{Query, State},
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use earnest_chain::{BeaconEvent, EventTopic};
use earnest_http::ApiError;
use futures::{Stream, stream};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use super::Served;

/// Pause after which a comment shows that the stream lives.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// `GET /eth/v1/events?topics=head,block`: a reader that falls behind is dropped and may connect again.
pub(super) async fn events(
    State(served): State<Served>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let topics = topics(&pairs)?;
    let state = (served.node.events.subscribe(), served.node.faults.streams(), served.stop);
    let events = stream::unfold(state, move |(mut events, mut generation, stop)| {
        let topics = topics.clone();
        async move {
            loop {
                let event = tokio::select! {
                    event = events.recv() => event,
                    _ = generation.changed() => return None,
                    () = stop.cancelled() => return None,
                };
                let event = match event {
                    Ok(event) => event,
                    Err(RecvError::Lagged(missed)) => {
                        tracing::warn!(missed, "an event reader fell behind and was dropped");
                        return None;
                    }
                    Err(RecvError::Closed) => return None,
                };
                if let Some(event) = on_the_wire(&event, &topics) {
                    return Some((Ok(event), (events, generation, stop)));
                }
            }
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// Topics we do not have are silent, as long as one is known; `topics` may be repeated or a list.
fn topics(pairs: &[(String, String)]) -> Result<Vec<EventTopic>, ApiError> {
    let named = pairs.iter().filter(|(key, _)| key == "topics").flat_map(|(_, value)| value.split(','));
    let known: Vec<EventTopic> = named.filter_map(EventTopic::from_name).collect();
    if known.is_empty() { Err(ApiError::bad_request("no topic that this node has")) } else { Ok(known) }
}

fn on_the_wire(event: &BeaconEvent, topics: &[EventTopic]) -> Option<Event> {
    fn written(topic: EventTopic, data: &impl Serialize) -> Option<(EventTopic, String)> {
        serde_json::to_string(data).ok().map(|data| (topic, data))
    }
    let (topic, data) = match event {
        BeaconEvent::Head(data) => written(EventTopic::Head, data),
        BeaconEvent::Block(data) => written(EventTopic::Block, data),
        BeaconEvent::PayloadAttributes(data) => written(EventTopic::PayloadAttributes, data),
        BeaconEvent::ChainReorg(data) => written(EventTopic::ChainReorg, data),
        BeaconEvent::FinalizedCheckpoint(data) => written(EventTopic::FinalizedCheckpoint, data),
        BeaconEvent::Connected { .. } | BeaconEvent::Disconnected { .. } => None,
    }?;
    topics.contains(&topic).then(|| Event::default().event(topic.as_str()).data(data))
}
