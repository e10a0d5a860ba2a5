//! The signed order as a stream of events, from the journal for what has been and live for what comes.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use earnest_journal::{Entry, Journal, KIND_CLAIMS, Log};
use earnest_protocol::{
    RollupId,
    messages::{Microblock, StreamEvent},
    objects::{Authority, SignedCommitment},
};
use tokio::sync::broadcast;

use crate::{
    board::Signed,
    records::{Event, OrderedBody, WindowOpened},
    sequencer::Committer,
};

/// Events held for readers that are a little behind; those further behind read the journal.
const HELD: usize = 1024;
/// Entries read from the journal at a time, for one reader.
const READ_ENTRIES: usize = 64;
const READ_BYTES: usize = 1 << 20;
/// Readers for whom the journal is read at the same time.
pub(crate) const CATCH_UPS: usize = 4;

/// One event of the stream.
#[derive(Debug)]
pub(crate) struct Item {
    /// Journal position: the event's id.
    pub(crate) position: u64,
    pub(crate) rollup: RollupId,
    source: Source,
    rendered: OnceLock<Result<Rendered, String>>,
}

#[derive(Debug)]
enum Source {
    Window(Arc<Authority>),
    Ordered(Box<OrderedItem>),
}

#[derive(Debug)]
struct OrderedItem {
    commitment: SignedCommitment,
    body: OrderedBody,
    seal: bool,
}

/// An event's name and data, as a reader gets them.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    pub(crate) name: &'static str,
    pub(crate) data: Arc<str>,
}

impl Item {
    fn new(position: u64, rollup: RollupId, source: Source) -> Self {
        Self { position, rollup, source, rendered: OnceLock::new() }
    }

    /// The event as text, made once for all readers.
    ///
    /// # Errors
    /// When it does not serialise, which is a defect.
    pub(crate) fn render(&self) -> Result<&Rendered, String> {
        let rendered = self.rendered.get_or_init(|| {
            let event = match &self.source {
                Source::Window(authority) => StreamEvent::Window(Arc::clone(authority)),
                Source::Ordered(item) if item.seal => StreamEvent::Seal(item.commitment.clone()),
                Source::Ordered(item) => StreamEvent::Microblock(Microblock {
                    commitment: item.commitment.clone(),
                    transactions: item.body.transactions.clone(),
                }),
            };
            event
                .data()
                .map(|data| Rendered { name: event.name(), data: data.into() })
                .map_err(|e| e.to_string())
        });
        rendered.as_ref().map_err(Clone::clone)
    }
}

/// Where the sequencer publishes and readers subscribe.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    live: broadcast::Sender<Arc<Item>>,
    /// Position after the newest that is signed; what the journal has beyond is not yet to be shown.
    signed: Arc<AtomicU64>,
    journal: Journal,
    committer: Arc<Committer>,
}

impl Feed {
    /// A feed whose journal is signed up to its head.
    pub(crate) fn new(journal: Journal, committer: Arc<Committer>) -> Self {
        let signed = Arc::new(AtomicU64::new(journal.head()));
        Self { live: broadcast::channel(HELD).0, signed, journal, committer }
    }

    /// Publishes an opened window.
    pub(crate) fn window(&self, position: u64, window: &WindowOpened, authority: &Arc<Authority>) {
        let rollup = window.rollup_id.into();
        self.publish(position, || Item::new(position, rollup, Source::Window(Arc::clone(authority))));
    }

    /// Publishes a signed commitment.
    pub(crate) fn ordered(&self, signed: &Signed, body: OrderedBody) {
        let (position, rollup) = (signed.position, signed.ordering.rollup_id);
        let seal = signed.ordering.kind.is_seal();
        let commitment = signed.commitment.clone();
        self.publish(position, || {
            Item::new(position, rollup, Source::Ordered(Box::new(OrderedItem { commitment, body, seal })))
        });
    }

    fn publish(&self, position: u64, item: impl FnOnce() -> Item) {
        self.signed.fetch_max(position.saturating_add(1), Ordering::Release);
        if self.live.receiver_count() > 0 {
            let _ = self.live.send(Arc::new(item()));
        }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Item>> {
        self.live.subscribe()
    }

    /// Position after the newest event that may be shown.
    pub(crate) fn signed(&self) -> u64 {
        self.signed.load(Ordering::Acquire)
    }

    /// A rollup's events of the journal from `from` on, as far as they are signed, and the position to go on from. Signs
    /// again what it shows, which gives the same bytes.
    ///
    /// # Errors
    /// A sentence for the log and the reader when the journal cannot be read.
    pub(crate) fn past(&self, rollup: RollupId, from: u64) -> Result<(Vec<Arc<Item>>, u64), String> {
        let end = self.signed();
        if from >= end {
            return Ok((Vec::new(), from));
        }
        let entries = self.journal.read(from, READ_ENTRIES, READ_BYTES).map_err(|error| error.to_string())?;
        let mut items = Vec::new();
        let mut next = from;
        for entry in entries {
            if entry.position >= end {
                break;
            }
            next = entry.position.saturating_add(1);
            if let Some(item) = self.item(rollup, &entry)? {
                items.push(Arc::new(item));
            }
        }
        Ok((items, next))
    }

    fn item(&self, rollup: RollupId, entry: &Entry) -> Result<Option<Item>, String> {
        if entry.kind == KIND_CLAIMS {
            return Ok(None);
        }
        match Event::from_entry(entry).map_err(|error| error.to_string())? {
            Event::WindowOpened(window) if window.rollup_id != rollup.0 => Ok(None),
            Event::WindowOpened(window) => {
                let source = Source::Window(Arc::new(window.authority));
                Ok(Some(Item::new(entry.position, window.rollup_id.into(), source)))
            }
            Event::Ordered(body) => {
                let ordering = body.ordering().map_err(|error| error.to_string())?;
                if ordering.rollup_id != rollup {
                    return Ok(None);
                }
                let commitment = self.committer.sign(&body).map_err(|error| error.to_string())?;
                let source = Source::Ordered(Box::new(OrderedItem {
                    commitment,
                    body,
                    seal: ordering.kind.is_seal(),
                }));
                Ok(Some(Item::new(entry.position, ordering.rollup_id, source)))
            }
            Event::BatchSigned(_) | Event::ConstraintsHeld(_) | Event::SitOut(_) => Ok(None),
        }
    }
}
