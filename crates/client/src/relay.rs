//! A relay's APIs: Builder API, builder submissions, Constraints API and schedule (design §5).

use std::time::Duration;

use alloy_primitives::B256;
use bytes::Bytes;
use earnest_builder_types::{
    BidSubmission, BlsPublicKey, ForkCodec, ForkName, PayloadAndBlobs, SignedBlindedBeaconBlock,
    SignedBuilderBid, SignedValidatorRegistration, Versioned, beacon, registrations_to_ssz,
};
use earnest_protocol::auction::{AuctionRecord, MarketRollups};
use earnest_protocol::messages::ReceiptedConstraints;
use earnest_protocol::objects::{
    Authority, SignedBid, SignedBidAck, SignedConstraintReceipt, SignedConstraints, SignedDelegation,
    SignedDelegationReceipt,
};
use earnest_protocol::receiver::Receiver;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use url::Url;

use crate::error::ClientError;
use crate::header_with_proofs::HeaderWithProofs;
use crate::transport::{Answer, CONSENSUS_VERSION, JSON, Limits, OCTETS, SSZ_OR_JSON, TIMEOUT_MS, Transport};

/// Largest answer read where a header is asked for, with or without proofs, or the constraints of a slot: 2 MiB.
pub const MAX_HEADER_ANSWER: usize = 2 << 20;

/// Names a header: what a proposer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderRequest {
    /// The slot to propose in.
    pub slot: u64,
    /// Hash of the execution block to build on.
    pub parent_hash: B256,
    /// The proposer's key.
    pub pubkey: BlsPublicKey,
}

impl HeaderRequest {
    fn path(&self, route: &str) -> String {
        format!("{route}/{}/{}/{}", self.slot, self.parent_hash, self.pubkey)
    }
}

/// Client of one relay, or of anything that speaks the Builder API (mev-boost, the proposer sidecar).
#[derive(Debug, Clone)]
pub struct RelayClient {
    transport: Transport,
}

impl RelayClient {
    /// A client of the relay at `base`.
    ///
    /// # Errors
    /// As [`Transport::new`].
    pub fn new(base: &Url, limits: Limits) -> Result<Self, ClientError> {
        Ok(Self { transport: Transport::new(base, limits)? })
    }

    /// The same client, over the same connections, that reads answers of at most so many bytes.
    #[must_use]
    pub fn limited(&self, max_body: usize) -> Self {
        Self { transport: self.transport.limited(max_body) }
    }

    /// The HTTP client below, for calls that pass answers on as they come.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// `GET /eth/v1/builder/status`.
    ///
    /// # Errors
    /// Any [`ClientError`]; a relay that is not up refuses.
    pub async fn status(&self) -> Result<(), ClientError> {
        let request = self.transport.request(Method::GET, "eth/v1/builder/status")?;
        self.transport.send(request).await?.ok().map(drop)
    }

