//! The one writer. It turns validated transactions into durable, signed microblocks by group commit.
//!
//! It runs on a thread of its own and does one round after another: take what has arrived, draft one commitment
//! for each rollup, append all drafts in one durable write, sign, answer. While a round is being made durable
//! the next one collects in the queue; so an idle gateway answers in the time of one write, and a busy one pays
//! one write and one signature for many transactions.
//!
//! The order *validate → append → durable → sign → answer* is the shape of [`Sequencer::round`]. Nothing that the
//! journal has not accepted is signed, and after a failed write nothing is signed at all.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, mpsc},
    time::Duration,
};

use alloy_primitives::{Address, B256};
use earnest_journal::{AppendError, Batch, Journal, Log};
use earnest_protocol::{
    RollupId, Slot,
    objects::{Authority, ObjectError, SignedCommitment},
    ordering::{Draft, EngineError, Limits, Places, PushError, Pushed, WindowConfig, WindowEngine},
    signing::{EcdsaSecret, Network, SigningError},
    tx::ValidatedTx,
};
use tokio::sync::{mpsc::UnboundedSender, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    batch::Sealed,
    board::{Board, OpenWindow, Place, Signed},
    clock::now_ms,
    config::RollupConfig,
    records::{Event, OrderedBody, WindowOpened, position_claim},
    stream::Feed,
};

/// The longest the sequencer sleeps, so that it notices a clock that was set.
const LONGEST_NAP: Duration = Duration::from_millis(50);

/// Bytes of transactions after which a round takes no further rollup's draft; with one draft more it stays within
/// what the journal takes at once.
const ROUND_BYTES: usize = 8 << 20;

/// What the sequencer is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Place a transaction.
    Submit { rollup: RollupId, transaction: ValidatedTx, answer: oneshot::Sender<Result<Place, Refusal>> },
    /// Order a window once it starts.
    Take(Box<WindowOpened>),
    /// Take back a window that has not begun: its proposer changed.
    Revoke { rollup: RollupId, slot: Slot },
    /// Make an event durable; answered with whether it is.
    Record { event: Event, done: oneshot::Sender<bool> },
}

/// Why a valid transaction got no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this gateway does not hold the rollup's window now")]
    NotOpen,
    #[error("the window is full")]
    WindowFull,
    #[error("the transaction does not fit into a batch of this rollup")]
    TooLarge,
    #[error("the journal's disk is full")]
    NoSpace,
}

