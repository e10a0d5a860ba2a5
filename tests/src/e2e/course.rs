//! The network behind the sidecar, fault by fault: what is done in each slot, and what must hold of it.
//!
//! What concerns a slot is done in the slot before it:
//!
//! | when | what |
//! |---|---|
//! | ⅜ | a fault of the gateway begins, or ends; if the sidecar delegated the slot, constraints beside the gateway's |
//! | ½ | what became of the slots before; the gateway seals the slot's windows, and constrains it to its batches |
//! | ⅝ | another fault begins; the one before it ends |
//! | 19/20 | the relay's word on all constraints, and whether it has a header with proofs |

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use alloy_primitives::{B256, Bytes};
use earnest_protocol::objects::{ConstraintStatus, SignedDelegation};

use super::{
    contracts::DECIDED_FROM,
    front::Front,
    gateway::constraints_of,
    genesis::SLOTS_PER_EPOCH,
    ledger::{Row, Source},
    network::{Network, Pool, Step},
    operators::is_registered,
    sidecar::{BREAKER_SLOTS, Sidecar},
    tally::{Count, Fault, Is, table},
    wire::Harm,
};
use crate::patience::now_ms;

/// What happens, and for how many slots. The third epoch, the first that the Registry decides, begins with slot 64.
const PLAN: [(Fault, u64); 28] = [
    (Fault::Nothing, 20),
    (Fault::MevBoostKilled, 3),
    (Fault::MevBoostHangs, 3),
    (Fault::MevBoostGarbage, 3),
    (Fault::MevBoostLate, 3),
    (Fault::GatewayKilled, 3),
    (Fault::Mended, 1),
    (Fault::GatewayHangs, 3),
    (Fault::GatewayGarbage, 3),
    (Fault::GatewayLate, 3),
    (Fault::RelayNonsense, 3),
    (Fault::Mended, 3),
    (Fault::RelayGarbage, 3),
    (Fault::Mended, 3),
    (Fault::RelayLate, 4),
    (Fault::Mended, 4),
    (Fault::Outbid, 6),
    (Fault::RelayKilled, 4),
    (Fault::Mended, 3),
    (Fault::RelayHangs, 4),
    (Fault::Mended, 3),
    (Fault::SidecarKilled, 3),
    (Fault::Mended, 3),
    (Fault::KilledAfterHeader, 1),
    (Fault::Mended, 2),
    (Fault::GoneAfterHeader, 1),
    (Fault::BreakerOpen, BREAKER_SLOTS),
    (Fault::Mended, 3),
];
/// What the first delegated slots are constrained to beside the gateway's batches: among it what nobody can keep, and what is dropped.
const STEPS: [Option<Step>; 3] = [None, Some(Step::Unkeepable), Some(Step::Unincludable)];
/// Slots in which the constrained slot is waited for whose relay is killed.
const WAIT: u64 = 8;
/// What answers come too late by.
const LATE: Duration = Duration::from_millis(1_500);
/// So long before a slot the rival bids for it. Auctions close six slots before at the latest.
const BID_AHEAD: u64 = 8;
/// Slots whose delegations are looked at before a fault may hide them.
const AHEAD: u64 = 4;
/// By this slot the contracts are on L1. Epoch 0, at whose end they count first, ends with slot 31.
const DEPLOYED_BY: u64 = 24;
/// Prysm takes all of epoch 0 for missed in this slot, and asks nobody for a header.
const PRYSM_ASKS_NOBODY: u64 = SLOTS_PER_EPOCH;
/// Windows of the slots before have no room.
const FIRST_DELEGATED: u64 = 8;
/// A delegation is signed so many slots before its slot, at most: faults of the relay or the sidecar since then may keep it back.
pub(super) const SIGNED_BEFORE: u64 = 7;

/// The constraints of a slot, by the relay's last word.
#[derive(Debug, Default)]
struct Constrained {
    /// What a block must hold.
    binding: Vec<Bytes>,
    /// Not all of it is in every pool.
    private: bool,
    /// Some of it is in none.
    never: bool,
}

