//! Whether what a gateway sealed reaches L1 (level C4, design §7): the Inbox's records against the seals. Pure.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use earnest_protocol::Slot;
use earnest_protocol::objects::OrderingCommitment;

/// Seals kept at most; the oldest go first.
const MAX_SEALS: usize = 4096;
/// Blocks after which a record is left alone: no reorg goes that deep.
pub const SETTLED_BLOCKS: u64 = 512;

/// A record of the Inbox, as its event has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxRecord {
    /// The sequencing slot.
    pub slot: Slot,
    /// The segment.
    pub segment: u16,
    /// Who signed the seal.
    pub committer: Address,
    /// Root over the segment's transactions.
    pub tx_root: B256,
    /// How many there are.
    pub count: u32,
    /// Timestamp of the block, Unix seconds.
    pub time_s: u64,
    /// Number of the block.
    pub block: u64,
    /// Hash of the block.
    pub block_hash: B256,
    /// The transaction that carried it.
    pub transaction: B256,
}

/// What L1 says of a seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InclusionFinding {
    /// The segment is in the Inbox, as it was sealed: C4.
    Included(InboxRecord),
    /// The block that had it is no longer of the chain: C4 is taken back.
    Lost {
        /// The record that was there.
        record: InboxRecord,
    },
    /// The Inbox has something else in the segment's place, by the same committer.
    Differs {
        /// What was sealed.
        seal: Box<OrderingCommitment>,
        /// What is recorded.
        record: InboxRecord,
    },
    /// The slot passed, and the Inbox had nothing at its time.
    Missed {
        /// What was sealed.
        seal: Box<OrderingCommitment>,
    },
}

impl InclusionFinding {
    /// Whether a promise was broken. A reorg breaks none.
    #[must_use]
    pub const fn is_violation(&self) -> bool {
        matches!(self, Self::Differs { .. } | Self::Missed { .. })
    }
}

#[derive(Debug)]
struct Tracked {
    seal: OrderingCommitment,
    committer: Address,
    /// `t(n)` in Unix seconds, if the network's clock is known.
    due_s: Option<u64>,
    included: Option<InboxRecord>,
    reported: bool,
}

/// The seals that must reach L1, and how far each has come.
#[derive(Debug, Default)]
pub struct InclusionCheck {
    seals: BTreeMap<(Slot, u16), Tracked>,
}

impl InclusionCheck {
    /// Expects a seal, signed by `committer`, in a block of time `due_s` at the latest if that is known.
    pub fn expect(&mut self, seal: OrderingCommitment, committer: Address, due_s: Option<u64>) {
        let tracked = Tracked { committer, due_s, included: None, reported: false, seal };
        self.seals.entry((tracked.seal.slot, tracked.seal.segment)).or_insert(tracked);
        while self.seals.len() > MAX_SEALS {
            self.seals.pop_first();
        }
    }

    /// Whether anything is still to be looked for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.seals.is_empty()
    }

    /// Takes all records of the recent blocks, as of a head of number `head` and time `head_s`.
    pub fn on_records(&mut self, records: &[InboxRecord], head: u64, head_s: u64) -> Vec<InclusionFinding> {
        let mut findings = Vec::new();
        for ((slot, segment), tracked) in &mut self.seals {
            let found = records.iter().find(|record| {
                record.slot == *slot && record.segment == *segment && record.committer == tracked.committer
            });
            tracked.compare(found, head_s, &mut findings);
        }
        self.seals.retain(|_, tracked| {
            tracked.included.as_ref().is_none_or(|record| record.block.saturating_add(SETTLED_BLOCKS) > head)
        });
        findings
    }
}

impl Tracked {
    fn compare(&mut self, found: Option<&InboxRecord>, head_s: u64, findings: &mut Vec<InclusionFinding>) {
        let known = self.included.as_ref().map(|record| record.block_hash);
        match found {
            Some(record) if record.tx_root != self.seal.tx_root || record.count != self.seal.first_index => {
                if !self.reported {
                    self.reported = true;
                    let (seal, record) = (Box::new(self.seal.clone()), record.clone());
                    findings.push(InclusionFinding::Differs { seal, record });
                }
            }
            Some(record) => {
                if known != Some(record.block_hash) {
                    self.included = Some(record.clone());
                    findings.push(InclusionFinding::Included(record.clone()));
                }
                if self.due_s.is_some_and(|due_s| record.time_s > due_s) {
                    self.miss(findings);
                }
            }
            None => {
                if let Some(record) = self.included.take() {
                    findings.push(InclusionFinding::Lost { record });
                }
                if self.due_s.is_some_and(|due_s| head_s > due_s) {
                    self.miss(findings);
                }
            }
        }
    }