/// What ends the sequencer, and with it the gateway.
#[derive(Debug, thiserror::Error)]
pub enum SequencerError {
    /// The journal failed: nothing more may be signed until it was reopened.
    #[error("the journal failed, so nothing more is signed; restart the gateway: {0}")]
    Journal(#[from] AppendError),
    /// A record could not be written.
    #[error("a delegation does not serialise: {0}")]
    Record(#[from] serde_json::Error),
    /// What is durable was not signed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The ordering engine contradicts itself.
    #[error("the ordering engine failed, a defect: {0}")]
    Engine(#[from] EngineError),
}

/// Why a durable commitment was not signed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The committer's key does not sign.
    #[error("the committer's key does not sign: {0}")]
    Signing(#[from] SigningError),
    /// The record holds no commitment, a defect.
    #[error("the record holds no commitment: {0}")]
    Record(#[from] ObjectError),
}

/// Who signs, and for which network.
#[derive(Debug)]
pub(crate) struct Committer {
    pub(crate) secret: EcdsaSecret,
    pub(crate) network: Network,
    pub(crate) slasher: Address,
}

impl Committer {
    /// Signs a commitment that is durable. Deterministic, so that a restart gives the same bytes.
    pub(crate) fn sign(&self, body: &OrderedBody) -> Result<SignedCommitment, CommitError> {
        Ok(SignedCommitment::sign(body.commitment()?, &self.secret, &self.network)?)
    }
}

/// One window that is being ordered.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) engine: WindowEngine,
    pub(crate) authority: Arc<Authority>,
    pub(crate) start_ms: u64,
    pub(crate) seal_ms: u64,
    /// Journal position of its opening.
    pub(crate) position: u64,
}

impl Active {
    pub(crate) fn view(&self) -> OpenWindow {
        OpenWindow {
            slot: self.engine.config().slot,
            start_ms: self.start_ms,
            seal_ms: self.seal_ms,
            position: self.position,
        }
    }
}

/// One rollup's windows: at most one is ordered at a time, the next ones wait for their start.
#[derive(Debug)]
pub(crate) struct Rollup {
    pub(crate) config: RollupConfig,
    pub(crate) active: Option<Active>,
    pub(crate) waiting: BTreeMap<Slot, WindowOpened>,
    /// Newest window ever taken up; older ones are never opened again.
    pub(crate) newest: Option<Slot>,
    /// Places of the window before.
    pub(crate) previous: Arc<Places>,
    /// Transactions that came while one window was ending and the next, which follows at once, not open yet.
    pub(crate) parked: Vec<Arc<ValidatedTx>>,
}

impl Rollup {
    pub(crate) fn new(config: RollupConfig) -> Self {
        Self {
            config,
            active: None,
            waiting: BTreeMap::new(),
            newest: None,
            previous: Arc::default(),
            parked: Vec::new(),
        }
    }

    /// When a window opens or ends next, Unix milliseconds.
    fn due_ms(&self) -> Option<u64> {
        match &self.active {
            Some(active) => Some(active.seal_ms),
            None => self.waiting.first_key_value().map(|(_, window)| window.start_ms),
        }
    }

    /// Whether the next window has begun.
    fn next_is_due(&self, now: u64) -> bool {
        self.waiting.values().any(|window| window.start_ms <= now && now < window.seal_ms)
    }

    /// What the engine of a window is opened with.
    pub(crate) fn window_config(&self, window: &WindowOpened, max_microblock_txs: usize) -> WindowConfig {
        let limits = Limits {
            max_batch_bytes: self.config.max_batch_bytes,
            max_segments: self.config.max_segments,
            max_microblock_txs,
            ..Limits::default()
        };
        WindowConfig {
            rollup_id: window.rollup_id.into(),
            slot: window.slot.into(),
            forced_inclusion_head: window.forced_inclusion_head,
            policy: self.config.policy,
            limits,
        }
    }
}

type Answer = oneshot::Sender<Result<Place, Refusal>>;

/// State of the sequencer's thread.
pub(crate) struct Sequencer {
    pub(crate) journal: Journal,
    pub(crate) committer: Arc<Committer>,
    pub(crate) board: Arc<Board>,
    pub(crate) feed: Feed,
    pub(crate) sealed: UnboundedSender<Sealed>,
    pub(crate) rollups: BTreeMap<RollupId, Rollup>,
    /// Transactions of one microblock, and commands of one round, at most.
    pub(crate) microblock_transactions: usize,
    /// Callers waiting for a transaction that is queued in an engine.
    pub(crate) answers: HashMap<(RollupId, B256), Vec<Answer>>,
    pub(crate) space: Space,
}

impl Sequencer {
    /// Works until `stop`, or until every sender of commands is gone.
    ///
    /// # Errors
    /// [`SequencerError`], after which nothing may be signed.
    pub(crate) fn run(
        mut self,
        commands: &mpsc::Receiver<Command>,
        stop: &CancellationToken,
    ) -> Result<(), SequencerError> {
        while !stop.is_cancelled() {
            loop {
                self.turn(now_ms())?;
                if !self.round(now_ms())? {
                    break;
                }
            }
            match commands.recv_timeout(self.nap(now_ms())) {
                Ok(command) => self.take(command)?,
                Err(mpsc::RecvTimeoutError::Timeout) => continue,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            }
            for _ in 1..self.microblock_transactions {
                let Ok(command) = commands.try_recv() else { break };
                self.take(command)?;
            }
        }
        Ok(())
    }

    /// How long nothing is due.
    fn nap(&self, now: u64) -> Duration {
        if self.space.short {
            return LONGEST_NAP;
        }
        let due = self.rollups.values().filter_map(Rollup::due_ms).min();
        due.map_or(LONGEST_NAP, |due| Duration::from_millis(due.saturating_sub(now).max(1)).min(LONGEST_NAP))
    }

    fn take(&mut self, command: Command) -> Result<(), SequencerError> {
        match command {
            Command::Submit { rollup, transaction, answer } => self.submit(rollup, transaction, answer),
            Command::Take(window) => {
                let Some(rollup) = self.rollups.get_mut(&window.rollup_id.into()) else { return Ok(()) };
                let slot = window.slot.into();
                if rollup.newest.is_none_or(|newest| slot > newest) {
                    rollup.waiting.entry(slot).or_insert(*window);
                }
            }
            Command::Revoke { rollup, slot } => {
                if let Some(rollup) = self.rollups.get_mut(&rollup) {
                    rollup.waiting.remove(&slot);
                }
            }
            Command::Record { event, done } => {
                let batch = Batch { records: vec![event.to_record()?], claims: vec![] };
                let durable = self.append_owed(batch)?;
                let _ = done.send(durable);
            }
        }
        Ok(())
    }

    fn submit(&mut self, id: RollupId, transaction: ValidatedTx, answer: Answer) {
        if matches!(self.journal.writable(), Err(AppendError::NoSpace { .. })) {
            let _ = answer.send(Err(Refusal::NoSpace));
            return;
        }
        let transaction = Arc::new(transaction);
        self.answers.entry((id, transaction.hash)).or_default().push(answer);
        self.push(id, transaction, now_ms());
    }

    /// Gives a transaction to the open window, keeps it for one that follows at once, or refuses it.
    fn push(&mut self, id: RollupId, transaction: Arc<ValidatedTx>, now: u64) {
        let hash = transaction.hash;
        let Some(rollup) = self.rollups.get_mut(&id) else { return };
        let next_is_due = rollup.next_is_due(now);
        let pushed = match &mut rollup.active {
            Some(active) if active.engine.state().is_open() => active.engine.push(transaction),
            _ if next_is_due && rollup.parked.len() < self.microblock_transactions => {
                rollup.parked.push(transaction);
                return;
            }
            _ => return self.refuse(id, &hash, &Refusal::NotOpen),
        };
        match pushed {
            Ok(Pushed::Queued | Pushed::Waiting) => {}
            Ok(Pushed::Placed(_)) => match self.board.find(id, &hash) {
                Some(place) => self.answer(id, &hash, &place),
                None => self.refuse(id, &hash, &Refusal::NotOpen),
            },
            Err(PushError::WindowFull) => self.refuse(id, &hash, &Refusal::WindowFull),
            Err(PushError::TooLarge) => self.refuse(id, &hash, &Refusal::TooLarge),
            Err(PushError::Refused(_)) => self.refuse(id, &hash, &Refusal::NotOpen),
        }
    }

    /// Appends what keeps a promise. Returns whether there was room for it.
    fn append_owed(&mut self, batch: Batch) -> Result<bool, SequencerError> {
        match self.journal.append_owed(Some(self.journal.head()), batch) {
            Ok(_) => Ok(true),
            Err(AppendError::NoSpace { free, floor }) => {
                self.space.short(free, floor);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn answer(&mut self, id: RollupId, hash: &B256, place: &Place) {
        for answer in self.answers.remove(&(id, *hash)).into_iter().flatten() {
            let _ = answer.send(Ok(place.clone()));
        }
    }

    fn refuse(&mut self, id: RollupId, hash: &B256, refusal: &Refusal) {
        for answer in self.answers.remove(&(id, *hash)).into_iter().flatten() {
            let _ = answer.send(Err(refusal.clone()));
        }
    }

    /// Ends windows that are over and opens those that have begun.
    fn turn(&mut self, now: u64) -> Result<(), SequencerError> {
        let ids: Vec<RollupId> = self.rollups.keys().copied().collect();
        for id in ids {
            let Some(rollup) = self.rollups.get_mut(&id) else { continue };
            let left = match &mut rollup.active {
                Some(active) if now >= active.seal_ms => active.engine.close(),
                Some(_) => continue,
                None => {
                    self.open(id, now)?;
                    continue;
                }
            };
            // They go on into the next window, if it follows at once.
            for transaction in left {
                self.push(id, transaction, now);
            }
        }
        Ok(())
    }

    /// Opens a rollup's next window if it has begun. One that is over already is opened all the same, and sealed
    /// empty: its holder owes the seal (design §4).
    fn open(&mut self, id: RollupId, now: u64) -> Result<(), SequencerError> {
        let Some(rollup) = self.rollups.get_mut(&id) else { return Ok(()) };
        let parked = std::mem::take(&mut rollup.parked);
        let Some(entry) = rollup.waiting.first_entry().filter(|entry| now >= entry.get().start_ms) else {
            for transaction in parked {
                self.refuse(id, &transaction.hash, &Refusal::NotOpen);
            }
            return Ok(());
        };
        let record = Event::WindowOpened(Box::new(entry.get().clone())).to_record()?;
        let position = self.journal.head();
        match self.journal.append(position, Batch { records: vec![record], claims: vec![] }) {
            Ok(_) => {}
            Err(AppendError::NoSpace { free, floor }) => {
                self.space.short(free, floor);
                for transaction in parked {
                    self.refuse(id, &transaction.hash, &Refusal::NoSpace);
                }
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        let window = entry.remove();
        rollup.newest = Some(window.slot.into());
        let config = rollup.window_config(&window, self.microblock_transactions);
        let active = Active {
            engine: WindowEngine::open(config, Arc::clone(&rollup.previous)),
            authority: Arc::new(window.authority.clone()),
            start_ms: window.start_ms,
            seal_ms: window.seal_ms,
            position,
        };
        self.board.set_open(id, Some(active.view()));
        self.feed.window(position, &window, &active.authority);
        tracing::info!(rollup = %id, slot = window.slot, start_ms = window.start_ms, "window opened");
        rollup.active = Some(active);
        for transaction in parked {
            self.push(id, transaction, now);
        }
        Ok(())
    }

    /// One group commit. Returns whether there was anything to do.
    fn round(&mut self, now: u64) -> Result<bool, SequencerError> {
        let mut drafts: Vec<(RollupId, Arc<Draft>)> = Vec::new();
        let mut bytes = 0_usize;
        for (id, rollup) in &mut self.rollups {
            if bytes > ROUND_BYTES {
                break;
            }
            if let Some(draft) = rollup.active.as_mut().and_then(|active| active.engine.draft(now)) {
                bytes = draft.txs.iter().fold(bytes, |bytes, tx| bytes.saturating_add(tx.raw.len()));
                drafts.push((*id, draft));
            }
        }
        if drafts.is_empty() {
            return Ok(false);
        }

        let mut bodies = Vec::with_capacity(drafts.len());
        let mut batch = Batch { records: Vec::with_capacity(drafts.len()), claims: Vec::new() };
        for (_, draft) in &drafts {
            let body = OrderedBody::of(draft, self.committer.slasher);
            batch.records.push(body.to_record());
            batch.claims.push(position_claim(draft));
            bodies.push(body);
        }
        let first = self.journal.head();
        // Seals keep what was promised; only new promises must leave the floor free.
        let owed = drafts.iter().all(|(_, draft)| draft.commitment.kind.is_seal());
        let appended = if owed {
            self.journal.append_owed(Some(first), batch)
        } else {
            self.journal.append(first, batch)
        };
        match appended {
            Ok(_) => self.space.enough(),
            Err(AppendError::NoSpace { free, floor }) => {
                self.space.short(free, floor);
                self.put_back(&drafts);
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        // Durable. Only now may anything be signed.
        for ((offset, (id, draft)), body) in (0_u64..).zip(drafts).zip(bodies) {
            self.publish(id, &draft, body, first.saturating_add(offset))?;
        }
        Ok(true)
    }

    fn publish(
        &mut self,
        id: RollupId,
        draft: &Draft,
        body: OrderedBody,
        position: u64,
    ) -> Result<(), SequencerError> {
        let Some(rollup) = self.rollups.get_mut(&id) else { return Ok(()) };
        let Some(active) = &mut rollup.active else { return Ok(()) };
        active.engine.committed()?;
        let commitment = self.committer.sign(&body)?;
        let signed = Arc::new(Signed::new(position, draft, commitment, Arc::clone(&active.authority)));
        self.board.place(&signed);
        for (offset, hash) in signed.hashes.iter().enumerate() {
            for answer in self.answers.remove(&(id, *hash)).into_iter().flatten() {
                let _ = answer.send(Ok(Place { signed: Arc::clone(&signed), offset }));
            }
        }
        metrics::counter!("earnest_gateway_receipts_total").increment(u64::from(signed.ordering.tx_count));
        metrics::counter!("earnest_gateway_commitments_total").increment(1);
        self.feed.ordered(&signed, body);
        if let Some(transactions) = draft.batch.clone() {
            // The poster ends only when the gateway does.
            let _ = self.sealed.send(Sealed { seal: Arc::clone(&signed), transactions });
        }
        if active.engine.state().is_ended() {
            tracing::info!(rollup = %id, slot = %signed.ordering.slot, "window sealed");
            self.board.set_open(id, None);
            if let Some(ended) = rollup.active.take() {
                rollup.previous = ended.engine.into_places();
            }
        }
        Ok(())
    }

    /// Drafts that were certainly not made durable wait again; those of a closing window are refused.
    fn put_back(&mut self, drafts: &[(RollupId, Arc<Draft>)]) {
        for (id, _) in drafts {
            let Some(active) = self.rollups.get_mut(id).and_then(|rollup| rollup.active.as_mut()) else {
                continue;
            };
            for transaction in active.engine.rejected().unwrap_or_default() {
                self.refuse(*id, &transaction.hash, &Refusal::NoSpace);
            }
        }
    }
}

/// Whether the journal's disk has room, said once for each change.
#[derive(Debug, Default)]
pub(crate) struct Space {
    short: bool,
}

impl Space {
    fn short(&mut self, free: u64, floor: u64) {
        if !std::mem::replace(&mut self.short, true) {
            tracing::error!(
                free,
                floor,
                "the journal's disk is nearly full: nothing more is promised until there is room"
            );
        }
    }

    fn enough(&mut self) {
        if std::mem::replace(&mut self.short, false) {
            tracing::info!("the journal's disk has room again");
        }
    }
}