/// A run of the network behind the sidecar.
pub struct Course {
    /// The network.
    pub network: Network,
    notes: BTreeMap<u64, String>,
    faults: BTreeMap<u64, Fault>,
    pub(super) delegated: BTreeMap<u64, SignedDelegation>,
    /// The slot from which on relay and sidecar both read the market's contracts.
    pub(super) market_from: Option<u64>,
    /// What slots were constrained to beside the gateway's batches.
    steps: BTreeMap<u64, Step>,
    constrained: BTreeMap<u64, Constrained>,
    /// Slots for which the other relay bid more than the relay.
    outbid: BTreeSet<u64>,
    /// Slots in which the relay was killed, and back so soon that its payload can still be had.
    back_in_time: BTreeSet<u64>,
    /// Local blocks that hold what was promised and is in every pool, of all such.
    local_with_promise: (usize, usize),
    harmed: Fault,
    harmed_gateway: Fault,
    settled: u64,
    /// What is told at the end.
    pub findings: Vec<String>,
    /// What should have been otherwise.
    pub broken: Vec<String>,
}

impl Course {
    /// A run of a network before its slot 0.
    ///
    /// # Panics
    /// If no sidecar is in front.
    #[must_use]
    pub fn new(network: Network) -> Self {
        assert!(network.front.is_some(), "a sidecar is in front");
        Self {
            network,
            notes: BTreeMap::new(),
            faults: BTreeMap::new(),
            delegated: BTreeMap::new(),
            market_from: None,
            steps: BTreeMap::new(),
            constrained: BTreeMap::new(),
            outbid: BTreeSet::new(),
            back_in_time: BTreeSet::new(),
            local_with_promise: (0, 0),
            harmed: Fault::Nothing,
            harmed_gateway: Fault::Nothing,
            settled: 0,
            findings: Vec::new(),
            broken: Vec::new(),
        }
    }

    pub(super) fn front(&mut self) -> &mut Front {
        self.network.front.as_mut().expect("a sidecar is in front")
    }

    /// All of the plan. Gives the table.
    ///
    /// # Panics
    /// If a part of the network fails that is not harmed.
    pub async fn run(&mut self) -> String {
        let mut slot = 1;
        for (fault, count) in PLAN {
            if fault.after_the_header() {
                slot = self.killed_after_header(slot, fault).await;
                continue;
            }
            for _ in 0..count {
                self.pass(slot, fault).await;
                slot += 1;
            }
        }
        self.network.at(slot, 1, 2).await;
        self.settle_to(slot - 1).await;
        self.audit_receipts(slot).await;
        self.audit_auctions(slot - 1).await;
        self.judge()
    }

    /// What is done before a slot.
    async fn pass(&mut self, slot: u64, fault: Fault) {
        let before = slot - 1;
        self.faults.insert(slot, fault);
        if slot == PRYSM_ASKS_NOBODY {
            self.note(slot, "Prysm asks nobody");
        }
        if slot == DEPLOYED_BY {
            self.front().deployed().await;
        }
        self.network.at(before, 3, 8).await;
        self.harm_gateway(fault).await;
        if fault.of_the_gateway() && now_ms() >= self.network.clock.before(slot, 1, 2) {
            // On a busy machine: the gateway was well when it constrained this slot.
            self.faults.insert(slot, Fault::Mended);
        }
        if self.network.relay.is_up() {
            self.bid_beside(slot + BID_AHEAD).await;
            self.constrain(slot, fault).await;
        }
        self.network.at(before, 1, 2).await;
        if self.network.relay.is_up() {
            self.settle_to(before.saturating_sub(1)).await;
        }
        self.network.at(before, 5, 8).await;
        self.harm(fault).await;
        if self.network.relay.is_up() {
            self.network.at(before, 19, 20).await;
            self.ask_for_proofs(slot).await;
        }
    }

    /// Has the rival bid for a slot that the sidecar bids for.
    async fn bid_beside(&mut self, slot: u64) {
        if Sidecar::has_key(self.network.proposer(slot).await) {
            let front = self.network.front.as_mut().expect("a sidecar is in front");
            front.rival.bid(&self.network.relay, slot).await;
        }
    }

