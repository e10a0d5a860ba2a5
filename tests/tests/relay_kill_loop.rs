//! A relay killed again and again at random moments, under registrations, delegations, constraints, bids and proposals: what
//! it answered stands, and no slot has two blocks (design §10).

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy_primitives::{Address, B256, Bytes};
use earnest_builder_types::{
    BlsPublicKey, SignedBlindedBeaconBlock, SignedValidatorRegistration, TreeHash, bls::SecretKey,
};
use earnest_protocol::{
    RollupId, Slot,
    objects::{Constraint, ConstraintsMessage, Delegation, SignedConstraints, SignedDelegation},
};
use earnest_tests::{
    account::Account,
    patience::now_ms,
    relay_rig::{Answer, Rig, text},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Kills.
const ROUNDS: u32 = 18;
const SLOT_MS: u64 = 2_000;
const VALIDATORS: u8 = 48;
/// How long the relay lives in one round, milliseconds from its first answer: from hardly at all to more than a slot.
const LIFE_MS: Range<u64> = 5..2_600;
/// Receipts asked for again after each kill, the newest: what was acknowledged last is what a kill could lose.
const ASKED_AGAIN: usize = 30;
const REGISTRATIONS: &str = "/eth/v1/builder/validators";
const DELEGATE: &str = "/constraints/v0/builder/delegate";
const CONSTRAINTS: &str = "/constraints/v0/builder/constraints";

/// What was sent, and what the relay answered to it.
type Receipted = (Value, Bytes);

/// All that the relay ever said.
#[derive(Default)]
struct Said {
    registered: HashMap<BlsPublicKey, SignedValidatorRegistration>,
    delegations: Vec<Receipted>,
    constraints: Vec<Receipted>,
    /// Blocks that were unblinded, by slot.
    unblinded: BTreeMap<u64, BTreeSet<B256>>,
    /// Rows of the data API, by slot.
    delivered: BTreeMap<String, Value>,
    /// Second blocks that were refused.
    seconds: u64,
}

struct Shared {
    rig: Rig,
    said: Mutex<Said>,
    going_on: AtomicBool,
    /// Requests without an answer.
    lost: AtomicU64,
    /// Slots in which the relay was down at any time.
    disturbed: Mutex<BTreeSet<u64>>,
}

impl Shared {
    fn goes_on(&self) -> bool {
        self.going_on.load(Ordering::Relaxed)
    }

    fn slot(&self) -> u64 {
        self.rig.node.clock().slot_at(now_ms()).unwrap_or(0)
    }

    fn disturb(&self) {
        let slot = self.slot();
        self.disturbed.lock().unwrap().insert(slot);
    }

    /// Sends until there is an answer, as long as traffic goes on.
    async fn post(&self, path: &str, body: &Value) -> Answer {
        while self.goes_on() {
            let answer = self.rig.post(path, body).await;
            if answer.as_ref().is_some_and(|(status, _)| *status != 503) {
                return answer;
            }
            self.lost.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        None
    }

    /// Registrations, each newer than the one before.
    async fn register(self: Arc<Self>) {
        let first = now_ms() / 1000 - 1_000_000;
        for round in 0_u64.. {
            for keys in self.rig.keys.chunks(4) {
                let all: Vec<_> = keys.iter().map(|key| self.rig.registration(key, first + round)).collect();
                let Some((status, body)) = self.post(REGISTRATIONS, &json!(all)).await else { return };
                assert_eq!(status, 200, "{}", text(&body));
                let all = all.into_iter().map(|one| (one.message.pubkey, one));
                self.said.lock().unwrap().registered.extend(all);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// A delegation of every coming slot, and constraints for it, some of which nobody but their receivers sees.
    async fn constrain(self: Arc<Self>) {
        let gateway = SecretKey::from_bytes(&[100; 32]).unwrap();
        let account = Account::random(RollupId(self.rig.network.chain_id));
        let mut nonce = 0;
        let mut slot = self.slot() + 1;
        while self.goes_on() {
            slot = slot.max(self.slot() + 1);
            if self.delegate(slot, &gateway).await {
                for _ in 0..3 {
                    let raw = account.transfer(nonce);
                    nonce += 1;
                    // Every later block holds it.
                    self.rig.engine.submit(raw.clone());
                    let message = ConstraintsMessage {
                        proposer: self.rig.proposer(slot).1.public_key(),
                        delegate: gateway.public_key(),
                        slot: Slot(slot),
                        constraints: vec![Constraint::inclusion(Slot(slot), raw)],
                        receivers: vec![],
                    };
                    let signed = SignedConstraints::sign(message, &gateway, &self.rig.network).unwrap();
                    self.hold(json!(signed)).await;
                }
            }
            slot += 1;
            let start = self.rig.node.clock().start_of(slot - 1);
            while self.goes_on() && now_ms() + SLOT_MS < start {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn delegate(&self, slot: u64, gateway: &SecretKey) -> bool {
        let (_, proposer) = self.rig.proposer(slot);
        let message = Delegation {
            proposer: proposer.public_key(),
            delegate: gateway.public_key(),
            committer: Address::repeat_byte(1),
            slot: Slot(slot),
            metadata: Bytes::new(),
        };
        let signed = json!(SignedDelegation::sign(message, &proposer, &self.rig.network).unwrap());
        match self.post(DELEGATE, &signed).await {
            Some((200, receipt)) => {
                self.said.lock().unwrap().delegations.push((signed, receipt));
                true
            }
            Some((_, refusal)) => {
                assert!(text(&refusal).contains("slot_begun"), "slot {slot}: {}", text(&refusal));
                false
            }
            None => false,
        }
    }

    async fn hold(&self, signed: Value) {
        match self.post(CONSTRAINTS, &signed).await {
            Some((200, receipt)) => self.said.lock().unwrap().constraints.push((signed, receipt)),
            Some((_, refusal)) => assert!(text(&refusal).contains("constraint_late"), "{}", text(&refusal)),
            None => {}
        }
    }

    /// In every slot two blocks around one header, each sent again and again until it is taken or refused.
    async fn propose(self: Arc<Self>) {
        let mut slot = self.slot() + 1;
        while self.goes_on() {
            self.rig.node.wait_for_slot(slot).await;
            let until = self.rig.node.clock().start_of(slot) + SLOT_MS;
            let (_, key) = self.rig.proposer(slot);
            let mut bid = None;
            while bid.is_none() && now_ms() + SLOT_MS / 2 < until {
                bid = self.rig.header(slot, &key).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if let Some(bid) = bid {
                let blocks = [1, 2].map(|graffiti| self.rig.blinded(slot, &bid, graffiti));
                let order = rand::random_range(0..2);
                let (first, second) = (&blocks[order], &blocks[1 - order]);
                tokio::join!(self.unblind(slot, until, first), self.unblind(slot, until, second));
            }
            slot = (slot + 1).max(self.slot());
        }
    }

    async fn unblind(&self, slot: u64, until: u64, block: &SignedBlindedBeaconBlock) {
        let version = rand::random_range(1..=2);
        while now_ms() < until {
            match self.rig.propose(version, block).await {
                None | Some((502 | 503, _)) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(15)).await;
                }
                Some((200 | 202, _)) => {
                    let mut said = self.said.lock().unwrap();
                    let taken = said.unblinded.entry(slot).or_default();
                    taken.insert(block.message().tree_hash_root());
                    assert_eq!(taken.len(), 1, "two blocks of slot {slot}");
                    return;
                }
                Some((_, refusal)) => {
                    let refusal = text(&refusal);
                    let second = refusal.contains("another block of this slot was unblinded before");
                    let late = refusal.contains("too late for slot");
                    assert!(second || late, "slot {slot}: {refusal}");
                    self.said.lock().unwrap().seconds += u64::from(second);
                    return;
                }
            }
        }
    }

    /// Looks at the data API again and again.
    async fn watch(self: Arc<Self>) {
        while self.goes_on() {
            self.see_delivered().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn see_delivered(&self) -> Option<()> {
        let rows = self.rig.delivered().await?;
        let mut said = self.said.lock().unwrap();
        for row in rows {
            let slot = row["slot"].as_str().unwrap().to_owned();
            let before = said.delivered.insert(slot.clone(), row.clone());
            assert!(before.is_none_or(|before| before == row), "slot {slot} has two payloads");
        }
        Some(())
    }

    /// All that was said stands; returns how many receipts were asked for again, and registrations.
    async fn check(&self) -> (u64, u64) {
        let (mut receipts, mut registrations) = (0, 0);
        let newest = |all: &[Receipted]| all.iter().rev().take(ASKED_AGAIN).cloned().collect::<Vec<_>>();
        let (delegations, constraints, registered, delivered) = {
            let said = self.said.lock().unwrap();
            let delegations = newest(&said.delegations);
            (delegations, newest(&said.constraints), said.registered.clone(), said.delivered.clone())
        };
        for (path, all) in [(DELEGATE, delegations), (CONSTRAINTS, constraints)] {
            for (signed, receipt) in all {
                let (status, again) = self.rig.post(path, &signed).await.expect("the relay answers");
                assert_eq!((status, text(&again)), (200, text(&receipt)), "{path}");
                receipts += 1;
            }
        }
        for (key, registration) in registered {
            let path = format!("/relay/v1/data/validator_registration?pubkey={key}");
            let (status, held) = self.rig.get(&path).await.expect("the relay answers");
            assert_eq!(status, 200, "{}", text(&held));
            let held: SignedValidatorRegistration = serde_json::from_slice(&held).unwrap();
            let newer = held.message.timestamp > registration.message.timestamp;
            assert!(newer || held == registration, "{held:?} in place of {registration:?}");
            registrations += 1;
        }
        let rows = self.rig.delivered().await.expect("the relay answers");
        for (slot, row) in delivered {
            assert!(rows.contains(&row), "the payload of slot {slot} is delivered no more");
        }
        (receipts, registrations)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_takes_nothing_back_and_unblinds_no_second_block() {
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let rig = Rig::new(SLOT_MS, VALIDATORS).await;
    let mut relay = rig.relay("0").await;
    rig.register().await;
    let builder = rig.builder().await;
    rig.node.wait_for_slot(1).await;
    let shared = Arc::new(Shared {
        rig,
        said: Mutex::default(),
        going_on: AtomicBool::new(true),
        lost: AtomicU64::new(0),
        disturbed: Mutex::default(),
    });
    let mut traffic = JoinSet::new();
    traffic.spawn(Arc::clone(&shared).register());
    traffic.spawn(Arc::clone(&shared).constrain());
    traffic.spawn(Arc::clone(&shared).propose());
    traffic.spawn(Arc::clone(&shared).watch());

    let (mut receipts, mut registrations) = (0, 0);
    for round in 1..=ROUNDS {
        tokio::time::sleep(Duration::from_millis(random.random_range(LIFE_MS))).await;
        shared.disturb();
        relay.kill().await;
        relay = shared.rig.relay(&round.to_string()).await;
        shared.disturb();
        let (again, registered) = shared.check().await;
        receipts += again;
        registrations += registered;
        println!("kill {round}: {again} receipts and {registered} registrations as before");
        if let Some(ended) = traffic.try_join_next() {
            panic!("traffic ended: {ended:?}");
        }
    }
    // Two slots without a kill.
    let quiet = shared.slot() + 1;
    shared.rig.node.wait_for_slot(quiet + 2).await;
    shared.going_on.store(false, Ordering::Relaxed);
    while let Some(ended) = traffic.join_next().await {
        ended.unwrap();
    }
    shared.see_delivered().await.expect("the relay answers");
    shared.check().await;
    builder.shutdown().await;
    assert!(relay.terminate().await.success());

    let said = shared.said.lock().unwrap();
    let disturbed = shared.disturbed.lock().unwrap();
    let on_chain = |root: &B256| shared.rig.node.chain(|chain| chain.block(*root).is_some());
    for (slot, roots) in &said.unblinded {
        let published = roots.iter().all(on_chain);
        assert!(published || disturbed.contains(slot), "the block of slot {slot} is not on the chain");
        let shown = said.delivered.contains_key(&slot.to_string());
        assert_eq!(shown, published, "slot {slot}: on the chain, shown as delivered");
    }
    let all = said.unblinded.values().flatten();
    println!(
        "{ROUNDS} kills and restarts, {} delegations and {} constraints with receipts, {receipts} receipts asked for again and the \
         same, {registrations} registrations looked up, {} slots unblinded ({} blocks on the chain), {} second blocks refused, {} rows \
         delivered, {} requests sent again",
        said.delegations.len(),
        said.constraints.len(),
        said.unblinded.len(),
        all.filter(|root| on_chain(root)).count(),
        said.seconds,
        said.delivered.len(),
        shared.lost.load(Ordering::Relaxed),
    );
    assert!(
        said.unblinded.len() > 5 && said.seconds > 3 && receipts > 100 && said.delivered.len() > 5,
        "too little happened to say anything"
    );
}
