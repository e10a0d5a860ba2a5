//! The sources of headers, and how one bid of theirs is judged.

use std::collections::HashSet;
use std::time::Duration;

use alloy_primitives::{B256, U256};
use earnest_builder_types::bls::VerifyingKey;
use earnest_builder_types::{ForkCodec, ForkName, SignedBuilderBid};
use earnest_client::header_with_proofs::transaction_proof;
use earnest_client::{
    Answer, ClientError, HeaderRequest, HeaderWithProofs, Limits, RelayClient, read_header,
    read_header_with_proofs,
};
use http::{HeaderValue, StatusCode};

use crate::config::{Config, SourceConfig};
use crate::proof_check::ProvenTransaction;
use crate::slot_state::{Fault, Offer, ProvenOffer, Reply, SourceIndex};

/// Time to connect to a source; it is on the same host or a relay that is spoken to all the time.
const CONNECT_TIME: Duration = Duration::from_millis(500);

/// Largest answer to anything but headers, payloads and auctions, in bytes.
const MAX_BRIEF: usize = 1 << 20;
/// Bytes of a bid that are read where they arrive: less work than handing them to another thread.
const READ_AT_ONCE: usize = 32 << 10;
/// More than all ether there is, in wei: 2⁶³ gwei.
const MOST_WEI: u128 = (1 << 63) * 1_000_000_000;

/// What is passed on to the beacon node: the bid, and the very bytes it came in, if they can be passed on.
#[derive(Debug, Clone)]
pub struct Passable {
    /// The bid.
    pub bid: SignedBuilderBid,
    /// The source's answer, for passing on byte for byte. None where the bid came with proofs.
    pub answer: Option<Answer>,
}

/// One source.
#[derive(Debug, Clone)]
pub struct Source {
    /// What it is called.
    pub name: String,
    /// Its client.
    pub client: RelayClient,
    /// The same for whatever has a short answer: a source may send all that is read of it.
    pub brief: RelayClient,
    /// The key that must have signed its bids, if it is known.
    pub pubkey: Option<VerifyingKey>,
    /// Whether it is an Earnest relay.
    pub earnest: bool,
}

/// All sources, in the order of the configuration.
#[derive(Debug, Clone)]
pub struct Sources {
    all: Vec<Source>,
    domain: B256,
}

/// What a bid must fit.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// What was asked for.
    pub request: HeaderRequest,
    /// The payload's timestamp, Unix seconds, if the clock is known.
    pub timestamp: Option<u64>,
    /// The slot's fork, if it is known.
    pub fork: Option<ForkName>,
}

impl Sources {
    /// Clients of every configured source.
    ///
    /// # Errors
    /// [`ClientError`] if a URL or a key cannot be used.
    pub fn new(config: &Config) -> Result<Self, ClientError> {
        let limits = Limits {
            max_body: config.max_body,
            timeout: config.payload_limit(),
            connect_timeout: CONNECT_TIME,
        };
        let source = |source: &SourceConfig| {
            let client = RelayClient::new(&source.url, limits)?;
            let brief = client.limited(MAX_BRIEF);
            let name = source.name();
            let pubkey = source.pubkey.as_ref().map(VerifyingKey::new).transpose();
            let pubkey = pubkey.map_err(|error| ClientError::Setup(format!("pubkey of {name}: {error}")))?;
            Ok(Source { name, client, brief, pubkey, earnest: source.earnest })
        };
        let all = config.sources.iter().map(source).collect::<Result<Vec<_>, ClientError>>()?;
        Ok(Self {
            all,
            domain: earnest_builder_types::domain::builder_domain(config.network.genesis_fork_version),
        })
    }

    /// A source by its index.
    #[must_use]
    pub fn get(&self, index: SourceIndex) -> Option<&Source> {
        self.all.get(index)
    }

    /// Every source with its index.
    pub fn iter(&self) -> impl Iterator<Item = (SourceIndex, &Source)> {
        self.all.iter().enumerate()
    }

    /// Indices of all sources.
    #[must_use]
    pub fn indices(&self) -> Vec<SourceIndex> {
        (0..self.all.len()).collect()
    }

    /// Indices of the Earnest relays.
    #[must_use]
    pub fn earnest(&self) -> Vec<SourceIndex> {
        self.iter().filter(|(_, source)| source.earnest).map(|(index, _)| index).collect()
    }

    /// The name of a source, for logs.
    #[must_use]
    pub fn name(&self, index: SourceIndex) -> &str {
        self.get(index).map_or("unknown", |source| &source.name)
    }