    /// Sees what the sidecar delegated. Adds to what the gateway will constrain a slot to.
    async fn constrain(&mut self, slot: u64, fault: Fault) {
        for ahead in slot..=slot + AHEAD {
            if let Some(delegation) = self.network.delegation(ahead).await {
                self.delegated.insert(ahead, delegation);
            }
        }
        let step = match fault {
            Fault::Outbid => Some(Step::Constrain(1, Pool::OfTheBuilder)),
            _ => STEPS.get(self.delegated.range(..slot).count()).copied().flatten(),
        };
        let Some(step) = step.filter(|_| self.delegated.contains_key(&slot)) else { return };
        // Near the cut-off it would be too late.
        if now_ms() < self.network.clock.before(slot, 2, 5)
            && !self.network.constrain(slot, step).await.is_empty()
        {
            self.steps.insert(slot, step);
        }
    }

    /// After the cut-off: the relay's last word on each message, whether it has a header with proofs, and who bids more.
    async fn ask_for_proofs(&mut self, slot: u64) {
        if self.delegated.contains_key(&slot) {
            let all = constraints_of(&self.network.relay, slot).await;
            let inclusions = |of: ConstraintStatus| -> Vec<Bytes> {
                let messages = all.iter().filter(|(_, status)| *status == of);
                let constraints = messages.flat_map(|(signed, _)| &signed.message.constraints);
                constraints.map(|one| one.as_inclusion().unwrap().signed_tx).collect()
            };
            let (binding, dropped) =
                (inclusions(ConstraintStatus::Held), inclusions(ConstraintStatus::Dropped));
            let offered = !binding.is_empty() && self.network.is_proven(slot, &binding).await;
            let step = self.steps.get(&slot).copied();
            let never = step == Some(Step::Unkeepable);
            self.expect(!(never && offered), &format!("slot {slot}: a header that keeps what nobody can"));
            self.expect(
                dropped.len() == usize::from(step == Some(Step::Unincludable)),
                &format!("slot {slot}: held what can be in no block, or dropped what can"),
            );
            let beside = match step {
                None => "",
                Some(Step::Constrain(..)) => ", one of them only the builder has",
                Some(Step::Unkeepable) => ", one of them nobody has",
                Some(Step::Unincludable) => ", one of them with a nonce too high",
            };
            let proofs = if offered { "proofs" } else { "no proofs" };
            let (held, dropped) = (binding.len(), dropped.len());
            self.note(slot, &format!("delegated, {held} held and {dropped} dropped{beside}: {proofs}"));
            let private = matches!(step, Some(Step::Constrain(..)));
            self.constrained.insert(slot, Constrained { binding, private, never });
        }
        let other = self.front().other.best_bid(slot).await;
        if other > self.network.relay.best_bid(slot).await {
            self.outbid.insert(slot);
            self.note(slot, "other relay bids more");
        }
    }

    /// Ends the fault of the gateway that is, and begins this one, before the slot's windows are sealed.
    async fn harm_gateway(&mut self, fault: Fault) {
        let fault = if fault.of_the_gateway() { fault } else { Fault::Nothing };
        if fault == self.harmed_gateway {
            return;
        }
        let before = std::mem::replace(&mut self.harmed_gateway, fault);
        let front = self.front();
        match before {
            Fault::GatewayKilled => front.gateway.start().await,
            Fault::GatewayHangs => front.gateway.go_on(),
            _ => {}
        }
        match fault {
            Fault::GatewayKilled => front.gateway.kill().await,
            Fault::GatewayHangs => front.gateway.hang(),
            _ => {}
        }
        front.gateway_wire.set(match fault {
            Fault::GatewayGarbage => Harm::GarbledPosts,
            Fault::GatewayLate => Harm::LateRequests(LATE),
            _ => Harm::None,
        });
    }

