//! The gateway's event stream: typed, bounded, and resumed where it broke off.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use earnest_protocol::RollupId;
use earnest_protocol::messages::StreamEvent;
use futures::{Stream, StreamExt};
use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderValue};
use tokio::time::{sleep, timeout};

use crate::error::{ClientError, Refusal};
use crate::event_parser::{EventParser, SseError, SseEvent};
use crate::transport::{EVENTS, Transport};

/// Largest single event, in bytes: a microblock's transactions in hexadecimal.
const MAX_EVENT: usize = 64 << 20;
/// Silence after which the connection counts as dead; the gateway sends comments more often.
const MAX_SILENCE: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One event, with the id by which the stream resumes after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbered {
    /// The event's id; empty if the gateway gave none.
    pub id: String,
    /// The event.
    pub event: StreamEvent,
}

type Chunks = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// An open connection and what came of it so far.
struct Connection {
    chunks: Chunks,
    parser: EventParser,
}

/// A rollup's signed order, event by event.
pub struct OrderStream {
    transport: Transport,
    rollup: RollupId,
    last_id: Option<String>,
    connection: Option<Connection>,
    pause: Duration,
}

impl std::fmt::Debug for OrderStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrderStream")
            .field("host", &self.transport.host())
            .field("rollup", &self.rollup)
            .field("last_id", &self.last_id)
            .field("connected", &self.connection.is_some())
            .finish_non_exhaustive()
    }
}

impl OrderStream {
    pub(crate) fn new(transport: Transport, rollup: RollupId, last_id: Option<String>) -> Self {
        Self { transport, rollup, last_id, connection: None, pause: FIRST_PAUSE }
    }

    /// Id of the last event handed out: where another stream would resume.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The next event. Waits through lost connections and a busy gateway, for as long as the caller lets it. Safe to drop
    /// and call again: no event is lost.
    ///
    /// # Errors
    /// What waiting cannot heal: a refusal such as an unknown rollup, an event that is too large or malformed. The caller may
    /// call again, which reconnects.
    pub async fn next(&mut self) -> Result<Numbered, ClientError> {
        loop {
            let Some(connection) = self.connection.as_mut() else {
                match self.connect().await {
                    Ok(connection) => self.connection = Some(connection),
                    Err(error) if error.is_transient() => {
                        tracing::debug!(host = self.transport.host(), %error, "stream not connected");
                        self.back_off(&error).await;
                    }
                    Err(error) => return Err(error),
                }
                continue;
            };
            if let Some(event) = connection.parser.next() {
                self.pause = FIRST_PAUSE;
                if let Some(numbered) = self.read(event)? {
                    return Ok(numbered);
                }
                continue;
            }
            match timeout(MAX_SILENCE, connection.chunks.next()).await {
                Ok(Some(Ok(chunk))) => match connection.parser.push(&chunk) {
                    Ok(()) => {}
                    Err(error) => {
                        self.connection = None;
                        return Err(match error {
                            SseError::TooLarge => ClientError::TooLarge { limit: MAX_EVENT },
                            SseError::NotUtf8 => ClientError::malformed("stream", error),
                        });
                    }
                },
                Ok(Some(Err(error))) => self.reconnect(&error.to_string()).await,
                Ok(None) => self.reconnect("ended").await,
                Err(_) => self.reconnect("silent").await,
            }
        }
    }

    fn read(&mut self, event: SseEvent) -> Result<Option<Numbered>, ClientError> {
        match StreamEvent::parse(&event.name, &event.data) {
            Ok(read) => {
                if !event.id.is_empty() {
                    self.last_id = Some(event.id.clone());
                }
                Ok(read.map(|read| Numbered { id: event.id, event: read }))
            }
            Err(cause) => {
                self.connection = None;
                Err(ClientError::malformed("stream event", cause))
            }
        }
    }

    async fn reconnect(&mut self, cause: &str) {
        tracing::debug!(host = self.transport.host(), cause, "stream broke off");
        self.connection = None;
        sleep(self.pause).await;
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
    }

    async fn back_off(&mut self, error: &ClientError) {
        let asked = error.refusal().and_then(|refusal| refusal.retry_after).map(Duration::from_secs);
        sleep(asked.unwrap_or(self.pause).min(LONGEST_PAUSE)).await;
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
    }

    async fn connect(&mut self) -> Result<Connection, ClientError> {
        let mut request = self
            .transport
            .request(Method::GET, &format!("ordering/v1/rollups/{}/stream", self.rollup))?
            .header(ACCEPT, EVENTS);
        if let Some(id) = self.last_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
            request = request.header("last-event-id", id);
        }
        let limit = self.transport.limits().timeout;
        let response = timeout(limit, self.transport.open(request)).await.map_err(|_| {
            ClientError::TimedOut { ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }
        })??;
        if !response.status().is_success() {
            return Err(refusal_of(response, limit).await);
        }
        Ok(Connection { chunks: Box::pin(response.bytes_stream()), parser: EventParser::new(MAX_EVENT) })
    }
}

/// Reads the little that is needed of a refusal.
async fn refusal_of(mut response: reqwest::Response, limit: Duration) -> ClientError {
    const MAX_REFUSAL: usize = 16 << 10;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            if body.len().saturating_add(chunk.len()) > MAX_REFUSAL {
                break;
            }
            body.extend_from_slice(&chunk);
        }
    };
    if timeout(limit, reading).await.is_err() {
        tracing::debug!(status, "refusal not read in time");
    }
    ClientError::Refused(Box::new(Refusal::read(status, None, &body)))
}
