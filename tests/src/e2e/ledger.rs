//! What became of each slot: the beacon node's block, and what the relay says that it delivered.

use std::{collections::BTreeMap, fmt, time::Duration};

use alloy_primitives::{Address, B256, U256};
use serde_json::Value;
use url::Url;

use super::{http_client, relay::Relay};
use crate::patience::until;

const LIMIT: Duration = Duration::from_secs(20);

/// Whose payload a slot's block carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The relay's: it says so, and the block on chain is that one.
    Relay {
        /// The bid, wei.
        value: U256,
    },
    /// The other relay's, which is behind mev-boost: it says so, and the block on chain is that one.
    MevBoost {
        /// The bid, wei.
        value: U256,
    },
    /// The beacon node's own.
    Local,
    /// There is no block.
    Missed,
    /// There is no block, or another, though a relay says that it delivered one.
    Lost,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Relay { .. } => "relay",
            Self::MevBoost { .. } => "mevb",
            Self::Local => "local",
            Self::Missed => "missed",
            Self::Lost => "LOST",
        })
    }
}

/// The execution payload of a block on chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// Hash of the execution block.
    pub hash: B256,
    /// Number of the execution block.
    pub number: u64,
    /// Who gets its fees.
    pub fee_recipient: Address,
    /// Its transactions, EIP-2718.
    pub transactions: Vec<alloy_primitives::Bytes>,
    /// Blobs that the beacon block commits to.
    pub blobs: usize,
}

/// One slot.
#[derive(Debug, Clone)]
pub struct Row {
    /// The slot.
    pub slot: u64,
    /// Index of its proposer.
    pub proposer: u64,
    /// Whose payload.
    pub source: Source,
    /// What the block carries, if there is one.
    pub payload: Option<Payload>,
    /// What the harness did.
    pub note: String,
}

/// The rows so far.
#[derive(Debug)]
pub struct Ledger {
    beacon: Url,
    http: reqwest::Client,
    rows: BTreeMap<u64, Row>,
}

impl Ledger {
    /// No rows. Prints the table's head.
    #[must_use]
    pub fn new(beacon: Url) -> Self {
        println!(
            "{:>4}  {:>8}  {:<6}  {:>12}  {:>3}  {:>5}  {:<10}  note",
            "slot", "proposer", "block", "bid gwei", "txs", "blobs", "hash"
        );
        Self { beacon, http: http_client(), rows: BTreeMap::new() }
    }

    /// Looks at a slot that is over, prints and keeps what it sees.
    ///
    /// # Panics
    /// If the beacon node or a relay does not answer.
    pub async fn settle(
        &mut self,
        relay: &Relay,
        other: Option<&Relay>,
        slot: u64,
        proposer: u64,
        note: &str,
    ) -> Row {
        let payload = self.payload(slot).await;
        let delivered = relay.delivered(slot).await;
        let of_other = match other {
            Some(other) => other.delivered(slot).await,
            None => Vec::new(),
        };
        let source = match (&payload, delivered.as_slice(), of_other.as_slice()) {
            (Some(_), [], []) => Source::Local,
            (None, [], []) => Source::Missed,
            (Some(payload), [one], []) if one.block_hash == payload.hash => {
                Source::Relay { value: one.value }
            }
            (Some(payload), [], [one]) if one.block_hash == payload.hash => {
                Source::MevBoost { value: one.value }
            }
            _ => Source::Lost,
        };
        let row = Row { slot, proposer, source, payload, note: note.to_owned() };
        println!("{row}");
        self.rows.insert(slot, row.clone());
        row
    }

    /// The payload of the block at a slot, if there is a block.
    async fn payload(&self, slot: u64) -> Option<Payload> {
        let url = self.beacon.join(&format!("eth/v2/beacon/blocks/{slot}")).unwrap();
        let answer: Option<Value> = until("a block", LIMIT, async || {
            let request = self.http.get(url.clone()).header(http::header::ACCEPT, "application/json");
            let answer = request.send().await.ok()?;
            match answer.status().as_u16() {
                404 => Some(None),
                200 => Some(Some(answer.json().await.ok()?)),
                _ => None,
            }
        })
        .await;
        let answer = answer?;
        let body = &answer["data"]["message"]["body"];
        let payload = &body["execution_payload"];
        let read = |value: &Value| value.as_str().expect("a string in a payload").to_owned();
        Some(Payload {
            hash: read(&payload["block_hash"]).parse().unwrap(),
            number: read(&payload["block_number"]).parse().unwrap(),
            fee_recipient: read(&payload["fee_recipient"]).parse().unwrap(),
            transactions: payload["transactions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|tx| read(tx).parse().unwrap())
                .collect(),
            blobs: body["blob_kzg_commitments"].as_array().unwrap().len(),
        })
    }

    /// The rows of some slots.
    pub fn rows(&self, slots: impl std::ops::RangeBounds<u64>) -> impl Iterator<Item = &Row> {
        self.rows.range(slots).map(|(_, row)| row)
    }
}

impl Row {
    /// Whether the relay's payload is on chain.
    #[must_use]
    pub const fn is_of_the_relay(&self) -> bool {
        matches!(self.source, Source::Relay { .. })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match self.source {
            Source::Relay { value } | Source::MevBoost { value } => {
                (value / U256::from(1_000_000_000)).to_string()
            }
            _ => "-".to_owned(),
        };
        let (transactions, blobs, hash) = self.payload.as_ref().map_or_else(
            || ("-".to_owned(), "-".to_owned(), "-".to_owned()),
            |payload| {
                let hash = payload.hash.to_string();
                (payload.transactions.len().to_string(), payload.blobs.to_string(), hash[..10].to_owned())
            },
        );
        let Self { slot, proposer, source, note, .. } = self;
        write!(
            f,
            "{slot:>4}  {proposer:>8}  {source:<6}  {value:>12}  {transactions:>3}  {blobs:>5}  {hash:<10}  {note}"
        )
    }
}