    /// Ends the fault that is, and begins this one.
    async fn harm(&mut self, fault: Fault) {
        if fault == self.harmed {
            return;
        }
        match self.harmed {
            Fault::RelayKilled => self.start_relay().await,
            Fault::MevBoostKilled => self.front().mev_boost.start().await,
            Fault::SidecarKilled => {
                let slot = self.network.current_slot();
                let reads = self.front().restart_sidecar(slot).await;
                let relays = self.network.relay.registry.as_ref().is_some_and(|one| one.with_market);
                self.market_from = (reads && relays).then_some(slot);
            }
            Fault::Outbid => self.network.traffic.outbid(false),
            _ => {}
        }
        match fault {
            Fault::RelayKilled => self.network.relay.kill().await,
            Fault::MevBoostKilled => self.front().mev_boost.kill().await,
            Fault::SidecarKilled => self.front().sidecar.kill().await,
            Fault::Outbid => self.network.traffic.outbid(true),
            _ => {}
        }
        let (relay, mev_boost) = match fault {
            Fault::RelayHangs => (Harm::Hangs, Harm::None),
            Fault::RelayGarbage => (Harm::Garbage, Harm::None),
            Fault::RelayNonsense => (Harm::Nonsense, Harm::None),
            Fault::RelayLate => (Harm::Late(LATE), Harm::None),
            Fault::MevBoostHangs => (Harm::None, Harm::Hangs),
            Fault::MevBoostGarbage => (Harm::None, Harm::Garbage),
            Fault::MevBoostLate => (Harm::None, Harm::Late(LATE)),
            _ => (Harm::None, Harm::None),
        };
        let front = self.front();
        front.relay_wire.set(relay);
        front.mev_boost_wire.set(mev_boost);
        self.harmed = fault;
    }

    /// Starts the relay again. Once the terms on L1 are in force it reads the market's contracts.
    async fn start_relay(&mut self) {
        let slot = self.network.current_slot();
        let with_market = self.front().has_terms(slot);
        if let Some(registry) = &mut self.network.relay.registry {
            registry.with_market = with_market;
        }
        let beacon = self.network.peers.beacon_url.clone();
        self.network.relay.start(&beacon).await;
    }

    /// Waits for a slot whose constraints are held, kills the relay when the beacon node has its header, and starts it again, at
    /// once or when it is too late for its payload. Gives the slot after.
    async fn killed_after_header(&mut self, from: u64, fault: Fault) -> u64 {
        for slot in from..from + WAIT {
            self.pass(slot, Fault::Mended).await;
            if self.constrained.get(&slot).is_none_or(|one| one.binding.is_empty()) {
                continue;
            }
            let limit = self.network.clock.slot_duration();
            let given = self.front().sidecar.next_header(limit).await;
            self.network.relay.kill().await;
            let after = now_ms().saturating_sub(self.network.clock.start_of(slot));
            if fault == Fault::GoneAfterHeader {
                self.network.at(slot, 13, 16).await;
            }
            self.start_relay().await;
            let back = now_ms().saturating_sub(self.network.clock.start_of(slot));
            if fault == Fault::KilledAfterHeader && back < self.network.clock.fraction_ms(1, 2) {
                self.back_in_time.insert(slot);
            }
            self.faults.insert(slot, fault);
            self.expect(given, &format!("slot {slot}: no header to kill the relay after"));
            self.note(slot, &format!("relay killed {after} ms into the slot, back at {back} ms"));
            return slot + 1;
        }
        self.expect(false, "no constrained slot to kill the relay in");
        from + WAIT
    }

    async fn settle_to(&mut self, last: u64) {
        for slot in self.settled + 1..=last {
            let fault = self.faults[&slot];
            let note = self.notes.get(&slot).cloned().unwrap_or_default();
            let row = self.network.settle(slot, &format!("[{fault}] {note}")).await;
            self.check(&row).await;
            self.settled = slot;
            if slot == DECIDED_FROM * SLOTS_PER_EPOCH {
                self.check_schedule().await;
            }
        }
    }