    /// `POST /eth/v1/builder/validators`, as JSON.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn register(&self, registrations: &[SignedValidatorRegistration]) -> Result<(), ClientError> {
        self.transport.post_json("eth/v1/builder/validators", registrations).await?.ok().map(drop)
    }

    /// `POST /eth/v1/builder/validators`, as SSZ.
    ///
    /// # Errors
    /// Any [`ClientError`]; a relay without SSZ refuses with 415.
    pub async fn register_ssz(
        &self,
        registrations: &[SignedValidatorRegistration],
    ) -> Result<(), ClientError> {
        let body = Bytes::from(registrations_to_ssz(registrations));
        self.post_raw("eth/v1/builder/validators", OCTETS, None, body).await?.ok().map(drop)
    }

    /// `GET /eth/v1/builder/header/…`: the best bid, none if the relay answers 204. SSZ is preferred.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn header(&self, wanted: &HeaderRequest) -> Result<Option<SignedBuilderBid>, ClientError> {
        let answer = self.header_answer(wanted, SSZ_OR_JSON, self.transport.limits().timeout).await?;
        read_header(&answer)
    }

    /// The same, as it came and within `timeout`, which is also told to the relay.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn header_answer(
        &self,
        wanted: &HeaderRequest,
        accept: HeaderValue,
        timeout: Duration,
    ) -> Result<Answer, ClientError> {
        self.ask_header("eth/v1/builder/header", wanted, accept, timeout).await
    }

    /// `GET /constraints/v0/builder/header_with_proofs/…`: the best bid with a proof of every held constraint, none if the
    /// relay answers 204.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn header_with_proofs(
        &self,
        wanted: &HeaderRequest,
        timeout: Duration,
    ) -> Result<Option<HeaderWithProofs>, ClientError> {
        read_header_with_proofs(&self.header_with_proofs_answer(wanted, timeout).await?)
    }

    /// [`Self::header_with_proofs`], not yet read.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn header_with_proofs_answer(
        &self,
        wanted: &HeaderRequest,
        timeout: Duration,
    ) -> Result<Answer, ClientError> {
        self.ask_header("constraints/v0/builder/header_with_proofs", wanted, JSON, timeout).await
    }

    async fn ask_header(
        &self,
        endpoint: &str,
        wanted: &HeaderRequest,
        accept: HeaderValue,
        timeout: Duration,
    ) -> Result<Answer, ClientError> {
        let request = self
            .transport
            .request(Method::GET, &wanted.path(endpoint))?
            .header(ACCEPT, accept)
            .header(TIMEOUT_MS, HeaderValue::from(millis(timeout)));
        self.transport.send_bounded(request, timeout, MAX_HEADER_ANSWER).await?.ok()
    }

    /// `POST /eth/v1/builder/blinded_blocks`: the payload of a signed blinded block, as JSON. The relay publishes it too.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn submit_blinded_v1(
        &self,
        block: &SignedBlindedBeaconBlock,
    ) -> Result<PayloadAndBlobs, ClientError> {
        let body = block.to_json().map_err(|cause| ClientError::malformed("own request", cause))?;
        let answer = self
            .post_raw("eth/v1/builder/blinded_blocks", JSON, Some(block.fork()), body.into())
            .await?
            .ok()?;
        Versioned::from_json(&answer.body)
            .map(|versioned| versioned.data)
            .map_err(|cause| ClientError::malformed("payload", cause))
    }

    /// `POST /eth/v2/builder/blinded_blocks`, as SSZ: the relay takes the block and publishes it (202).
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn submit_blinded_v2(&self, block: &SignedBlindedBeaconBlock) -> Result<(), ClientError> {
        let body = Bytes::from(block.to_ssz());
        self.post_raw("eth/v2/builder/blinded_blocks", OCTETS, Some(block.fork()), body).await?.ok().map(drop)
    }

    /// `POST /relay/v1/builder/blocks`, as SSZ.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn submit_block(&self, submission: &BidSubmission) -> Result<(), ClientError> {
        let body = Bytes::from(submission.to_ssz());
        self.post_raw("relay/v1/builder/blocks", OCTETS, Some(submission.fork()), body).await?.ok().map(drop)
    }

    /// `GET /relay/v1/builder/validators`: the registered proposers of this epoch and the next.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn duties(&self) -> Result<Vec<beacon::relay::Validator>, ClientError> {
        self.transport.get_json("relay/v1/builder/validators", "duties").await
    }

    /// `POST /constraints/v0/builder/delegate`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn post_delegation(
        &self,
        delegation: &SignedDelegation,
    ) -> Result<SignedDelegationReceipt, ClientError> {
        let answer = self.transport.post_json("constraints/v0/builder/delegate", delegation).await?;
        answer.ok()?.json("delegation receipt")
    }

    /// `POST /constraints/v0/builder/constraints`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn post_constraints(
        &self,
        constraints: &SignedConstraints,
    ) -> Result<SignedConstraintReceipt, ClientError> {
        let answer = self.transport.post_json("constraints/v0/builder/constraints", constraints).await?;
        answer.ok()?.json("constraint receipt")
    }

    /// `GET /constraints/v0/relay/delegations/{slot}`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn delegations(&self, slot: u64) -> Result<Vec<SignedDelegation>, ClientError> {
        self.transport.get_json(&format!("constraints/v0/relay/delegations/{slot}"), "delegations").await
    }

    /// [`Self::delegations`] within its own time limit, not yet read.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn delegations_answer(&self, slot: u64, timeout: Duration) -> Result<Answer, ClientError> {
        let path = format!("constraints/v0/relay/delegations/{slot}");
        let request = self.transport.request(Method::GET, &path)?.header(ACCEPT, JSON);
        self.transport.send_bounded(request, timeout, MAX_HEADER_ANSWER).await?.ok()
    }

    /// `GET /ordering/v1/delegations/{slot}`: delegations with the relay's receipts, in the order it had them.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn authorities(&self, slot: u64) -> Result<Vec<Authority>, ClientError> {
        self.transport.get_json(&format!("ordering/v1/delegations/{slot}"), "delegations with receipts").await
    }

    /// `GET /ordering/v1/rollups`: what sells at this relay, by the terms in force at `slot`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn rollups(&self, slot: u64) -> Result<MarketRollups, ClientError> {
        self.transport.get_json(&format!("ordering/v1/rollups?slot={slot}"), "rollups").await
    }

    /// `POST /ordering/v1/market/bids`: the acknowledgement, to be kept.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn post_bid(&self, bid: &SignedBid) -> Result<SignedBidAck, ClientError> {
        self.transport.post_json("ordering/v1/market/bids", bid).await?.ok()?.json("bid acknowledgement")
    }

    /// `POST /ordering/v1/market/auctions/{slot}/match`: first refusal of the winner that the bid names.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn post_match(&self, bid: &SignedBid) -> Result<SignedBidAck, ClientError> {
        let path = format!("ordering/v1/market/auctions/{}/match", bid.message.slot);
        self.transport.post_json(&path, bid).await?.ok()?.json("bid acknowledgement")
    }

    /// `GET /ordering/v1/market/auctions/{slot}`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn auction(&self, slot: u64) -> Result<AuctionRecord, ClientError> {
        self.transport.get_json(&format!("ordering/v1/market/auctions/{slot}"), "auction").await
    }

    /// [`Self::auction`] of at most `max_body` bytes, not yet read.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn auction_answer(&self, slot: u64, max_body: usize) -> Result<Answer, ClientError> {
        let path = format!("ordering/v1/market/auctions/{slot}");
        let request = self.transport.request(Method::GET, &path)?.header(ACCEPT, JSON);
        let timeout = self.transport.limits().timeout;
        self.transport.send_bounded(request, timeout, max_body).await?.ok()
    }

    /// `GET /constraints/v0/relay/constraints/{slot}`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn constraints(&self, slot: u64) -> Result<Vec<SignedConstraints>, ClientError> {
        self.constraints_answer(slot, self.transport.limits().timeout).await?.json("constraints")
    }

    /// [`Self::constraints`] as a reader that proves its key: with those that name it as a receiver.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn constraints_for(
        &self,
        slot: u64,
        reader: &Receiver,
    ) -> Result<Vec<SignedConstraints>, ClientError> {
        let path = format!("constraints/v0/relay/constraints/{slot}");
        let mut request = self.transport.request(Method::GET, &path)?.header(ACCEPT, JSON);
        for (name, value) in reader.to_headers() {
            request = request.header(name, value);
        }
        let timeout = self.transport.limits().timeout;
        self.transport.send_bounded(request, timeout, MAX_HEADER_ANSWER).await?.ok()?.json("constraints")
    }

    /// `GET /ordering/v1/constraints/{slot}`: every message that anyone may read, with the relay's word on it. After the
    /// cut-off that is the last word.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn constraint_receipts(&self, slot: u64) -> Result<Vec<ReceiptedConstraints>, ClientError> {
        self.transport.get_json(&format!("ordering/v1/constraints/{slot}"), "constraints with receipts").await
    }

    /// [`Self::constraints`] within its own time limit, not yet read.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn constraints_answer(&self, slot: u64, timeout: Duration) -> Result<Answer, ClientError> {
        let path = format!("constraints/v0/relay/constraints/{slot}");
        let request = self.transport.request(Method::GET, &path)?.header(ACCEPT, JSON);
        self.transport.send_bounded(request, timeout, MAX_HEADER_ANSWER).await?.ok()
    }

    /// `POST /eth/v1/builder/validators` of bytes as they are, within its own time limit: a relay verifies every signature
    /// before it answers.
    ///
    /// # Errors
    /// Any [`ClientError`] but a refusal, which is an [`Answer`].
    pub async fn register_raw(
        &self,
        content_type: HeaderValue,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Answer, ClientError> {
        let request = self
            .transport
            .request(Method::POST, "eth/v1/builder/validators")?
            .header(CONTENT_TYPE, content_type)
            .header(ACCEPT, JSON)
            .body(body);
        self.transport.send_within(request, timeout).await
    }

    /// A POST of bytes as they are, with the fork they are of.
    ///
    /// # Errors
    /// Any [`ClientError`] but a refusal, which is an [`Answer`].
    pub async fn post_raw(
        &self,
        path: &str,
        content_type: HeaderValue,
        fork: Option<ForkName>,
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let mut request = self
            .transport
            .request(Method::POST, path)?
            .header(CONTENT_TYPE, content_type)
            .header(ACCEPT, JSON);
        if let Some(fork) = fork {
            request = request.header(CONSENSUS_VERSION, HeaderValue::from_static(fork.as_str()));
        }
        self.transport.send(request.body(body)).await
    }
}

