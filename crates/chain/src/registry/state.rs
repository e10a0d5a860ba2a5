//! The contracts' state after a block, as a fold over their events. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use alloy_primitives::{Address, B256, U256};
use earnest_protocol::{BlsPublicKey, RollupId, Slot, objects::RollupRegistration};
use serde::{Deserialize, Serialize};
use serde_with::serde_as;

use super::event::Event;

/// Slots back from the newest settled one whose settlements are remembered: more than any settlement horizon.
const SETTLED_SLOTS: u64 = 1 << 16;

/// A block, as far as the fold needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRef {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// Its parent's hash.
    pub parent: B256,
    /// Its timestamp, Unix seconds.
    pub time: u64,
}

/// What makes an operator count, as the Registry was deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Least collateral, wei.
    pub min_collateral: U256,
    /// Seconds after registration in which a forged signature can be shown; an operator counts only after them.
    pub fraud_window: u64,
}

/// An operator of validators.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Who may manage it.
    pub owner: Address,
    /// Its collateral now, wei.
    pub collateral: U256,
    /// When it registered, Unix seconds.
    pub registered_at: u64,
    /// How many registered before it.
    pub order: u64,
    /// When it unregistered.
    pub unregistered_at: Option<u64>,
    /// When it was first slashed.
    pub slashed_at: Option<u64>,
    /// Its opt-in to our slasher.
    pub opt_in: Option<OptIn>,
    /// The market relay that it named.
    pub relay: Option<Address>,
    /// Its keys, those that signed for the owner.
    #[serde_as(as = "KeysAsText")]
    pub keys: Arc<[BlsPublicKey]>,
}

/// An operator's opt-in to our slasher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptIn {
    /// Who signs its commitments.
    pub committer: Address,
    /// When, Unix seconds.
    pub at: u64,
    /// When it opted out again.
    pub out_at: Option<u64>,
}

/// An account's escrow for one relay's bids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escrow {
    /// What lies there, wei.
    pub amount: U256,
    /// What was asked back, wei, and from when it can be taken, Unix seconds.
    pub withdrawal: Option<(U256, u64)>,
}

/// A rollup of the RollupRegistry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollup {
    /// Who sets its terms.
    pub owner: Address,
    /// Its terms by the first slot that they apply to, ascending; none where they say something unknown here.
    terms: Vec<(Slot, Option<RollupRegistration>)>,
}

impl Rollup {
    /// The terms in force at a slot; none before the first ones, or if they cannot be read.
    #[must_use]
    pub fn terms_at(&self, slot: Slot) -> Option<&RollupRegistration> {
        self.terms.iter().rev().find(|(from, _)| *from <= slot)?.1.as_ref()
    }
}

/// Everything that the followed contracts say after a block.
#[serde_as]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    operators: BTreeMap<B256, Operator>,
    committers: BTreeMap<Address, B256>,
    #[serde_as(as = "Vec<(_, _)>")]
    escrow: BTreeMap<(Address, Address), Escrow>,
    rollups: BTreeMap<RollupId, Rollup>,
    settled: BTreeMap<Slot, BTreeSet<B256>>,
    registered: u64,
}