    /// What holds of every slot.
    async fn check(&mut self, row: &Row) {
        let (slot, source, fault) = (row.slot, row.source, self.faults[&row.slot]);
        let there = row.payload.is_some() && source != Source::Lost;
        // A beacon node hands its signed block in once: where the only relay that has the payload is gone, it is lost.
        let may_be_lost = fault.after_the_header() && !self.back_in_time.contains(&slot);
        self.expect(
            there || may_be_lost,
            &format!("slot {slot}: no block, or not the one that was delivered ({fault})"),
        );
        if let (Source::Relay { value } | Source::MevBoost { value }, Some(payload)) = (source, &row.payload)
        {
            let paid = self.network.paid_by(payload.number).await;
            self.expect(
                paid == value,
                &format!("slot {slot}: the bid was {value} wei, the block pays {paid}"),
            );
        }
        // What is delegated stays as it was, whoever was killed in between.
        if let Some(seen) = self.delegated.get(&slot).cloned() {
            let now = self.network.delegation(slot).await;
            self.expect(now.is_none_or(|now| now == seen), &format!("slot {slot}: another delegation"));
        }
        self.check_delegated(row.proposer, slot);
        let delegated = self.delegated.contains_key(&slot);
        if let Some(Constrained { binding, private, never }) = self.constrained.get(&slot) {
            let holds = |payload: &super::ledger::Payload| {
                binding.iter().all(|transaction| payload.transactions.contains(transaction))
            };
            let kept = row.payload.as_ref().is_some_and(holds);
            let (binds, never, local) = (!binding.is_empty(), *never, source == Source::Local);
            if binds && local && !private && !never {
                self.local_with_promise.0 += usize::from(kept);
                self.local_with_promise.1 += 1;
            }
            let or_none = local || !there;
            self.expect(
                !binds || or_none || (row.is_of_the_relay() && kept),
                &format!(
                    "slot {slot}: {source}'s block where transactions are promised; it holds them: {kept}"
                ),
            );
            self.expect(!never || local, &format!("slot {slot}: {source}'s block where nothing can be kept"));
        }
        let must_be_local = fault == Fault::SidecarKilled || (fault.of_the_relay() && delegated);
        self.expect(
            !must_be_local || source == Source::Local,
            &format!("slot {slot}: {source}'s block where it must be local ({fault})"),
        );
        self.expect(
            fault != Fault::BreakerOpen || !row.is_of_the_relay(),
            &format!("slot {slot}: {source}'s block, which lost one just before"),
        );
    }

    /// Whether the sidecar delegated what it had to, and nothing else.
    fn check_delegated(&mut self, validator: u64, slot: u64) {
        let opted_in = slot < DECIDED_FROM * SLOTS_PER_EPOCH || is_registered(validator);
        let may = opted_in && Sidecar::has_key(validator);
        let delegated = self.delegated.contains_key(&slot);
        self.expect(may || !delegated, &format!("slot {slot}: delegated for validator {validator}"));
        let sold = self.delegated.get(&slot).is_none_or(is_sold);
        self.expect(sold, &format!("slot {slot}: delegated what no auction sold"));
        let must = may && slot >= FIRST_DELEGATED && !self.may_be_kept_back(slot);
        self.expect(!must || delegated, &format!("slot {slot}: not delegated for validator {validator}"));
    }

    /// Whether the relay or the sidecar may have been away when the slot was sold or delegated.
    pub(super) fn may_be_kept_back(&self, slot: u64) -> bool {
        (slot.saturating_sub(SIGNED_BEFORE)..=slot).any(|slot| {
            let fault = self.faults.get(&slot).copied().unwrap_or(Fault::Nothing);
            fault.of_the_relay() || fault == Fault::SidecarKilled || fault.after_the_header()
        })
    }

    /// The relay's schedule is the Registry's word.
    async fn check_schedule(&mut self) {
        let first = DECIDED_FROM * SLOTS_PER_EPOCH;
        let schedule = self.network.relay.schedule().await;
        let decided: Vec<_> = schedule.iter().filter(|one| one.slot.0 >= first).collect();
        let right = decided.iter().all(|one| one.opted_in == is_registered(one.validator_index));
        let out = decided.iter().filter(|one| !one.opted_in).count();
        self.expect(right && out > 0, "the relay's schedule is not what the Registry says");
        self.findings.push(format!(
            "from slot {first} on the Registry decides: of {} scheduled slots {out} are of validators that it does not know",
            decided.len()
        ));
    }

