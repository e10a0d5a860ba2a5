//! Bids for ordering rights, and the relay's word on them (design §2).

use super::{Object, ObjectError, allocation::is_url, mirror};
use crate::{
    RollupId, Slot, Wei, integer, merkle,
    signing::{EcdsaSecret, EcdsaSignature, Message, MessageType, Signed, SigningError, ecdsa, sol_root},
    sol,
};
use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{Eip712Domain, SolStruct};
use earnest_builder_types::BlsPublicKey;
use serde::{Deserialize, Serialize};

/// The OrderingMarket that bids are meant for: its EIP-712 domain is
/// `{name: "EarnestOrderingMarket", version: "1", chainId, verifyingContract}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarketDomain {
    /// L1 chain id.
    pub chain_id: u64,
    /// Address of the OrderingMarket.
    pub market: Address,
}

impl MarketDomain {
    /// The domain as EIP-712 has it.
    #[must_use]
    pub fn eip712(&self) -> Eip712Domain {
        Eip712Domain::new(
            Some("EarnestOrderingMarket".into()),
            Some("1".into()),
            Some(U256::from(self.chain_id)),
            Some(self.market),
            None,
        )
    }
}

/// An operator's bid for a set of rollups in one slot, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderingBid {
    /// The sequencing slot.
    pub slot: Slot,
    /// The rollups, ascending, each once.
    pub rollup_ids: Vec<RollupId>,
    /// What is paid if it wins.
    pub amount_wei: Wei,
    /// The operator's account, which signs and pays.
    pub account: Address,
    /// The operator's registration, whose opt-in names the committer.
    pub registration_root: B256,
    /// The address that would order.
    pub committer: Address,
    /// The market relay.
    pub relay: Address,
    /// Key for the batches' constraints.
    pub delegate: BlsPublicKey,
    /// Where the gateway is reached; at most 256 bytes, ASCII.
    pub url: String,
    /// Zero, or the winning bid matched by first refusal.
    pub matches: B256,
    /// The account's nonce.
    #[serde(with = "integer")]
    pub nonce: u64,
    /// When the bid lapses, Unix seconds.
    #[serde(with = "integer")]
    pub expiry: u64,
}

impl From<&OrderingBid> for sol::OrderingBid {
    fn from(value: &OrderingBid) -> Self {
        Self {
            slot: value.slot.0,
            rollupIds: value.rollup_ids.iter().map(|id| id.0).collect(),
            amountWei: value.amount_wei.0,
            account: value.account,
            registrationRoot: value.registration_root,
            committer: value.committer,
            relay: value.relay,
            delegate: value.delegate.into(),
            url: value.url.clone(),
            matches: value.matches,
            nonce: value.nonce,
            expiry: value.expiry,
        }
    }
}

impl TryFrom<sol::OrderingBid> for OrderingBid {
    type Error = ObjectError;

    fn try_from(value: sol::OrderingBid) -> Result<Self, ObjectError> {
        let bid = Self {
            slot: Slot(value.slot),
            rollup_ids: value.rollupIds.into_iter().map(RollupId).collect(),
            amount_wei: Wei(value.amountWei),
            account: value.account,
            registration_root: value.registrationRoot,
            committer: value.committer,
            relay: value.relay,
            delegate: value.delegate.as_ref().try_into().map_err(|_| ObjectError::Field("delegate"))?,
            url: value.url,
            matches: value.matches,
            nonce: value.nonce,
            expiry: value.expiry,
        };
        bid.check()?;
        Ok(bid)
    }
}

impl Object for OrderingBid {
    type Sol = sol::OrderingBid;
}

impl OrderingBid {
    /// Checks the form: rollups ascending, unique and not none; URL ASCII and not too long. JSON does not check it.
    ///
    /// # Errors
    /// [`ObjectError::Field`] naming the field.
    pub fn check(&self) -> Result<(), ObjectError> {
        if self.rollup_ids.is_empty() || !self.rollup_ids.is_sorted_by(|a, b| a < b) {
            return Err(ObjectError::Field("rollupIds"));
        }
        if !is_url(&self.url) {
            return Err(ObjectError::Field("url"));
        }
        Ok(())
    }

    /// The EIP-712 digest: what the account signs, and the bid's name everywhere else.
    #[must_use]
    pub fn hash(&self, domain: &MarketDomain) -> B256 {
        sol::OrderingBid::from(self).eip712_signing_hash(&domain.eip712())
    }
}

/// A bid with its account's signature over the EIP-712 digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBid {
    /// The bid.
    pub message: OrderingBid,
    /// 65 bytes r‖s‖v.
    pub signature: EcdsaSignature,
}

impl SignedBid {
    /// Signs `bid`.
    ///
    /// # Errors
    /// As [`EcdsaSecret::sign`].
    pub fn sign(bid: OrderingBid, secret: &EcdsaSecret, domain: &MarketDomain) -> Result<Self, SigningError> {
        let signature = secret.sign(bid.hash(domain))?;
        Ok(Self { message: bid, signature })
    }

    /// Checks the form, and that the bid's account signed.
    ///
    /// # Errors
    /// [`SigningError`] if not.
    pub fn verify(&self, domain: &MarketDomain) -> Result<(), SigningError> {
        self.message.check()?;
        if ecdsa::recover(self.message.hash(domain), &self.signature)? == self.message.account {
            Ok(())
        } else {
            Err(SigningError::WrongSigner)
        }
    }
}

/// Root over bid hashes, sorted ascending, by the Merkle rule of design §4; zero for none.
#[must_use]
pub fn auction_root(bid_hashes: &[B256]) -> B256 {
    let mut sorted = bid_hashes.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    merkle::MerkleTree::over(0, &sorted).root()
}

/// A relay's word that it had a bid before close.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BidAck {
    /// [`OrderingBid::hash`].
    pub bid_hash: B256,
    /// When the relay had it, Unix milliseconds.
    #[serde(with = "integer")]
    pub received_at_ms: u64,
}
mirror!(BidAck { bid_hash = bidHash, received_at_ms = receivedAtMs });

impl Message for BidAck {
    const TYPE: MessageType = MessageType::BidAck;

    fn object_root(&self) -> Result<B256, SigningError> {
        Ok(sol_root(Self::TYPE, &sol::BidAck::from(self)))
    }
}

/// A bid acknowledgement with the relay's ECDSA signature.
pub type SignedBidAck = Signed<BidAck, EcdsaSignature>;

/// A relay's word on who won, after first refusal. One per slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuctionResult {
    /// The sequencing slot.
    pub slot: Slot,
    /// [`auction_root`] over all bids.
    pub auction_root: B256,
    /// Hashes of the winning bids.
    pub winners: Vec<B256>,
    /// `keccak256(abi.encode(SlotAllocation))` of the allocation that follows.
    pub allocation_hash: B256,
    /// When the auction closed, Unix milliseconds.
    #[serde(with = "integer")]
    pub closed_at_ms: u64,
}
mirror!(AuctionResult {
    slot = slot, auction_root = auctionRoot, winners = winners, allocation_hash = allocationHash,
    closed_at_ms = closedAtMs,
});

impl Message for AuctionResult {
    const TYPE: MessageType = MessageType::AuctionResult;

    fn object_root(&self) -> Result<B256, SigningError> {
        Ok(sol_root(Self::TYPE, &sol::AuctionResult::from(self)))
    }
}

/// An auction result with the relay's ECDSA signature.
pub type SignedAuctionResult = Signed<AuctionResult, EcdsaSignature>;
