//! A case, what the judge must say of it, and the file of a fault's cases.

use super::{NOW, committer_address};
use alloy_primitives::{Address, B256, Bytes, hex};
use alloy_sol_types::SolValue;
use earnest_protocol::{
    RollupId,
    evidence::{
        Charge, Conviction, EvidenceFile, Facts, Fault, Judge, Penalty, Reason, Verdict, accusation_id,
    },
    objects::CommitmentType,
    sol,
};
use serde_json::{Value, json};
use std::{collections::HashSet, path::Path};

/// Which call is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// `slash`, of a fault that is shown at once.
    Judge,
    /// `accuse`.
    Accuse,
    /// The answer, after all that the case has of accusation, answer and rebuttal.
    Answer,
    /// The rebuttal, after the same.
    Rebut,
    /// `slash`, after the same.
    Conclude,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Judge => "judge",
            Self::Accuse => "accuse",
            Self::Answer => "answer",
            Self::Rebut => "rebut",
            Self::Conclude => "conclude",
        }
    }
}

/// What becomes of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The accused stays, or is found, guilty: a slash of this class, or none yet.
    Guilty(Option<Penalty>),
    /// It is not.
    Innocent,
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) stage: Stage,
    pub(crate) charge: Charge,
    pub(crate) facts: Facts,
    pub(crate) accused_at: u64,
    pub(crate) answered_at: u64,
    pub(crate) answer: Bytes,
    pub(crate) rebutted_at: u64,
    pub(crate) rebuttal: Bytes,
    pub(crate) expected: Expected,
    /// Name of the error that the call reverts with; empty if it goes through.
    pub(crate) reverts: &'static str,
    /// The string of `BadAnswer`.
    pub(crate) bad_answer: &'static str,
}