impl State {
    /// Takes an event of a block with this timestamp (Unix seconds). An event that names what is not there changes
    /// nothing: the contracts emit none such.
    pub fn apply(&mut self, event: &Event, time: u64) {
        match event {
            Event::Registered { root, owner, collateral, keys } => {
                let operator = Operator {
                    owner: *owner,
                    collateral: *collateral,
                    registered_at: time,
                    order: self.registered,
                    unregistered_at: None,
                    slashed_at: None,
                    opt_in: None,
                    relay: None,
                    keys: Arc::clone(keys),
                };
                // A root registers once and never again.
                self.operators.entry(*root).or_insert(operator);
                self.registered = self.registered.saturating_add(1);
            }
            Event::Unregistered { root } => self.change(root, |it| it.unregistered_at = Some(time)),
            Event::Slashed { root, amount } => self.change(root, |it| {
                it.collateral = it.collateral.saturating_sub(*amount);
                it.slashed_at.get_or_insert(time);
            }),
            Event::CollateralClaimed { root } => self.change(root, |it| it.collateral = U256::ZERO),
            Event::CollateralAdded { root, collateral } => {
                self.change(root, |it| it.collateral = *collateral);
            }
            Event::OptedIn { root, committer } => {
                self.committers.entry(*committer).or_insert(*root);
                let opt_in = OptIn { committer: *committer, at: time, out_at: None };
                self.change(root, |it| it.opt_in = Some(opt_in));
            }
            Event::OptedOut { root } => self.change(root, |it| {
                if let Some(opt_in) = &mut it.opt_in {
                    opt_in.out_at = Some(time);
                }
            }),
            Event::RelayNamed { root, relay } => self.change(root, |it| it.relay = Some(*relay)),
            Event::Escrow { account, relay, amount, withdrawn } => {
                self.change_escrow(*account, *relay, |it| {
                    it.amount = *amount;
                    if *withdrawn {
                        it.withdrawal = None;
                    }
                });
            }
            Event::WithdrawalRequested { account, relay, amount, ready_at } => {
                self.change_escrow(*account, *relay, |it| {
                    it.withdrawal = (!amount.is_zero()).then_some((*amount, *ready_at));
                });
            }
            Event::BidSettled { bid, account, relay, slot, amount } => {
                self.change_escrow(*account, *relay, |it| it.amount = it.amount.saturating_sub(*amount));
                self.settle(*slot, *bid);
            }
            Event::RollupOwner { rollup, owner } => {
                self.rollups.entry(*rollup).or_default().owner = *owner;
            }
            Event::RollupUpdated { rollup, from, terms } => {
                let rollup = self.rollups.entry(*rollup).or_default();
                // Notice is the same for all, so later updates apply no earlier.
                rollup.terms.retain(|(known, _)| known < from);
                rollup.terms.push((*from, terms.as_deref().cloned()));
            }
        }
    }

    /// An operator, by its registration root.
    #[must_use]
    pub fn operator(&self, root: &B256) -> Option<&Operator> {
        self.operators.get(root)
    }

    /// Every operator that ever registered.
    pub fn operators(&self) -> impl Iterator<Item = (&B256, &Operator)> {
        self.operators.iter()
    }

    /// The only operator that ever opted in to our slasher with this committer.
    #[must_use]
    pub fn operator_of(&self, committer: &Address) -> Option<B256> {
        self.committers.get(committer).copied()
    }

    /// An account's escrow for a relay's bids.
    #[must_use]
    pub fn escrow(&self, account: Address, relay: Address) -> Escrow {
        self.escrow.get(&(account, relay)).copied().unwrap_or_default()
    }

    /// Whether a bid was charged.
    #[must_use]
    pub fn is_settled(&self, slot: Slot, bid: &B256) -> bool {
        self.settled.get(&slot).is_some_and(|bids| bids.contains(bid))
    }

    /// A rollup.
    #[must_use]
    pub fn rollup(&self, rollup: RollupId) -> Option<&Rollup> {
        self.rollups.get(&rollup)
    }

    /// Every rollup that was granted.
    pub fn rollups(&self) -> impl Iterator<Item = (RollupId, &Rollup)> {
        self.rollups.iter().map(|(id, rollup)| (*id, rollup))
    }

    /// Who is opted in by this state, which is that after the block `at` (design §2): registered with the fraud window
    /// over, unslashed, with collateral enough, opted in to our slasher. A key of several such operators is that of the
    /// one that registered first.
    #[must_use]
    pub fn opted_in(&self, at: BlockRef, terms: &Terms) -> OptedIn {
        let mut counting: Vec<_> = self
            .operators
            .iter()
            .filter_map(|(root, operator)| Some((root, operator, operator.counts(at.time, terms)?)))
            .collect();
        counting.sort_unstable_by_key(|(_, operator, _)| operator.order);
        let mut members = Members::default();
        for (place, (root, operator, committer)) in counting.into_iter().enumerate() {
            for key in operator.keys.iter() {
                members.keys.entry(*key).or_insert(place);
            }
            members.operators.push(OptedInOperator {
                root: *root,
                owner: operator.owner,
                committer,
                relay: operator.relay,
                collateral: operator.collateral,
            });
        }
        OptedIn { at, members: Arc::new(members) }
    }

