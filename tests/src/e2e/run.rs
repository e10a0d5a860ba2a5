//! A run of the network, slot by slot: what is done to each, and what must hold of each.

use std::{collections::BTreeMap, ops::RangeInclusive};

use alloy_primitives::Bytes;
use earnest_protocol::objects::{ConstraintStatus, SignedConstraints};

use super::{
    gateway::word_on,
    ledger::{Row, Source},
    network::{Network, OWN_VALIDATOR, Pool, Step},
};

/// The latest slot whose block must be the relay's, counted from the first one.
const WARM_UP: u64 = 4;

/// A constrained slot.
#[derive(Debug)]
struct Constrained {
    step: Step,
    messages: Vec<SignedConstraints>,
    transactions: Vec<Bytes>,
}

/// A run.
pub struct Run {
    /// The network.
    pub network: Network,
    notes: BTreeMap<u64, String>,
    constrained: BTreeMap<u64, Constrained>,
    /// The last slot that was proposed for the own validator with more than a validator client does.
    pub(super) proposed: u64,
    /// The last slot that has its row.
    settled: u64,
    /// What is told at the end.
    pub findings: Vec<String>,
    /// What should have been otherwise.
    pub broken: Vec<String>,
}

impl Run {
    /// A run of a network before its slot 0.
    #[must_use]
    pub fn new(network: Network) -> Self {
        Self {
            network,
            notes: BTreeMap::new(),
            constrained: BTreeMap::new(),
            proposed: 0,
            settled: 0,
            findings: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// Goes through slots: delegates and constrains by the plan, proposes for the own validator, and settles what is over.
    /// Gives the rows that it settled; the last slots stay unsettled.
    pub async fn drive(&mut self, slots: RangeInclusive<u64>, plan: &BTreeMap<u64, Step>) -> Vec<Row> {
        let mut rows = Vec::new();
        for slot in slots {
            let own = self.network.proposer(slot).await == OWN_VALIDATOR && self.proposed != slot;
            if own && self.network.propose(slot).await {
                self.note(slot, "own validator");
            }
            self.network.at(slot, 1, 4).await;
            let step = plan.get(&(slot + 1)).copied();
            if let Some(step) = step {
                self.constrain(slot + 1, step).await;
            }
            self.network.at(slot, 1, 2).await;
            rows.extend(self.settle_to(slot - 1).await);
            if step.is_some() {
                self.network.at(slot, 19, 20).await;
                self.ask_for_proofs(slot + 1).await;
            }
        }
        rows
    }

    /// Has the slot's proposer delegate, and constrains it.
    async fn constrain(&mut self, slot: u64, step: Step) {
        self.network.delegate(slot).await;
        let (messages, transactions): (Vec<_>, Vec<_>) =
            self.network.constrain(slot, step).await.into_iter().unzip();
        assert!(!messages.is_empty(), "slot {slot}: all constraints came too late");
        self.constrained.insert(slot, Constrained { step, messages, transactions });
    }

    /// After the cut-off: the relay's last word on each message, and the header with proofs.
    async fn ask_for_proofs(&mut self, slot: u64) {
        let Constrained { step, messages, transactions } = &self.constrained[&slot];
        let (step, count) = (*step, transactions.len());
        let binding: &[Bytes] = if step == Step::Unincludable { &[] } else { transactions };
        let expected = if binding.is_empty() { ConstraintStatus::Dropped } else { ConstraintStatus::Held };
        let mut as_expected = true;
        for message in messages {
            as_expected &= word_on(&self.network.relay, message).await == expected;
        }
        let offered = self.network.is_proven(slot, binding).await;
        self.expect(
            as_expected,
            &format!("slot {slot}: constraints are not all {expected:?} after the cut-off"),
        );
        let never = step == Step::Unkeepable;
        self.expect(!(never && offered), &format!("slot {slot}: a header that keeps what nobody can"));
        let what = match step {
            Step::Constrain(_, Pool::Public) => "held",
            Step::Constrain(_, Pool::OfTheBuilder) => "held, only the builder has it",
            Step::Unkeepable => "held, nobody has it",
            Step::Unincludable => "dropped, nonce too high",
        };
        let header = if offered { "header with proofs" } else { "no header" };
        self.note(slot, &format!("{count} constrained ({what}): {header}"));
    }

    pub(super) async fn settle_to(&mut self, last: u64) -> Vec<Row> {
        let mut rows = Vec::new();
        for slot in self.settled + 1..=last {
            let note = self.notes.get(&slot).cloned().unwrap_or_default();
            let row = self.network.settle(slot, &note).await;
            self.check(&row).await;
            rows.push(row);
            self.settled = slot;
        }
        rows
    }

    /// Settles every slot that has begun.
    pub async fn settle_all(&mut self) {
        let slot = self.network.current_slot();
        self.network.at(slot + 1, 1, 2).await;
        self.settle_to(slot).await;
    }

    /// What holds for every slot.
    async fn check(&mut self, row: &Row) {
        let slot = row.slot;
        self.expect(row.source != Source::Lost, &format!("slot {slot}: delivered, and not on chain"));
        let missed = self.network.rows(slot - 1..=slot).filter(|row| row.payload.is_none()).count();
        self.expect(missed < 2, &format!("slot {slot}: the second in a row without a block"));
        if let (Source::Relay { value }, Some(payload)) = (row.source, &row.payload) {
            let paid = self.network.paid_by(payload.number).await;
            self.expect(
                paid == value,
                &format!("slot {slot}: the bid was {value} wei, the block pays {paid}"),
            );
        }
        let Some(Constrained { step, transactions, .. }) = self.constrained.get(&slot) else { return };
        match step {
            Step::Constrain(..) => {
                let payload = row.payload.as_ref();
                let kept =
                    payload.is_some_and(|one| transactions.iter().all(|tx| one.transactions.contains(tx)));
                let holds = kept || !row.is_of_the_relay();
                self.expect(holds, &format!("slot {slot}: the relay's block does not hold what it must"));
            }
            Step::Unkeepable => {
                let local = row.source == Source::Local;
                self.expect(local, &format!("slot {slot}: {} where nothing can be kept", row.source));
            }
            Step::Unincludable => {}
        }
    }

    /// Counts the slots of a part in which the relay had something to serve.
    pub fn count(&mut self, part: &str, slots: RangeInclusive<u64>, least: usize) {
        let first = *slots.start();
        let rows: Vec<&Row> = self.network.rows(slots).collect();
        let on = rows.iter().position(|row| row.is_of_the_relay()).unwrap_or(rows.len());
        let warm = rows.get(on).is_some_and(|row| row.slot <= first + WARM_UP);
        let step = |row: &Row| self.constrained.get(&row.slot).map(|one| one.step);
        let able = |row: &&&Row| step(row) != Some(Step::Unkeepable);
        let counted: Vec<&Row> = rows[on..].iter().filter(able).copied().collect();
        let relays = counted.iter().filter(|row| row.is_of_the_relay()).count();
        let enough = counted.len() >= least && relays * 10 >= counted.len() * 9;
        let of_constrained = counted.iter().filter(|row| matches!(step(row), Some(Step::Constrain(..))));
        let (kept, all) = of_constrained
            .fold((0, 0), |(kept, all), row| (kept + usize::from(row.is_of_the_relay()), all + 1));
        let local = rows.len() - on - counted.len();
        let text = format!(
            "{part}: {relays} of {} slots are the relay's; of {all} constrained ones {kept} by its block, and {local} that \
             nobody could keep were proposed locally",
            counted.len()
        );
        self.expect(warm, &format!("{part}: the relay's first block came late"));
        self.expect(enough, &format!("{part}: too few slots: {text}"));
        self.expect(kept > 0, &format!("{part}: no constrained slot was the relay's"));
        self.findings.push(text);
    }

    pub(super) fn note(&mut self, slot: u64, text: &str) {
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