impl Case {
    fn new(name: &str, charge: Charge, expected: Expected, reverts: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            stage: Stage::Judge,
            charge,
            facts: Facts { now: NOW, ..Facts::default() },
            accused_at: 0,
            answered_at: 0,
            answer: Bytes::new(),
            rebutted_at: 0,
            rebuttal: Bytes::new(),
            expected,
            reverts,
            bad_answer: "",
        }
    }

    /// Found guilty of a safety fault.
    pub(crate) fn guilty(name: &str, charge: Charge) -> Self {
        Self::new(name, charge, Expected::Guilty(Some(Penalty::Safety)), "")
    }

    /// Found innocent, with this error.
    pub(crate) fn innocent(name: &str, charge: Charge, reason: &'static str) -> Self {
        Self::new(name, charge, Expected::Innocent, reason)
    }

    /// The same as an accusation.
    pub(crate) fn accused(mut self) -> Self {
        self.stage = Stage::Accuse;
        if self.expected != Expected::Innocent {
            self.expected = Expected::Guilty(None);
        }
        self
    }

    /// The same as the end of an accusation brought at `accused_at`: a slash of this class, if any.
    pub(crate) fn concluded(mut self, accused_at: u64, penalty: Penalty) -> Self {
        (self.stage, self.accused_at) = (Stage::Conclude, accused_at);
        if self.expected != Expected::Innocent {
            self.expected = Expected::Guilty(Some(penalty));
        }
        self
    }

    /// The same, answered at `answered_at`.
    pub(crate) fn answered(mut self, answered_at: u64, answer: &Bytes) -> Self {
        (self.answered_at, self.answer) = (answered_at, answer.clone());
        self
    }

    /// The same, its answer rebutted at `rebutted_at`.
    pub(crate) fn rebutted(mut self, rebutted_at: u64, rebuttal: &Bytes) -> Self {
        (self.rebutted_at, self.rebuttal) = (rebutted_at, rebuttal.clone());
        self
    }

    /// An answer that clears the accused, or is refused with this error (and, for `BadAnswer`, string).
    pub(crate) fn answer(
        name: &str,
        charge: Charge,
        accused_at: u64,
        answer: Bytes,
        refused: Option<(&'static str, &'static str)>,
    ) -> Self {
        let (expected, (reverts, bad_answer)) = match refused {
            Some(refused) => (Expected::Guilty(None), refused),
            None => (Expected::Innocent, ("", "")),
        };
        let mut case = Self::new(name, charge, expected, reverts);
        (case.stage, case.accused_at) = (Stage::Answer, accused_at);
        (case.answer, case.bad_answer) = (answer, bad_answer);
        case
    }

    /// A rebuttal of the answer given at `answered_at`, which puts the accused back, or is refused.
    pub(crate) fn rebuttal(
        name: &str,
        charge: Charge,
        accused_at: u64,
        rebuttal: Bytes,
        refused: Option<(&'static str, &'static str)>,
    ) -> Self {
        let (expected, (reverts, bad_answer)) = match refused {
            Some(refused) => (Expected::Innocent, refused),
            None => (Expected::Guilty(None), ("", "")),
        };
        let mut case = Self::new(name, charge, expected, reverts);
        (case.stage, case.accused_at) = (Stage::Rebut, accused_at);
        (case.rebuttal, case.bad_answer) = (rebuttal, bad_answer);
        case
    }

    pub(crate) fn at(mut self, now: u64) -> Self {
        self.facts.now = now;
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(&mut self.facts);
        self
    }

    /// Judges the case, and asserts that what is expected comes of it.
    fn check(&self, fault: Fault, judge: &Judge) -> (Option<Conviction>, B256) {
        let name = format!("{}: {}", fault.name(), self.name);
        let found = self.run(judge);
        let reverts = found.as_ref().err().map_or("", Reason::name);
        assert_eq!(reverts, self.reverts, "{name}: {found:?}");
        let bad_answer = match &found {
            Err(Reason::BadAnswer(answer)) => answer.to_string(),
            _ => String::new(),
        };
        assert_eq!(bad_answer, self.bad_answer, "{name}");
        let guilty = match self.stage {
            // An answer that is refused leaves the accused where it was.
            Stage::Answer => found.is_err(),
            _ => found.is_ok(),
        };
        assert_eq!(guilty, self.expected != Expected::Innocent, "{name}");
        let conviction = found.ok().flatten();
        let penalty = conviction.map(|conviction| conviction.penalty);
        if let Expected::Guilty(expected) = self.expected {
            assert_eq!(penalty, expected, "{name}");
        }
        assert!(conviction.is_none_or(|conviction| conviction.fault == fault), "{name}");
        let opened = judge.accuse(&self.charge, &self.facts).ok().filter(|_| self.stage == Stage::Accuse);
        let accusation = match (opened, &self.charge) {
            (Some(opened), Charge::Commitment { committer, .. }) => {
                accusation_id(fault, *committer, opened.rollup_id, opened.slot, opened.segment)
            }
            _ => B256::ZERO,
        };
        (conviction, accusation)
    }

    /// What the case's last call gives, after accusation, answer and rebuttal as far as it has them.
    fn run(&self, judge: &Judge) -> Result<Option<Conviction>, Reason> {
        let facts = |now: u64| Facts { now, ..self.facts.clone() };
        let mut accusation = None;
        if self.accused_at != 0 {
            accusation = Some(judge.accuse(&self.charge, &facts(self.accused_at)).unwrap());
        }
        if self.answered_at != 0 {
            let answered = judge.answer(&accusation.unwrap(), &self.answer, &facts(self.answered_at));
            accusation = Some(answered.unwrap());
        }
        if self.rebutted_at != 0 {
            let rebutted = judge.rebut(&accusation.unwrap(), &self.rebuttal, &facts(self.rebutted_at));
            accusation = Some(rebutted.unwrap());
        }
        match self.stage {
            Stage::Accuse => judge.accuse(&self.charge, &self.facts).map(|_| None),
            Stage::Answer => judge.answer(&accusation.unwrap(), &self.answer, &self.facts).map(|_| None),
            Stage::Rebut => judge.rebut(&accusation.unwrap(), &self.rebuttal, &self.facts).map(|_| None),
            Stage::Judge | Stage::Conclude => {
                match judge.judge(&self.charge, &Facts { accusation, ..self.facts.clone() }) {
                    Verdict::Guilty(conviction) => Ok(Some(conviction)),
                    Verdict::Innocent(reason) => Err(reason),
                }
            }
        }
    }

    fn to_json(&self, conviction: Option<Conviction>, accusation: B256) -> Value {
        let (committer, commitment, delegation) = match &self.charge {
            Charge::Commitment { committer, .. } => (*committer, self.charge.judged_bytes(), Bytes::new()),
            _ => (Address::ZERO, Bytes::new(), self.charge.judged_bytes()),
        };
        let Facts { now, record_time, forced_head, relay, reserve_committer, .. } = self.facts;
        let relays: Vec<Value> = self
            .facts
            .other_relays
            .iter()
            .map(|(rollup, relay)| json!({ "rollupId": rollup.to_string(), "relay": relay }))
            .collect();
        let penalty = match conviction.map(|conviction| conviction.penalty) {
            Some(Penalty::Safety) => "safety",
            Some(Penalty::Liveness) => "liveness",
            None => "",
        };
        let (signer, rollup_id, slot) = conviction
            .map_or((Address::ZERO, RollupId(0), 0), |found| (found.signer, found.rollup_id, found.slot.0));
        json!({
            "name": self.name,
            "guilty": self.expected != Expected::Innocent,
            "reason": self.reverts,
            "badAnswer": self.bad_answer,
            "stage": self.stage.name(),
            "now": now,
            "committer": committer,
            "commitment": commitment,
            "delegation": delegation,
            "evidence": self.charge.evidence_bytes(),
            "facts": {
                "recordTime": record_time,
                "forcedHead": forced_head.to_string(),
                "relay": relay,
                "relays": relays,
                "reserveCommitter": reserve_committer,
            },
            "accusedAt": self.accused_at,
            "answeredAt": self.answered_at,
            "answer": self.answer,
            "rebuttedAt": self.rebutted_at,
            "rebuttal": self.rebuttal,
            "accusation": accusation,
            "penalty": penalty,
            "signer": signer,
            "rollupId": rollup_id.to_string(),
            "slot": slot.to_string(),
        })
    }

    /// A charge that the judge hears out survives as a file: as JSON, and back as the same words.
    fn check_file(&self, judge: &Judge) -> bool {
        let Ok(file) = EvidenceFile::of(judge, self.charge.clone()) else { return false };
        let text = serde_json::to_string(&file).unwrap();
        let read: EvidenceFile = serde_json::from_str(&text).unwrap();
        assert_eq!(read, file, "{}", self.name);
        assert_eq!(read.charge().unwrap(), self.charge, "{}", self.name);
        assert_eq!(read.judge(judge.times), *judge);
        true
    }
}