    fn change(&mut self, root: &B256, change: impl FnOnce(&mut Operator)) {
        if let Some(operator) = self.operators.get_mut(root) {
            change(operator);
        }
    }

    fn change_escrow(&mut self, account: Address, relay: Address, change: impl FnOnce(&mut Escrow)) {
        let escrow = self.escrow.entry((account, relay)).or_default();
        change(escrow);
        if *escrow == Escrow::default() {
            self.escrow.remove(&(account, relay));
        }
    }

    fn settle(&mut self, slot: Slot, bid: B256) {
        self.settled.entry(slot).or_default().insert(bid);
        let newest = self.settled.last_key_value().map_or(slot, |(newest, _)| *newest);
        self.settled = self.settled.split_off(&Slot(newest.0.saturating_sub(SETTLED_SLOTS)));
    }
}

impl Operator {
    /// Its committer, if it counts as opted in after a block with this timestamp.
    fn counts(&self, time: u64, terms: &Terms) -> Option<Address> {
        let opt_in = self.opt_in.filter(|opt_in| opt_in.out_at.is_none())?;
        let counts = self.unregistered_at.is_none()
            && self.slashed_at.is_none()
            && self.collateral >= terms.min_collateral
            && time >= self.registered_at.saturating_add(terms.fraud_window);
        counts.then_some(opt_in.committer)
    }
}

/// An operator whose keys make sequencing slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptedInOperator {
    /// Its registration root.
    pub root: B256,
    /// Its account, which signs its bids.
    pub owner: Address,
    /// Who signs its commitments.
    pub committer: Address,
    /// The market relay that it named.
    pub relay: Option<Address>,
    /// Its collateral at the reference block, wei.
    pub collateral: U256,
}

/// Who is opted in, by the state after one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptedIn {
    /// The reference block.
    pub at: BlockRef,
    members: Arc<Members>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Members {
    operators: Vec<OptedInOperator>,
    /// The place of each key's operator.
    keys: HashMap<BlsPublicKey, usize>,
}

impl OptedIn {
    /// Whether a key makes sequencing slots.
    #[must_use]
    pub fn contains(&self, key: &BlsPublicKey) -> bool {
        self.members.keys.contains_key(key)
    }

    /// The operator of a key.
    #[must_use]
    pub fn operator_of(&self, key: &BlsPublicKey) -> Option<&OptedInOperator> {
        self.members.operators.get(*self.members.keys.get(key)?)
    }

    /// An operator by its root.
    #[must_use]
    pub fn operator(&self, root: &B256) -> Option<&OptedInOperator> {
        self.members.operators.iter().find(|operator| operator.root == *root)
    }

    /// The operators, the one that registered first before the others.
    #[must_use]
    pub fn operators(&self) -> &[OptedInOperator] {
        &self.members.operators
    }

    /// Every key, in no order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &BlsPublicKey> {
        self.members.keys.keys()
    }

    /// Shares what is the same as in another set.
    pub(super) fn share(&mut self, other: &Self) {
        if self.members == other.members {
            self.members = Arc::clone(&other.members);
        }
    }
}

/// Keys as one string of hexadecimal digits: a large operator's would be most of a checkpoint otherwise.
struct KeysAsText;

impl serde_with::SerializeAs<Arc<[BlsPublicKey]>> for KeysAsText {
    fn serialize_as<S: serde::Serializer>(
        keys: &Arc<[BlsPublicKey]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = keys.iter().flat_map(|key| key.0).collect();
        serializer.serialize_str(&alloy_primitives::hex::encode(bytes))
    }
}

impl<'de> serde_with::DeserializeAs<'de, Arc<[BlsPublicKey]>> for KeysAsText {
    fn deserialize_as<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Arc<[BlsPublicKey]>, D::Error> {
        use serde::de::Error;
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let bytes = alloy_primitives::hex::decode(text.as_bytes()).map_err(D::Error::custom)?;
        let (keys, rest) = bytes.as_chunks::<48>();
        if !rest.is_empty() {
            return Err(D::Error::custom("half a key"));
        }
        Ok(keys.iter().map(|key| BlsPublicKey::from(*key)).collect())
    }
}