    /// All of it, at the end: what must hold of each fault, and the table.
    fn judge(&mut self) -> String {
        let served = self.front().sidecar.served();
        let mut counts: BTreeMap<Fault, Count> = BTreeMap::new();
        let rows: Vec<Row> = self.network.rows(..).cloned().collect();
        let mut outbid_and_proven = 0;
        for row in &rows {
            let slot = row.slot;
            let binds = self.constrained.get(&slot).is_some_and(|one| !one.binding.is_empty());
            let kept = served.get(&slot).map_or(0, |(_, kept)| *kept);
            let proven = row.is_of_the_relay() && kept > 0;
            self.expect(
                !(row.is_of_the_relay() && binds) || proven,
                &format!("slot {slot}: the relay's block was taken without proofs"),
            );
            outbid_and_proven += usize::from(proven && self.outbid.contains(&slot));
            let delegated = self.delegated.contains_key(&slot);
            let sold = self.delegated.get(&slot).is_some_and(is_sold);
            let is = Is { delegated, sold, constrained: binds, proven };
            counts.entry(self.faults[&slot]).or_default().add(row, is);
        }
        for (fault, count) in &counts {
            let Count { slots, delegated, constrained, proven, relay, mev_boost, .. } = *count;
            let mut must =
                |holds: bool, what: &str| self.expect(holds, &format!("{fault}: {what}: {count:?}"));
            match fault {
                Fault::Nothing => {
                    must(proven > 0 && relay > 0 && mev_boost > 0, "not all ways were used");
                    must(constrained * 4 >= delegated * 3, "too few slots are constrained");
                    must((proven + relay + mev_boost) * 4 >= slots * 3, "too many local blocks");
                }
                fault if fault.of_mev_boost() => {
                    must(mev_boost == 0, "mev-boost's block");
                    must(proven + relay > 0, "nothing of the relay");
                }
                fault if fault.of_the_relay() => {
                    must(proven + relay == 0, "the relay's block");
                    must(slots < delegated + 2 || mev_boost > 0, "nothing of mev-boost");
                }
                fault if fault.of_the_gateway() => {
                    must(constrained == 0 && proven == 0, "constraints");
                    must(relay + mev_boost > 0, "nothing passed through");
                }
                Fault::Mended => must(proven > 0 && relay + mev_boost > 0, "not all ways were used"),
                Fault::Outbid => must(proven > 0, "nothing proven"),
                _ => {}
            }
        }
        self.expect(outbid_and_proven > 0, "no proven block where the other relay bid more");
        let log = self.front().sidecar.log();
        self.expect(!log.contains("already_delegated"), "the sidecar signed a second delegation for a slot");
        self.expect(!log.contains("panicked"), "the sidecar panicked");
        let gateways = self.front().gateway.log();
        self.expect(!gateways.contains("panicked"), "the gateway panicked");
        let refused: Vec<&str> =
            gateways.lines().filter(|line| line.contains("the relay refused the constraints")).collect();
        let (late, garbled): (Vec<&str>, Vec<&str>) =
            refused.iter().partition(|line| line.contains("constraint_late"));
        self.expect(
            !late.is_empty() && !garbled.is_empty(),
            &format!("the relay refused other constraints than late and garbled ones: {refused:?}"),
        );
        let lost = counts.get(&Fault::GoneAfterHeader).is_some_and(|count| count.missed > 0);
        self.expect(
            lost && log.contains("of our blocks in a row were lost"),
            "no block was lost, or none opened the circuit breaker",
        );
        let all: Vec<(Fault, Count)> = counts.into_iter().collect();
        let delegated: usize = all.iter().map(|(_, count)| count.delegated).sum();
        self.findings.push(format!(
            "sidecar: {delegated} of {} slots were delegated by it, {outbid_and_proven} proven blocks were taken though the other \
             relay bid more",
            rows.len()
        ));
        let (kept, local) = self.local_with_promise;
        self.findings.push(format!(
            "local blocks of slots with a promise that was in every pool: {kept} of {local} hold it"
        ));
        table(&all)
    }

    fn note(&mut self, slot: u64, text: &str) {
        let note = self.notes.entry(slot).or_default();
        if !note.is_empty() {
            note.push_str("; ");
        }
        note.push_str(text);
    }

    pub(super) fn expect(&mut self, holds: bool, otherwise: &str) {
        if !holds {
            println!("BROKEN: {otherwise}");
            self.broken.push(otherwise.to_owned());
        }
    }
}

/// Whether a delegation carries what an auction sold, and nothing else.
pub(super) fn is_sold(delegation: &SignedDelegation) -> bool {
    let entries = delegation.message.allocation().map(|allocation| allocation.entries).unwrap_or_default();
    !entries.is_empty() && entries.iter().all(|entry| entry.bid_hash != B256::ZERO)
}
