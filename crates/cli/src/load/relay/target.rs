//! Where a GET goes.

use std::time::Duration;

use alloy_primitives::B256;
use earnest_builder_types::{BidTrace, BlsPublicKey};
use earnest_client::{Answer, HeaderRequest, RelayClient};
use reqwest::{Method, StatusCode, header::ACCEPT};
use serde::Deserialize;

use super::{Encoding, RelayLoad, What, cause, payload_attributes::PayloadAttributes};
use crate::failure::Failure;

/// Longest wait for a header to be on offer, and the pause between two looks.
const PATIENCE: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(250);

/// What is asked for, found anew for each part of a run.
#[derive(Debug)]
pub(super) struct Target {
    what: What,
    encoding: Encoding,
    slot: Option<u64>,
    parent_hash: Option<B256>,
    pubkey: Option<BlsPublicKey>,
    attributes: Option<PayloadAttributes>,
    part: Duration,
}

/// A path below the base URL, and what the relay answers there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: String,
    pub(super) answer: Answer,
}

/// A row of the data API, whose other fields do not matter here.
#[derive(Debug, Deserialize)]
struct Received {
    #[serde(flatten)]
    trace: BidTrace,
}

impl Target {
    /// What the options say; parts last `part`.
    pub(super) async fn new(options: &RelayLoad, what: What, part: Duration) -> Result<Self, Failure> {
        let attributes = match &options.beacon {
            Some(beacon) if what == What::Header => Some(PayloadAttributes::listen(beacon).await?),
            _ => None,
        };
        let (slot, parent_hash, pubkey) = (options.slot, options.parent_hash, options.pubkey);
        Ok(Self { what, encoding: options.encoding(), slot, parent_hash, pubkey, attributes, part })
    }

    /// A header that stays on offer.
    pub(super) const fn header(wanted: HeaderRequest, encoding: Encoding) -> Self {
        let HeaderRequest { slot, parent_hash, pubkey } = wanted;
        let (slot, parent_hash, pubkey) = (Some(slot), Some(parent_hash), Some(pubkey));
        let (what, part) = (What::Header, Duration::ZERO);
        Self { what, encoding, slot, parent_hash, pubkey, attributes: None, part }
    }

    /// Whether it is the same for the whole run.
    pub(super) const fn is_fixed(&self) -> bool {
        !matches!(self.what, What::Header)
            || (self.slot.is_some() && self.parent_hash.is_some() && self.pubkey.is_some())
    }

    pub(super) const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Looks until the relay answers 200.
    ///
    /// # Errors
    /// What the relay answered last, after 40 seconds; at once where only the user can help.
    pub(super) async fn find(&self, client: &RelayClient) -> Result<Found, Failure> {
        let deadline = tokio::time::Instant::now().checked_add(PATIENCE);
        loop {
            let path = self.path(client).await?;
            let answer = send(client, &path, self.encoding).await.map_err(Failure::new)?;
            if answer.status == StatusCode::OK {
                return Ok(Found { path, answer });
            }
            if self.what != What::Header
                || deadline.is_none_or(|deadline| tokio::time::Instant::now() > deadline)
            {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                return Err(Failure::new(format!("the relay answers {} to {path} {text}", answer.status)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn path(&self, client: &RelayClient) -> Result<String, Failure> {
        Ok(match self.what {
            What::Status => "eth/v1/builder/status".to_owned(),
            What::Duties => "relay/v1/builder/validators".to_owned(),
            What::Schedule => "ordering/v1/schedule".to_owned(),
            What::Delivered => "relay/v1/data/bidtraces/proposer_payload_delivered".to_owned(),
            _ => header_path(&self.wanted(client).await?),
        })
    }

    async fn wanted(&self, client: &RelayClient) -> Result<HeaderRequest, Failure> {
        if let (Some(slot), Some(parent_hash), Some(pubkey)) = (self.slot, self.parent_hash, self.pubkey) {
            return Ok(HeaderRequest { slot, parent_hash, pubkey });
        }
        let found = match &self.attributes {
            Some(attributes) => self.of_beacon(attributes, client).await?,
            None => self.of_relay(client).await?,
        };
        Ok(HeaderRequest {
            slot: self.slot.unwrap_or(found.slot),
            parent_hash: self.parent_hash.unwrap_or(found.parent_hash),
            pubkey: self.pubkey.unwrap_or(found.pubkey),
        })
    }

    /// The slot that a beacon node has builders build for.
    async fn of_beacon(
        &self,
        attributes: &PayloadAttributes,
        client: &RelayClient,
    ) -> Result<HeaderRequest, Failure> {
        let event =
            attributes.next(|event| attributes.serves_headers(event.data.proposal_slot, self.part)).await?;
        let (slot, parent_hash) = (event.data.proposal_slot, event.data.parent_block_hash);
        if let Some(pubkey) = self.pubkey {
            return Ok(HeaderRequest { slot, parent_hash, pubkey });
        }
        let duties = client.duties().await.map_err(cause)?;
        let duty = duties.into_iter().find(|duty| duty.slot == slot);
        let duty =
            duty.ok_or_else(|| Failure::new(format!("the proposer of slot {slot} is not registered")))?;
        Ok(HeaderRequest { slot, parent_hash, pubkey: duty.entry.message.pubkey })
    }

    /// The newest slot that the relay received a block for.
    async fn of_relay(&self, client: &RelayClient) -> Result<HeaderRequest, Failure> {
        let path = "relay/v1/data/bidtraces/builder_blocks_received?limit=1";
        let rows = client.transport().get_json::<Vec<Received>>(path, "received blocks").await;
        let trace = rows.ok().and_then(|rows| rows.into_iter().next()).map(|row| row.trace);
        let trace = trace.ok_or_else(|| {
            Failure::new(
                "the relay does not say what it has headers of: give --beacon, or --slot, --parent-hash and --pubkey",
            )
        })?;
        let BidTrace { slot, parent_hash, proposer_pubkey: pubkey, .. } = trace;
        Ok(HeaderRequest { slot, parent_hash, pubkey })
    }
}

fn header_path(wanted: &HeaderRequest) -> String {
    let HeaderRequest { slot, parent_hash, pubkey } = wanted;
    format!("eth/v1/builder/header/{slot}/{parent_hash}/{pubkey}")
}

/// One GET as a proposer's side sends it.
pub(super) async fn send(client: &RelayClient, path: &str, encoding: Encoding) -> Result<Answer, String> {
    let sent = earnest_client::transport::DATE_MS;
    let request = client.transport().request(Method::GET, path).map_err(|error| error.to_string())?;
    let request = request.header(ACCEPT, encoding.media()).header(sent, super::payload_attributes::now_ms());
    client.transport().send(request).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_received_block_may_say_more_than_is_asked() {
        let row = serde_json::json!([{
            "slot": "7", "parent_hash": B256::repeat_byte(1), "block_hash": B256::ZERO,
            "builder_pubkey": BlsPublicKey::ZERO, "proposer_pubkey": BlsPublicKey::repeat_byte(2),
            "proposer_fee_recipient": "0x0000000000000000000000000000000000000000", "gas_limit": "1",
            "gas_used": "1", "value": "1", "num_tx": "1", "block_number": "3", "timestamp": "9",
            "timestamp_ms": "9000", "optimistic_submission": false,
        }]);
        let rows: Vec<Received> = serde_json::from_value(row).unwrap();
        assert_eq!((rows[0].trace.slot, rows[0].trace.parent_hash), (7, B256::repeat_byte(1)));
    }
}
