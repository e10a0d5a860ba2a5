//! What the endpoints and tasks of one sidecar share.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use earnest_builder_types::BlsPublicKey;
use earnest_chain::SlotClock;
use earnest_http::BodyBudget;
use earnest_protocol::window::Timing;
use parking_lot::Mutex;

use crate::bid_book::BidBook;
use crate::breaker::Breaker;
use crate::config::Config;
use crate::delegation_plan::DelegationPlan;
use crate::forks::Forks;
use crate::header_turns::HeaderTurns;
use crate::sources::Sources;
use crate::wishes::Wishes;

/// The network's clock, as the beacon node told it.
#[derive(Debug, Clone)]
pub struct NetworkClock {
    /// Slots in time.
    pub slots: SlotClock,
    /// Windows and cut-offs.
    pub timing: Timing,
    /// Forks in time.
    pub forks: Forks,
}

/// Shared by all endpoints and tasks.
#[derive(Debug)]
pub struct Sidecar {
    /// The configuration.
    pub config: Config,
    /// Where headers come from.
    pub sources: Sources,
    /// What each validator wants of its bids.
    pub wishes: Wishes,
    /// Who offered which block.
    pub book: Mutex<BidBook>,
    /// Whether to take blocks of relays at all.
    pub breaker: Mutex<Breaker>,
    /// Our delegations.
    pub plan: Mutex<DelegationPlan>,
    /// Set once a beacon node answered.
    pub clock: OnceLock<NetworkClock>,
    /// Requests for headers that are being answered.
    pub turns: HeaderTurns,
    /// What signed blocks take of memory. Apart from the others', so that nothing else keeps a block out.
    pub blocks: BodyBudget,
    /// What registrations take of memory.
    pub registrations: BodyBudget,
}

/// Signed blocks in memory at once, in bytes; of one client half of that.
const BLOCK_BYTES: usize = 128 << 20;
/// Bodies of registrations in memory at once, as many of the largest.
const REGISTRATION_BODIES: usize = 4;

impl Sidecar {
    /// A sidecar that has asked nobody yet, with the delegations of its record.
    #[must_use]
    pub fn new(config: Config, sources: Sources, plan: DelegationPlan) -> Arc<Self> {
        Arc::new(Self {
            wishes: Wishes::new(&config),
            blocks: BodyBudget::new(BLOCK_BYTES, BLOCK_BYTES / 2),
            registrations: {
                let bytes = config.max_body.saturating_mul(REGISTRATION_BODIES);
                BodyBudget::new(bytes, bytes)
            },
            turns: HeaderTurns::default(),
            breaker: Mutex::new(Breaker::new(config.breaker)),
            config,
            sources,
            book: Mutex::new(BidBook::default()),
            plan: Mutex::new(plan),
            clock: OnceLock::new(),
        })
    }
}

impl Sidecar {
    /// Those of `own` keys that want an Earnest relay to know them: the others' slots cannot be delegated.
    #[must_use]
    pub fn may_delegate(&self, own: BTreeSet<BlsPublicKey>) -> BTreeSet<BlsPublicKey> {
        let earnest = self.sources.earnest();
        own.into_iter()
            .filter(|key| self.wishes.of(key).sources.iter().any(|source| earnest.contains(source)))
            .collect()
    }
}

/// Unix time in milliseconds.
#[must_use]
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
