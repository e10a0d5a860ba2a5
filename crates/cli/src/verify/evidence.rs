//! Evidence: the verdict of the slasher, as far as it can be found without L1.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use earnest_protocol::evidence::{
    Charge, Evidence, EvidenceFile, Facts, Fault, Judge, Penalty, Promise, Reason, SignedPayload, Times,
    Verdict,
};
use earnest_protocol::objects::OrderingCommitment;
use earnest_protocol::signing::Network;
use earnest_protocol::{RollupId, Slot};

use super::{Outcome, Report, lines};

/// Options for evidence.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Evidence")]
pub(super) struct EvidenceArgs {
    /// Judges as at this time, Unix seconds; now, if it is not given.
    #[arg(long)]
    at: Option<u64>,
    /// How long after its slot the slasher lets evidence count, seconds; three days, if it is not given.
    #[arg(long)]
    evidence_seconds: Option<u64>,
    /// For ForcedInclusionSkipped: what `Inbox.forcedHeadAt` says of the rollup when the window's due items were queued.
    #[arg(long)]
    forced_head: Option<u64>,
}

/// Judges the file. `network` is the one that it must be for, if that is known.
pub(super) fn report(file: &EvidenceFile, network: Option<Network>, args: &EvidenceArgs) -> Report {
    let fault = file.evidence.fault();
    let mut times = Times::of_design(file.clock.slot_ms);
    times.evidence_seconds = args.evidence_seconds.unwrap_or(times.evidence_seconds);
    let judge = file.judge(times);
    let found = if network.is_some_and(|network| network != file.network) {
        Err(("network", "the evidence is for another network".to_owned()))
    } else {
        file.charge()
            .map_err(|error| ("commitment", error.to_string()))
            .and_then(|charge| find(&judge, fault, &charge, args))
    };

    let checks = checks(fault);
    let failed = found.as_ref().err().map(|(check, words)| {
        (checks.iter().position(|other| other == check).unwrap_or_default(), words.clone())
    });
    let mut text = lines(checks, failed.as_ref(), |number| said(file, &judge, checks.get(number).copied()));
    let outcome = match found {
        Ok(Found::Guilty(penalty)) => {
            let class = match penalty {
                Penalty::Safety => "safety",
                Penalty::Liveness => "liveness",
            };
            super::line(
                &mut text,
                "not shown",
                "--",
                "that nobody was slashed for it before (the slasher's wasJudged)",
            );
            text.push_str(&format!("guilty of {}, a {class} fault\n", fault.name()));
            Outcome::Holds
        }
        Ok(Found::NeedsL1) => {
            super::line(&mut text, "on L1", "??", &needs(file, &judge));
            text.push_str(&format!("only L1 can tell whether this is {}\n", fault.name()));
            Outcome::Undecided
        }
        Err(_) => {
            text.push_str(&format!("not guilty of {}\n", fault.name()));
            Outcome::Broken
        }
    };
    Report { text, outcome }
}

/// What is found without L1.
enum Found {
    Guilty(Penalty),
    NeedsL1,
}

/// The verdict, or the check that fails and why.
fn find(
    judge: &Judge,
    fault: Fault,
    charge: &Charge,
    args: &EvidenceArgs,
) -> Result<Found, (&'static str, String)> {
    let now = args.at.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
    });
    // What L1 would have to say for a conviction: nothing recorded, and all that can be due is due.
    let facts = Facts { now, forced_head: args.forced_head.unwrap_or(u64::MAX), ..Facts::default() };
    let refused = |reason: Reason| (check_of(&reason), format!("{reason} ({})", reason.name()));
    if fault.needs_accusation() {
        return judge.accuse(charge, &facts).map(|_| Found::NeedsL1).map_err(refused);
    }
    match judge.judge(charge, &facts) {
        Verdict::Innocent(reason) => Err(refused(reason)),
        Verdict::Guilty(_) if fault == Fault::ForcedInclusionSkipped && args.forced_head.is_none() => {
            Ok(Found::NeedsL1)
        }
        Verdict::Guilty(conviction) => Ok(Found::Guilty(conviction.penalty)),
    }
}

