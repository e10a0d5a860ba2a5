//! The rival: an operator without a gateway, which bids for the windows that the sidecar wants. Mostly less, so that its bids lose;
//! in some slots more for one rollup than that is worth to the sidecar.

use std::{collections::BTreeMap, path::PathBuf};

use alloy_primitives::{Address, B256, U256};
use earnest_builder_types::{BlsPublicKey, bls::SecretKey};
use earnest_client::ClientError;
use earnest_protocol::{
    Slot, Wei,
    auction::HeldAck,
    objects::{MarketDomain, OrderingBid, SignedBid},
    signing::EcdsaSecret,
};

use super::{earnest_gateway::ROLLUPS, genesis::NETWORK, operators::Operator, relay::Relay};

/// What it bids for all rollups together, and for the last one where it wants that, wei.
const FOR_ALL: u128 = 1_000_000_000_000_000;
const FOR_LAST: u128 = 4_000_000_000_000_000;
/// It wants the last rollup's window in one of so many slots.
const WANTS_LAST: u64 = 4;
/// When its bids lapse, Unix seconds: not soon.
const EXPIRY: u64 = 4_000_000_000;

/// Bids, and keeps what the relay acknowledges.
pub struct Rival {
    operator: Operator,
    root: B256,
    delegate: BlsPublicKey,
    market: Address,
    folder: PathBuf,
    acknowledged: BTreeMap<u64, PathBuf>,
    /// How often the relay refused, by its code.
    pub refused: BTreeMap<String, u64>,
}

impl Rival {
    /// One that bids on this market and keeps its acknowledgements in a folder.
    ///
    /// # Panics
    /// If the folder cannot be made.
    #[must_use]
    pub fn new(market: Address, folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let operator = Operator::rival();
        Self {
            operator,
            root: operator.root(),
            delegate: SecretKey::random().unwrap().public_key(),
            market,
            folder,
            acknowledged: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Who signs its orderings.
    #[must_use]
    pub const fn committer(&self) -> Address {
        self.operator.committer
    }

    /// Bids for a slot.
    ///
    /// # Panics
    /// If the relay does not answer, or acknowledges what it does not sign.
    pub async fn bid(&mut self, relay: &Relay, slot: u64) {
        let (rollup_ids, wei) = if slot % WANTS_LAST == WANTS_LAST - 1 {
            (vec![ROLLUPS[1]], FOR_LAST)
        } else {
            (ROLLUPS.to_vec(), FOR_ALL)
        };
        let message = OrderingBid {
            slot: Slot(slot),
            rollup_ids,
            amount_wei: Wei(U256::from(wei)),
            account: self.operator.owner(),
            registration_root: self.root,
            committer: self.operator.committer,
            relay: relay.address,
            delegate: self.delegate,
            url: "http://127.0.0.1:1/".to_owned(),
            matches: B256::ZERO,
            nonce: slot,
            expiry: EXPIRY,
        };
        let domain = MarketDomain { chain_id: NETWORK.chain_id, market: self.market };
        let account = EcdsaSecret::from_bytes(&self.operator.key).unwrap();
        let bid = SignedBid::sign(message, &account, &domain).unwrap();
        match relay.client.post_bid(&bid).await {
            Ok(ack) => {
                ack.verify(&NETWORK, relay.address).expect("the acknowledgement is the relay's");
                let file = self.folder.join(format!("{slot}.json"));
                std::fs::write(&file, serde_json::to_string(&HeldAck { bid, ack }).unwrap()).unwrap();
                self.acknowledged.insert(slot, file);
            }
            Err(ClientError::Refused(refusal)) => *self.refused.entry(refusal.code).or_default() += 1,
            Err(error) => panic!("a bid for slot {slot}: {error}"),
        }
    }

    /// How many of its bids were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// The file with its bid for a slot and the relay's acknowledgement.
    #[must_use]
    pub fn acknowledgement(&self, slot: u64) -> Option<&PathBuf> {
        self.acknowledged.get(&slot)
    }
}
