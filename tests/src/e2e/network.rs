//! The whole network: peers, relay, builder, traffic, what is in front, and the slots as they pass.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Bytes, U256};
use earnest_chain::{BeaconClient, SlotClock};
use earnest_devnet::{builder::Builder, validator::interop_key};
use earnest_protocol::{
    RollupId,
    objects::{SignedConstraints, SignedDelegation},
};
use tempfile::TempDir;

use super::{
    builder, contracts, earnest_gateway,
    front::Front,
    gateway::{Gateway, proven_header},
    genesis::{self, NETWORK, SLOTS_PER_EPOCH, VALIDATORS},
    ledger::{Ledger, Row},
    peers::{BuilderEncoding, FEE_RECIPIENT, Peers},
    proposer::{Produced, Proposer},
    relay::Relay,
    settings::Settings,
    sidecar::Sidecar,
    traffic::{self, Pools, Traffic},
};
use crate::{
    account::Account,
    patience::{now_ms, until},
};

/// The validator that the harness signs for.
pub const OWN_VALIDATOR: u64 = VALIDATORS - 1;
const LIMIT: Duration = Duration::from_secs(60);

/// A running network. Everything is killed when it is dropped.
pub struct Network {
    // First, so that it stops before what it uses.
    /// What transactions there are.
    pub traffic: Traffic,
    _builder: Builder,
    /// Between the beacon node and the relay, where something is.
    pub front: Option<Front>,
    /// The relay.
    pub relay: Relay,
    /// geth and Prysm.
    pub peers: Peers,
    /// Slots in time.
    pub clock: SlotClock,
    /// The beacon node's API.
    pub beacon: BeaconClient,
    /// The validator without a validator client.
    pub own: Proposer,
    owns: bool,
    ledger: Ledger,
    gateway: Gateway,
    /// Folder of its logs.
    pub logs: PathBuf,
    /// Proposers by slot.
    proposers: BTreeMap<u64, u64>,
    // After everything that lies in it.
    _data: TempDir,
}

/// What a slot is constrained by before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many transactions that can be included.
    Constrain(u64, Pool),
    /// A transaction that could be included, but that nobody has.
    Unkeepable,
    /// A transaction that no block can hold, for its nonce is too high. The relay drops it at the cut-off.
    Unincludable,
}

/// Who has a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Everybody.
    Public,
    /// The builder alone.
    OfTheBuilder,
}

impl Network {
    /// Starts everything before slot 0, with logs in a folder of its own. `own_slots` of the first two epochs are of the
    /// harness's own validator; if there are none, a validator client has all validators.
    ///
    /// # Panics
    /// If a part does not come up.
    pub async fn start(settings: &Settings, encoding: BuilderEncoding, own_slots: &[u64]) -> Self {
        let settings = &settings.with_logs_in(encoding.name());
        println!("\nThe client's builder speaks {}: {}", encoding.name(), settings.logs.display());
        Box::pin(Self::begin(settings, encoding, own_slots, false)).await
    }

    /// The same with the sidecar in front, which speaks SSZ with the beacon node, and with the contracts on L1.
    ///
    /// # Panics
    /// If a part does not come up.
    pub async fn start_behind_a_sidecar(settings: &Settings) -> Self {
        let settings = &settings.with_logs_in("sidecar");
        println!("\nThe sidecar is in front, in SSZ: {}", settings.logs.display());
        Box::pin(Self::begin(settings, BuilderEncoding::Ssz, &[], true)).await
    }