/// A charge against the committer, with the evidence's struct as it stands.
pub(crate) fn charge(judged: sol::SignedCommitment, fault: Fault, detail: &impl SolValue) -> Charge {
    charge_of(judged, super::pen::envelope(fault.into(), &detail.abi_encode()))
}

/// A charge against the committer, with any evidence.
pub(crate) fn charge_of(commitment: sol::SignedCommitment, evidence: Bytes) -> Charge {
    Charge::Commitment { committer: committer_address(), commitment, evidence }
}

/// Judges the cases, and asserts or writes the fault's file.
pub(crate) fn write(fault: Fault, judge: &Judge, cases: &[Case]) {
    let mut names = HashSet::new();
    let mut counts = (0, 0);
    let cases: Vec<Value> = cases
        .iter()
        .map(|case| {
            let unique = names.insert((case.stage.name(), case.name.as_str()));
            assert!(unique, "two cases named {}", case.name);
            let (conviction, accusation) = case.check(fault, judge);
            let has_file = case.check_file(judge);
            if case.expected == Expected::Innocent {
                counts.1 += 1;
            } else {
                counts.0 += 1;
                assert!(has_file, "{} has no file", case.name);
            }
            case.to_json(conviction, accusation)
        })
        .collect();
    assert!(counts.0 >= 10 && counts.1 >= 10, "{}: {counts:?}", fault.name());
    let config = judge.times;
    let made = json!({
        "fault": u8::from(fault),
        "name": fault.name(),
        "genesisForkVersion": hex::encode_prefixed(judge.network.genesis_fork_version),
        "chainId": judge.network.chain_id.to_string(),
        "slasher": judge.slasher,
        "inbox": judge.inbox,
        "clock": { "genesisMs": judge.clock.genesis_ms, "slotMs": judge.clock.slot_ms },
        "config": {
            "answerSeconds": config.answer_seconds,
            "concludeSeconds": config.conclude_seconds,
            "evidenceSeconds": config.evidence_seconds,
            "constraintCutoffMs": config.constraint_cutoff_ms,
        },
        "cases": cases,
    });
    crate::assert_vectors(Path::new("evidence").join(file_name(fault)), &made);
}

/// Name of the fault's file: `broken-chain.json` of BrokenChain.
pub(crate) fn file_name(fault: Fault) -> String {
    let mut name = String::new();
    for letter in fault.name().chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(letter.to_lowercase());
    }
    name + ".json"
}

/// The type of an ordering.
pub(crate) const ORDERING: CommitmentType = CommitmentType::Ordering;