/// Reads the bid out of an answer to `header`, JSON or SSZ; none for 204.
///
/// # Errors
/// [`ClientError::Malformed`] if it is not a bid of the fork it claims.
pub fn read_header(answer: &Answer) -> Result<Option<SignedBuilderBid>, ClientError> {
    if answer.status == StatusCode::NO_CONTENT {
        return Ok(None);
    }
    let malformed = |cause: &dyn std::fmt::Display| ClientError::malformed("header", cause);
    if !answer.is_octets() {
        return Versioned::from_json(&answer.body)
            .map(|bid| Some(bid.data))
            .map_err(|cause| malformed(&cause));
    }
    let fork = answer
        .headers
        .get(CONSENSUS_VERSION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| malformed(&"SSZ without Eth-Consensus-Version"))?
        .parse::<ForkName>()
        .map_err(|cause| malformed(&cause))?;
    SignedBuilderBid::from_ssz(fork, &answer.body).map(Some).map_err(|cause| malformed(&cause))
}

/// Reads a bid with proofs out of an answer to `header_with_proofs`; none for 204.
///
/// # Errors
/// [`ClientError::Malformed`] if it is not one.
pub fn read_header_with_proofs(answer: &Answer) -> Result<Option<HeaderWithProofs>, ClientError> {
    if answer.status == StatusCode::NO_CONTENT {
        return Ok(None);
    }
    HeaderWithProofs::from_json(&answer.body)
        .map(Some)
        .map_err(|cause| ClientError::malformed("header with proofs", cause))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