    async fn begin(
        settings: &Settings,
        encoding: BuilderEncoding,
        own_slots: &[u64],
        behind_a_sidecar: bool,
    ) -> Self {
        let data = TempDir::with_prefix("earnest-e2e-").unwrap();
        let of_gateway = [public(), private(), withheld()].map(|account| account.address());
        let batches = [earnest_gateway::batch_account()];
        let funded = [traffic::accounts().as_slice(), &of_gateway, &contracts::accounts(), &batches].concat();
        let proposers = lookahead(own_slots);
        let (mut relay, gateway) = (Relay::prepare("relay", data.path(), &settings.logs), Gateway::default());
        // Before the time to genesis begins, for it takes a while.
        let sidecar = behind_a_sidecar.then(|| Sidecar::prepare(data.path(), &settings.logs));
        let genesis = genesis::generate(settings, data.path(), &funded, &proposers).await;
        let builder_url = sidecar.as_ref().map_or(&relay.url, |sidecar| &sidecar.url).clone();
        let mut peers =
            Peers::start(settings, data.path(), genesis.clone(), builder_url, behind_a_sidecar).await;
        relay.execution = Some(peers.geth.rpc_url.clone());
        let mut front = match sidecar {
            Some(sidecar) => {
                Some(Front::prepare(settings, data.path(), &genesis, &relay, sidecar, &gateway).await)
            }
            None => None,
        };
        if let Some(front) = &front {
            let (registry, market) = front.registry(&peers, relay.address, gateway.identity().0);
            (relay.registry, relay.market) = (Some(registry), Some(market));
        }
        peers.start_beacon(encoding).await;
        relay.start(&peers.beacon_url).await;
        if let Some(front) = &mut front {
            front.start(&peers, &relay, gateway.identity()).await;
        }
        peers.start_validators(if own_slots.is_empty() { VALIDATORS } else { OWN_VALIDATOR });

        let beacon = BeaconClient::new([peers.beacon_url.clone()]).unwrap();
        let clock = beacon.slot_clock().await.unwrap();
        let chain = beacon.genesis().await.unwrap();
        assert!(now_ms() < clock.genesis_time_ms(), "the start took longer than the time to genesis");
        let log = settings.logs.join("builder.log");
        let builder = builder::start(&peers.builder_geth, &peers.beacon_url, &relay, &log).await;
        let own = Proposer::new(OWN_VALIDATOR, peers.beacon_url.clone(), chain.genesis_validators_root);
        if let Some(front) = &mut front {
            front.begin(&peers, clock, (gateway.identity().0, relay.address), &settings.logs).await;
        }
        let network = Self {
            traffic: Traffic::start(Self::pools(&peers), clock),
            front,
            _builder: builder,
            own,
            owns: !own_slots.is_empty(),
            ledger: Ledger::new(peers.beacon_url.clone()),
            gateway,
            logs: settings.logs.clone(),
            proposers: (0..).zip(proposers).collect(),
            relay,
            peers,
            clock,
            beacon,
            _data: data,
        };
        if network.owns {
            // As the validator client does as soon as slot 0 begins.
            network.at(0, 3, 4).await;
            network.own.register().await;
        }
        network
    }

    /// Everybody's pools.
    #[must_use]
    pub fn pools(peers: &Peers) -> Pools {
        Pools {
            public: peers.geth.rpc.clone(),
            builder: peers.builder_geth.rpc.clone(),
            other: peers.other_geth.as_ref().map(|geth| geth.rpc.clone()),
        }
    }

    /// Waits until a part of a slot is over.
    pub async fn at(&self, slot: u64, numerator: u64, denominator: u64) {
        tokio::time::sleep(SlotClock::until(now_ms(), self.clock.after(slot, numerator, denominator))).await;
    }

    /// The slot that runs.
    ///
    /// # Panics
    /// Before slot 0.
    #[must_use]
    pub fn current_slot(&self) -> u64 {
        self.clock.slot_at(now_ms()).expect("the chain has begun")
    }

    /// Index of the validator that proposes a slot of this epoch, the next, or one before.
    ///
    /// # Panics
    /// If the beacon node does not tell.
    pub async fn proposer(&mut self, slot: u64) -> u64 {
        if !self.proposers.contains_key(&slot) {
            let epoch = slot / SLOTS_PER_EPOCH;
            let duties = until("duties", LIMIT, async || self.beacon.proposer_duties(epoch).await.ok()).await;
            self.proposers.extend(duties.proposers.iter().map(|one| (one.slot, one.validator_index)));
        }
        self.proposers[&slot]
    }

    /// Keeps what became of a slot that is over.
    pub async fn settle(&mut self, slot: u64, note: &str) -> Row {
        self.peers.all_run();
        let proposer = self.proposer(slot).await;
        let other = self.front.as_ref().map(|front| &front.other);
        self.ledger.settle(&self.relay, other, slot, proposer, note).await
    }

    /// What became of some slots.
    pub fn rows(&self, slots: impl std::ops::RangeBounds<u64>) -> impl Iterator<Item = &Row> {
        self.ledger.rows(slots)
    }

    /// Proposes a slot of the harness's own validator as a validator client does; false if one does.
    ///
    /// # Panics
    /// If the block is not taken.
    pub async fn propose(&self, slot: u64) -> bool {
        if !self.owns {
            return false;
        }
        self.at(slot, 0, 1).await;
        let outcome = match self.own.produce(slot).await {
            Produced::Blinded(block) => self.own.hand_in(&self.own.sign(block)).await,
            Produced::Local(block) => self.own.publish(block).await,
        };
        outcome.unwrap_or_else(|error| panic!("slot {slot}: {error}"));
        true
    }

    /// Has the proposer of a slot, who must be the one of the relay's schedule, delegate to the harness's gateway.
    ///
    /// # Panics
    /// If the relay has another schedule, or refuses.
    pub async fn delegate(&mut self, slot: u64) {
        let validator = self.proposer(slot).await;
        let schedule = self.relay.schedule().await;
        let scheduled = schedule.iter().find(|one| one.slot.0 == slot).expect("the slot is scheduled");
        assert_eq!(scheduled.validator_index, validator, "another schedule than the beacon node's");
        assert!(scheduled.opted_in);
        self.gateway.delegate(&self.relay, slot, validator).await;
    }