    fn miss(&mut self, findings: &mut Vec<InclusionFinding>) {
        if !self.reported {
            self.reported = true;
            findings.push(InclusionFinding::Missed { seal: Box::new(self.seal.clone()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use earnest_protocol::RollupId;
    use earnest_protocol::objects::CommitmentKind;

    use super::*;

    const COMMITTER: Address = Address::repeat_byte(1);

    fn seal(slot: u64) -> OrderingCommitment {
        OrderingCommitment {
            rollup_id: RollupId(7),
            slot: Slot(slot),
            segment: 0,
            number: 3,
            parent: B256::ZERO,
            first_index: 5,
            tx_count: 0,
            tx_root: B256::repeat_byte(9),
            timestamp_ms: 0,
            forced_inclusion_head: 0,
            kind: CommitmentKind::WindowSeal,
        }
    }

    fn record(slot: u64, block: u8, time_s: u64) -> InboxRecord {
        InboxRecord {
            slot: Slot(slot),
            segment: 0,
            committer: COMMITTER,
            tx_root: B256::repeat_byte(9),
            count: 5,
            time_s,
            block: u64::from(block),
            block_hash: B256::repeat_byte(block),
            transaction: B256::ZERO,
        }
    }

    fn check() -> InclusionCheck {
        let mut check = InclusionCheck::default();
        check.expect(seal(10), COMMITTER, Some(100));
        check
    }

    #[test]
    fn a_record_equal_to_the_seal_is_c4_once_and_a_reorg_takes_it_back() {
        let mut check = check();
        let (first, second) = (record(10, 1, 99), record(10, 2, 100));
        assert!(check.on_records(&[], 1, 90).is_empty());
        assert_eq!(
            check.on_records(std::slice::from_ref(&first), 1, 99),
            [InclusionFinding::Included(first.clone())]
        );
        assert!(check.on_records(std::slice::from_ref(&first), 2, 100).is_empty());
        assert_eq!(check.on_records(&[], 2, 100), [InclusionFinding::Lost { record: first }]);
        assert_eq!(
            check.on_records(std::slice::from_ref(&second), 3, 101),
            [InclusionFinding::Included(second)]
        );
        assert!(!check.is_idle());
        check.on_records(&[record(10, 2, 100)], 2 + SETTLED_BLOCKS, 1_000);
        assert!(check.is_idle());
    }

    #[test]
    fn what_differs_is_a_violation_told_once() {
        let mut root = record(10, 1, 99);
        root.tx_root = B256::ZERO;
        let mut count = record(10, 1, 99);
        count.count = 4;
        for bad in [root, count] {
            let mut check = check();
            let found = check.on_records(std::slice::from_ref(&bad), 1, 99);
            assert!(matches!(&found[..], [one @ InclusionFinding::Differs { .. }] if one.is_violation()));
            assert!(check.on_records(&[bad], 1, 99).is_empty());
        }
    }

    #[test]
    fn only_the_holders_own_record_counts() {
        let mut other = record(10, 1, 99);
        other.committer = Address::ZERO;
        let mut segment = record(10, 1, 99);
        segment.segment = 1;
        assert!(check().on_records(&[other, segment, record(11, 1, 99)], 1, 99).is_empty());
    }

    #[test]
    fn a_slot_that_passes_without_a_record_is_missed() {
        let mut check = check();
        assert!(check.on_records(&[], 1, 100).is_empty());
        assert!(matches!(check.on_records(&[], 2, 101)[..], [InclusionFinding::Missed { .. }]));
        assert!(check.on_records(&[], 3, 102).is_empty());
        let late = record(10, 4, 110);
        assert_eq!(check.on_records(std::slice::from_ref(&late), 4, 110), [InclusionFinding::Included(late)]);
    }

    #[test]
    fn a_late_record_is_both() {
        let found = check().on_records(&[record(10, 1, 101)], 1, 101);
        assert!(matches!(found[..], [InclusionFinding::Included(_), InclusionFinding::Missed { .. }]));
    }

    #[test]
    fn without_a_clock_nothing_is_late() {
        let mut check = InclusionCheck::default();
        check.expect(seal(10), COMMITTER, None);
        assert!(check.on_records(&[], u64::MAX, u64::MAX).is_empty());
    }
}