/// What is checked, in the order in which it is.
const fn checks(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::AllocationEquivocation => &["network", "fault", "signer"],
        Fault::Misallocation => &["network", "signer", "time", "fault"],
        _ => &["network", "commitment", "signer", "time", "fault"],
    }
}

const fn check_of(reason: &Reason) -> &'static str {
    match reason {
        Reason::OtherSlasher(_)
        | Reason::NotAnOrdering
        | Reason::NotABundle
        | Reason::NoSuchLeg
        | Reason::MalformedEvidence
        | Reason::UnknownFault(_) => "commitment",
        Reason::UnauthorizedCommitment | Reason::NotOperator | Reason::DelegationSignatureInvalid => "signer",
        Reason::TooEarly(_) | Reason::TooLate(_) => "time",
        _ => "fault",
    }
}

/// What a check that held says.
fn said(file: &EvidenceFile, judge: &Judge, check: Option<&str>) -> String {
    let (rollup, slot) = place(&file.evidence);
    match check {
        Some("network") => format!("chain {}, slasher {}", file.network.chain_id, file.slasher),
        Some("commitment") => match rollup {
            Some(rollup) => format!("rollup {rollup}, slot {slot}: for this slasher"),
            None => format!("slot {slot}: for this slasher"),
        },
        Some("signer") => match file.committer {
            Some(committer) => format!("signed by {committer}"),
            None => "signed by the proposer that the delegation names".to_owned(),
        },
        Some("time") => {
            let until = judge.clock.start_seconds(slot).saturating_add(judge.times.evidence_seconds);
            format!("counts until {until}")
        }
        _ => shown(&file.evidence),
    }
}

/// What the evidence shows, if it does.
fn shown(evidence: &Evidence) -> String {
    let at =
        |ordering: &OrderingCommitment| format!("segment {}, number {}", ordering.segment, ordering.number);
    let of = |signed: &SignedPayload<OrderingCommitment>| at(&signed.payload);
    match evidence {
        Evidence::Equivocation(found) => format!("two commitments for {}", of(&found.commitment)),
        Evidence::BrokenChain(found) => match &found.previous {
            Some(previous) => format!("{} does not follow from {}", of(&found.commitment), of(previous)),
            None => format!("{} cannot stand by itself", of(&found.commitment)),
        },
        Evidence::PostSeal(found) => {
            format!("{} comes after the seal, {}", of(&found.commitment), of(&found.seal))
        }
        Evidence::Omission(found) => {
            format!("index {} was promised to {}, and the seal has it not", found.index, found.tx_hash)
        }
        Evidence::AtomicityBreak(found) => {
            format!("leg {} of the bundle is not in its place in {}", found.leg, of(&found.shown))
        }
        Evidence::MissedWindow(_) => "a commitment to the segment".to_owned(),
        Evidence::ForcedInclusionSkipped(found) => {
            format!("the window takes {} forced transactions", found.commitment.payload.forced_inclusion_head)
        }
        Evidence::UnauthorizedSequencing(_) => "a commitment for the rollup".to_owned(),
        Evidence::AllocationEquivocation(_) => "two delegations for one slot".to_owned(),
        Evidence::Misallocation(_) => "the delegation allocates windows".to_owned(),
    }
}

/// What L1 must say for a conviction.
fn needs(file: &EvidenceFile, judge: &Judge) -> String {
    let (rollup, slot) = place(&file.evidence);
    let rollup = rollup.unwrap_or_default();
    match file.evidence.fault() {
        Fault::MissedWindow => format!(
            "that the Inbox {} recorded no batch of the signer for the segment by {}, and that an accusation stays \
             unanswered",
            file.inbox,
            judge.clock.start_seconds(slot)
        ),
        Fault::UnauthorizedSequencing => format!(
            "that the signer is not the reserve committer of rollup {rollup}, and that an accusation stays unanswered"
        ),
        Fault::Misallocation => "that an accusation stays unanswered".to_owned(),
        _ => match judge.clock.forced_due_seconds(slot) {
            Some(due) => format!("Inbox.forcedHeadAt({rollup}, {due}), which --forced-head gives"),
            None => "nothing can be due so early".to_owned(),
        },
    }
}