    /// Asks a source for a plain header and judges it.
    pub async fn ask_header(
        &self,
        source: &Source,
        wanted: &Wanted,
        accept: HeaderValue,
        time: Duration,
    ) -> Reply<Offer<Passable>> {
        let answer = match source.client.header_answer(&wanted.request, accept, time).await {
            Ok(answer) if is_whole(&answer) => answer,
            Ok(answer) => return Reply::Fault(Fault::Refused(answer.status.as_u16())),
            Err(error) => return failed(&error),
        };
        let judge = self.judge(source, wanted);
        let is_quick = judge.pubkey.is_none() && answer.body.len() <= READ_AT_ONCE;
        let judge = move || match read_header(&answer) {
            Ok(None) => Reply::Nothing,
            Ok(Some(bid)) => match judge.judge(&bid) {
                Ok(()) => Reply::Offer(offer(bid, Some(answer))),
                Err(fault) => Reply::Fault(fault),
            },
            Err(error) => failed(&error),
        };
        if is_quick { judge() } else { judged(judge).await }
    }

    /// Asks an Earnest relay for a header with proofs and judges the bid. The proofs are judged by the round, which knows what
    /// is held.
    pub async fn ask_proven(
        &self,
        source: &Source,
        wanted: &Wanted,
        time: Duration,
    ) -> Reply<ProvenOffer<Passable>> {
        let answer = match source.client.header_with_proofs_answer(&wanted.request, time).await {
            Ok(answer) if is_whole(&answer) => answer,
            Ok(answer) => return Reply::Fault(Fault::Refused(answer.status.as_u16())),
            Err(error) => return failed(&error),
        };
        let judge = self.judge(source, wanted);
        judged(move || match read_header_with_proofs(&answer) {
            Ok(None) => Reply::Nothing,
            Ok(Some(with_proofs)) => judge.judge_proven(with_proofs),
            Err(error) => failed(&error),
        })
        .await
    }

    const fn judge(&self, source: &Source, wanted: &Wanted) -> Judge {
        Judge { domain: self.domain, pubkey: source.pubkey, wanted: *wanted }
    }
}

/// Reading up to 2 MiB and verifying a signature takes too long for a task that others wait on.
async fn judged<T: Send + 'static>(judge: impl FnOnce() -> Reply<T> + Send + 'static) -> Reply<T> {
    tokio::task::spawn_blocking(judge).await.unwrap_or(Reply::Fault(Fault::Late))
}

#[derive(Debug, Clone, Copy)]
struct Judge {
    domain: B256,
    pubkey: Option<VerifyingKey>,
    wanted: Wanted,
}

impl Judge {
    fn judge(&self, bid: &SignedBuilderBid) -> Result<(), Fault> {
        let header = bid.header();
        if header.parent_hash() != self.wanted.request.parent_hash {
            return Err(Fault::WrongParent);
        }
        if self.wanted.timestamp.is_some_and(|timestamp| timestamp != header.timestamp()) {
            return Err(Fault::WrongSlot);
        }
        if self.wanted.fork.is_some_and(|fork| fork != bid.fork()) {
            return Err(Fault::WrongFork(bid.fork()));
        }
        // Beacon nodes count in 64 bits of gwei; a value beyond says nothing of what is paid.
        if bid.value() > U256::from(MOST_WEI) {
            return Err(Fault::Absurd(bid.value()));
        }
        let Some(pubkey) = self.pubkey else { return Ok(()) };
        if bid.pubkey() != pubkey.bytes() {
            return Err(Fault::WrongRelay);
        }
        pubkey.verify(bid.signing_root(self.domain), bid.signature()).map_err(|_| Fault::BadSignature)
    }

    fn judge_proven(&self, with_proofs: HeaderWithProofs) -> Reply<ProvenOffer<Passable>> {
        let inclusions = match with_proofs.inclusions() {
            Ok(inclusions) => inclusions,
            Err(error) => return Reply::Fault(Fault::Garbage(error.to_string())),
        };
        let bid = with_proofs.bid;
        if let Err(fault) = self.judge(&bid) {
            return Reply::Fault(fault);
        }
        let transactions_root = bid.header().transactions_root();
        let mut seen = HashSet::new();
        let proven = inclusions
            .into_iter()
            .filter(|one| seen.insert(one.signed_tx.clone()))
            .map(|one| ProvenTransaction { proof: transaction_proof(&one), transaction: one.signed_tx })
            .collect();
        Reply::Offer(ProvenOffer { offer: offer(bid, None), transactions_root, proven })
    }
}

/// Whether an answer has one of the two statuses that mean something: other successes promise nothing of what is in them.
fn is_whole(answer: &Answer) -> bool {
    matches!(answer.status, StatusCode::OK | StatusCode::NO_CONTENT)
}

fn offer(bid: SignedBuilderBid, answer: Option<Answer>) -> Offer<Passable> {
    Offer { value: bid.value(), block_hash: bid.header().block_hash(), answer: Passable { bid, answer } }
}

fn failed<T>(error: &ClientError) -> Reply<T> {
    Reply::Fault(fault(error))
}

/// What a client's error is in the eyes of a round.
#[must_use]
pub fn fault(error: &ClientError) -> Fault {
    match error {
        ClientError::TimedOut { .. } => Fault::Late,
        ClientError::Refused(refusal) => Fault::Refused(refusal.status),
        ClientError::Unreachable { .. } => Fault::Unreachable(error.to_string()),
        _ => Fault::Garbage(error.to_string()),
    }
}