    /// The delegation of a slot that its proposer signed, if the relay has it.
    ///
    /// # Panics
    /// If the relay does not tell, has several, or has one that is not of the sidecar to the harness's gateway.
    pub async fn delegation(&mut self, slot: u64) -> Option<SignedDelegation> {
        let key = interop_key(self.proposer(slot).await).unwrap().public_key();
        let all = self.relay.client.delegations(slot).await.unwrap();
        let mut of_proposer = all.into_iter().filter(|one| one.message.proposer == key);
        let one = of_proposer.next()?;
        assert_eq!(of_proposer.next(), None, "two delegations for slot {slot}");
        let (committer, delegate) = self.gateway.identity();
        assert_eq!((one.message.committer, one.message.delegate), (committer, delegate));
        Some(one)
    }

    /// Constrains a slot, in the slot before it. Each transaction has a message of its own; those that came too late are not among
    /// those given. Where transactions of the same
    /// account were promised before and are not on chain, they are promised again: no block can hold the later ones without.
    ///
    /// # Panics
    /// If a pool or the relay refuses.
    pub async fn constrain(&mut self, slot: u64, step: Step) -> Vec<(SignedConstraints, Bytes)> {
        let validator = self.proposer(slot).await;
        let builders = self.peers.builder_geth.rpc.clone();
        let (first, transactions): (u64, Vec<(u64, Bytes)>) = match step {
            Step::Constrain(count, pool) => {
                let account = if pool == Pool::Public { public() } else { private() };
                let next = builders.nonce(account.address(), BlockNumberOrTag::Pending).await.unwrap();
                let from = match &self.front {
                    Some(_) => {
                        let rpc = &self.peers.geth.rpc;
                        rpc.nonce(account.address(), BlockNumberOrTag::Latest).await.unwrap().min(next)
                    }
                    None => next,
                };
                (next, (from..next + count).map(|nonce| (nonce, account.transfer(nonce))).collect())
            }
            Step::Unkeepable => (0, vec![(0, withheld().transfer(0))]),
            Step::Unincludable => (0, vec![(7, withheld().transfer(7))]),
        };
        let mut constrained = Vec::new();
        for (nonce, transaction) in transactions {
            if let Step::Constrain(_, pool) = step
                && nonce >= first
            {
                builders.send_raw_transaction(&transaction).await.unwrap();
                if pool == Pool::Public {
                    self.peers.geth.rpc.send_raw_transaction(&transaction).await.unwrap();
                }
            }
            let one = std::slice::from_ref(&transaction);
            match self.gateway.constrain(&self.relay, slot, validator, one).await {
                Some(message) => constrained.push((message, transaction)),
                None => break,
            }
        }
        constrained
    }

    /// Whether the relay has a header for a slot that is about to begin, with proofs of these transactions.
    ///
    /// # Panics
    /// If the relay refuses or a proof does not hold.
    pub async fn is_proven(&self, slot: u64, transactions: &[Bytes]) -> bool {
        let head = self.peers.geth.rpc.block(BlockNumberOrTag::Latest).await.unwrap().unwrap();
        let key = interop_key(self.proposers[&slot]).unwrap().public_key();
        proven_header(&self.relay, slot, head.header.hash, key, transactions).await.is_some()
    }

    /// Wei that the execution block of this number pays the validators.
    ///
    /// # Panics
    /// If geth does not tell.
    pub async fn paid_by(&self, number: u64) -> U256 {
        let balance = async |at: u64| self.peers.geth.rpc.balance(FEE_RECIPIENT, at.into()).await.unwrap();
        balance(number).await - balance(number - 1).await
    }
}

/// The account whose constrained transactions are in the pool.
fn public() -> Account {
    Account::of(&[0x53; 32], RollupId(NETWORK.chain_id))
}

/// The account whose constrained transactions only the builder has.
fn private() -> Account {
    Account::of(&[0x54; 32], RollupId(NETWORK.chain_id))
}

/// The account whose transactions nobody has.
fn withheld() -> Account {
    Account::of(&[0x55; 32], RollupId(NETWORK.chain_id))
}

/// Proposers of the first two epochs: every validator once, as far as there are slots, in an order without pattern.
fn lookahead(own_slots: &[u64]) -> Vec<u64> {
    let others = VALIDATORS - 1;
    (0..2 * SLOTS_PER_EPOCH)
        .map(|slot| if own_slots.contains(&slot) { OWN_VALIDATOR } else { slot * 37 % others })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_slots_are_of_the_own_validator_and_the_others_are_spread() {
        let proposers = lookahead(&[9, 40]);
        let own: Vec<usize> = (0..64).filter(|slot| proposers[*slot] == OWN_VALIDATOR).collect();
        assert_eq!(own, [9, 40]);
        let distinct: std::collections::BTreeSet<u64> = proposers.iter().copied().collect();
        assert!(distinct.len() > 60, "{distinct:?}");
    }
}