/// The rollup, if there is one, and the slot that the evidence is about.
fn place(evidence: &Evidence) -> (Option<RollupId>, Slot) {
    let of =
        |signed: &SignedPayload<OrderingCommitment>| (Some(signed.payload.rollup_id), signed.payload.slot);
    match evidence {
        Evidence::Equivocation(found) => of(&found.commitment),
        Evidence::BrokenChain(found) => of(&found.commitment),
        Evidence::PostSeal(found) => of(&found.commitment),
        Evidence::Omission(found) => of(&found.commitment),
        Evidence::AtomicityBreak(found) => of(&found.shown),
        Evidence::ForcedInclusionSkipped(found) => of(&found.commitment),
        Evidence::UnauthorizedSequencing(found) => of(&found.commitment),
        Evidence::MissedWindow(found) => match &found.commitment {
            Promise::Ordering(commitment) => of(commitment),
            Promise::Bundle(bundle) => {
                let leg = bundle.payload.legs.get(usize::from(found.leg));
                leg.map_or((None, Slot::default()), |leg| (Some(leg.rollup_id), leg.slot))
            }
        },
        Evidence::AllocationEquivocation(found) => (None, found.delegation.message.slot),
        Evidence::Misallocation(found) => (None, found.delegation.message.slot),
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256, Bytes, hex};
    use earnest_protocol::evidence::Clock;
    use serde_json::Value;

    use super::*;
    use crate::verify::File;

    /// The cases that Rust and Solidity judge alike, of one fault.
    fn vectors(name: &str) -> Value {
        let path = format!("{}/../../tests/vectors/evidence/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn bytes(value: &Value) -> Bytes {
        value.as_str().unwrap().parse().unwrap()
    }

    /// The case's file, if it can be one, and the options that judge it at its time.
    fn file(vectors: &Value, case: &Value) -> Option<(EvidenceFile, EvidenceArgs)> {
        let version: [u8; 4] =
            hex::decode(vectors["genesisForkVersion"].as_str().unwrap()).unwrap().try_into().unwrap();
        let chain_id = vectors["chainId"].as_str().unwrap().parse().unwrap();
        let clock = Clock {
            genesis_ms: vectors["clock"]["genesisMs"].as_u64().unwrap(),
            slot_ms: vectors["clock"]["slotMs"].as_u64().unwrap(),
        };
        let judge = Judge {
            network: Network { genesis_fork_version: version, chain_id },
            clock,
            slasher: vectors["slasher"].as_str().unwrap().parse().unwrap(),
            inbox: vectors["inbox"].as_str().unwrap().parse().unwrap(),
            times: Times::of_design(clock.slot_ms),
        };
        let (commitment, delegation) = (bytes(&case["commitment"]), bytes(&case["delegation"]));
        let evidence = bytes(&case["evidence"]);
        let charge = match vectors["fault"].as_u64().unwrap() {
            9 => Charge::of_two_delegations(&delegation, &evidence),
            10 => Charge::against_proposer(&delegation, evidence),
            _ => {
                let committer: Address = case["committer"].as_str().unwrap().parse().unwrap();
                Charge::against_committer(committer, &commitment, evidence)
            }
        };
        let args = EvidenceArgs {
            at: case["now"].as_u64(),
            evidence_seconds: None,
            forced_head: case["facts"]["forcedHead"].as_str().map(|head| head.parse().unwrap()),
        };
        Some((EvidenceFile::of(&judge, charge.unwrap()).ok()?, args))
    }

    /// A file of every guilty case and of most others comes to the same verdict, with the reason in its lines.
    #[test]
    fn the_cases_of_faults_shown_at_once_come_to_their_verdicts() {
        for name in [
            "equivocation",
            "broken-chain",
            "post-seal",
            "omission",
            "atomicity-break",
            "forced-inclusion-skipped",
            "allocation-equivocation",
        ] {
            let vectors = vectors(name);
            let mut judged = 0;
            for case in vectors["cases"].as_array().unwrap() {
                let Some((file, args)) = file(&vectors, case) else { continue };
                judged += 1;
                let report = report(&file, None, &args);
                let expected =
                    if case["guilty"].as_bool().unwrap() { Outcome::Holds } else { Outcome::Broken };
                assert_eq!(report.outcome, expected, "{name}, {}:\n{}", case["name"], report.text);
                let reason = case["reason"].as_str().unwrap();
                assert!(report.text.contains(reason), "{name}, {}:\n{}", case["name"], report.text);
                assert_eq!(report.text.contains(" NO "), expected == Outcome::Broken, "{}", report.text);
            }
            assert!(judged >= 20, "{name}: {judged}");
        }
    }

    #[test]
    fn what_only_l1_can_tell_is_said_to_need_it() {
        for (name, needed) in [
            ("missed-window", "recorded no batch"),
            ("unauthorized-sequencing", "reserve committer"),
            ("misallocation", "accusation stays unanswered"),
        ] {
            let vectors = vectors(name);
            for case in vectors["cases"].as_array().unwrap().iter().filter(|case| case["stage"] == "accuse") {
                let Some((file, args)) = file(&vectors, case) else { continue };
                let reason = case["reason"].as_str().unwrap();
                if reason == "UnknownFault" {
                    // Another fault's evidence: it is judged as that.
                    continue;
                }
                // Whether there is a record, and who the reserve committer is, is L1's to say.
                let undecided = matches!(reason, "" | "RecordedInTime" | "ReserveCommitter");
                let report = report(&file, None, &args);
                let expected = if undecided { Outcome::Undecided } else { Outcome::Broken };
                assert_eq!(report.outcome, expected, "{name}, {}:\n{}", case["name"], report.text);
                assert!(!undecided || report.text.contains(needed), "{}", report.text);
            }
        }
        let vectors = vectors("forced-inclusion-skipped");
        let (file, args) = file(&vectors, &vectors["cases"][0]).unwrap();
        let report = report(&file, None, &EvidenceArgs { forced_head: None, ..args });
        assert_eq!(report.outcome, Outcome::Undecided);
        assert!(report.text.contains("Inbox.forcedHeadAt(4242, 1764118848)"), "{}", report.text);
    }

    #[test]
    fn evidence_is_told_from_receipts_and_held_to_its_network() {
        let vectors = vectors("equivocation");
        let (file, args) = file(&vectors, &vectors["cases"][0]).unwrap();
        let text = serde_json::to_string(&file).unwrap();
        let Ok(File::Evidence(read)) = File::parse(&text) else { panic!("not evidence") };
        assert_eq!(*read, file);
        assert!(File::parse("{\"evidence\":1}").is_err_and(|error| error.starts_with("not evidence")));
        assert!(File::parse("{}").is_err_and(|error| error.starts_with("not a receipt")));
        assert!(File::parse("").is_err_and(|error| error.starts_with("not JSON")));

        assert_eq!(report(&file, Some(file.network), &args).outcome, Outcome::Holds);
        let other = Network { chain_id: 1, ..file.network };
        let refused = report(&file, Some(other), &args);
        assert_eq!(refused.outcome, Outcome::Broken);
        assert!(refused.text.starts_with("network      NO"), "{}", refused.text);
        let late = EvidenceArgs { evidence_seconds: Some(1), ..args };
        assert!(report(&file, None, &late).text.contains("TooLate"));
    }

    #[test]
    fn evidence_that_cannot_be_put_to_the_slasher_convicts_nobody() {
        let vectors = vectors("equivocation");
        let (mut file, args) = file(&vectors, &vectors["cases"][0]).unwrap();
        file.committer = None;
        assert_eq!(report(&file, None, &args).outcome, Outcome::Broken);
        let Evidence::Equivocation(evidence) = &mut file.evidence else { panic!("another fault") };
        evidence.other.request_hash = B256::repeat_byte(1);
        file.committer = Some(Address::ZERO);
        assert_eq!(report(&file, None, &args).outcome, Outcome::Broken);
    }
}
