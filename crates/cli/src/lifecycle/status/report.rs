//! What is said of operators, and what keeps them from counting.

use alloy_primitives::{Address, B256, U256};
use earnest_chain::SlotClock;
use earnest_client::operator::Standing;
use earnest_client::operator::plan::{claimable_from, liable_until};
use earnest_client::operator::standing::Withdrawal;
use earnest_client::operator::when::{ahead, utc};
use earnest_protocol::{Epoch, Wei};
use serde::Serialize;

/// The first epoch whose proposers an opt-in at `since` (Unix seconds) counts for: by the state after the last block of its
/// epoch (design §2).
pub(crate) fn counts_from(clock: &SlotClock, optin_delay: u64, since: u64) -> Epoch {
    let epoch = clock.slot_at(since.saturating_mul(1_000)).map_or(0, |slot| clock.epoch_of(slot));
    Epoch(epoch.saturating_add(optin_delay).saturating_add(1))
}

/// Everything that is said. Times in Unix seconds, amounts in wei.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// Of which block.
    pub(super) block: u64,
    pub(super) time: u64,
    pub(super) operational: bool,
    /// Why not.
    pub(super) problems: Vec<String>,
    pub(super) operators: Vec<OperatorReport>,
    pub(super) bidding: Option<Bidding>,
    pub(super) owners: Vec<Credits>,
}

/// What an account can bid with.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Bidding {
    pub(super) account: Address,
    pub(super) relay: Address,
    pub(super) escrow_wei: Wei,
    pub(super) withdrawal_wei: Option<Wei>,
    pub(super) withdrawal_ready_at: Option<u64>,
    /// What live and unsettled bids take up: the relay counts it, L1 does not know.
    pub(super) taken_up_wei: Option<Wei>,
}

/// What an account can claim.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Credits {
    pub(super) owner: Address,
    pub(super) market_credit_wei: Wei,
    pub(super) registry_credit_wei: Wei,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct OperatorReport {
    pub(super) registration_root: B256,
    pub(super) owner: Option<Address>,
    pub(super) registered_at: Option<u64>,
    /// Keys registered, and of those the ones that signed for the owner.
    pub(super) keys: u16,
    pub(super) keys_signed: usize,
    pub(super) collateral_wei: Wei,
    pub(super) min_collateral_wei: Wei,
    pub(super) may_opt_in_from: Option<u64>,
    pub(super) committer: Option<Address>,
    pub(super) opted_in_at: Option<u64>,
    pub(super) opted_out_at: Option<u64>,
    /// The first epoch whose proposers count; none without a beacon node.
    pub(super) counts_from_epoch: Option<u64>,
    pub(super) relay: Option<Address>,
    pub(super) unregistered_at: Option<u64>,
    pub(super) slashed_at: Option<u64>,
    pub(super) equivocated: bool,
    pub(super) claimed: bool,
    pub(super) claimable_from: Option<u64>,
    pub(super) liable: bool,
    pub(super) liable_until: Option<u64>,
    pub(super) locked_until: Option<u64>,
    pub(super) proposer_shares_wei: Wei,
    pub(super) has_file: bool,
    pub(super) operational: bool,
    pub(super) problems: Vec<String>,
}

/// What is known of an operator beside its standing.
#[derive(Debug, Clone, Default)]
pub(super) struct Beside {
    pub(super) keys_signed: usize,
    pub(super) shares: U256,
    pub(super) locked_until: Option<u64>,
    pub(super) has_file: bool,
}

/// What an operator should be like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) committer: Option<Address>,
    pub(super) relay: Option<Address>,
    pub(super) optin_delay: u64,
    /// The beacon chain's clock, and the epoch now.
    pub(super) clock: Option<(SlotClock, u64)>,
}

pub(super) fn operator(standing: &Standing, beside: &Beside, wanted: &Wanted) -> OperatorReport {
    let (terms, registered) = (&standing.terms, standing.registered);
    let in_force = standing.opt_in.filter(|opt_in| opt_in.out_at.is_none() && !opt_in.slashed);
    let counts_from_epoch = wanted
        .clock
        .as_ref()
        .zip(in_force)
        .map(|((clock, _), opt_in)| counts_from(clock, wanted.optin_delay, opt_in.at).0);
    let mut report = OperatorReport {
        registration_root: standing.root,
        owner: registered.map(|it| it.owner),
        registered_at: registered.map(|it| it.at),
        keys: registered.map_or(0, |it| it.keys),
        keys_signed: beside.keys_signed,
        collateral_wei: Wei(registered.map_or(U256::ZERO, |it| it.collateral)),
        min_collateral_wei: Wei(terms.min_collateral),
        may_opt_in_from: registered.map(|it| it.at.saturating_add(terms.fraud_window)),
        committer: standing.opt_in.map(|it| it.committer),
        opted_in_at: standing.opt_in.map(|it| it.at),
        opted_out_at: standing.opt_in.and_then(|it| it.out_at),
        counts_from_epoch,
        relay: standing.relay,
        unregistered_at: registered.and_then(|it| it.unregistered_at),
        slashed_at: registered.and_then(|it| it.slashed_at),
        equivocated: registered.is_some_and(|it| it.equivocated),
        claimed: registered.is_some_and(|it| it.deleted),
        claimable_from: claimable_from(standing),
        liable: standing.liable,
        liable_until: liable_until(standing),
        locked_until: beside.locked_until,
        proposer_shares_wei: Wei(beside.shares),
        has_file: beside.has_file,
        operational: false,
        problems: Vec::new(),
    };
    report.problems = problems(standing, &report, wanted);
    report.operational = report.problems.is_empty();
    report
}

/// Why an operator's validators do not count, or not as they should.
fn problems(standing: &Standing, report: &OperatorReport, wanted: &Wanted) -> Vec<String> {
    let mut found = Vec::new();
    let Some(registered) = standing.registered else {
        return vec!["it is not registered: `register`".to_owned()];
    };
    if registered.deleted {
        return vec!["its collateral was claimed: `register` again".to_owned()];
    }
    if let Some(at) = registered.slashed_at {
        found.push(format!("it was slashed at {}", utc(at)));
    }
    if let Some(at) = registered.unregistered_at {
        found.push(format!("it unregistered at {}", utc(at)));
    }
    if registered.collateral < standing.terms.min_collateral {
        found.push("its collateral is below the minimum: `deposit --collateral`".to_owned());
    }
    if report.keys_signed < usize::from(registered.keys) {
        let forged = usize::from(registered.keys).saturating_sub(report.keys_signed);
        found.push(format!("{forged} of its keys did not sign for the owner, or are named twice"));
    }
    let may_opt_in = report.may_opt_in_from.unwrap_or_default();
    match standing.opt_in {
        Some(opt_in) if opt_in.slashed => found.push("the slasher slashed it".to_owned()),
        Some(opt_in) if opt_in.out_at.is_none() => {
            if let Some(committer) = wanted.committer.filter(|committer| *committer != opt_in.committer) {
                found
                    .push(format!("its committer is {}, and the gateway's is {committer}", opt_in.committer));
            }
            if let (Some((_, now)), Some(from)) = (wanted.clock, report.counts_from_epoch)
                && now < from
            {
                found.push(format!("it counts from epoch {from} on, and this is epoch {now}"));
            }
        }
        _ if standing.now < may_opt_in => {
            found.push(format!("it can opt in from {} on: `opt-in`", ahead(may_opt_in, standing.now)));
        }
        _ => found.push("it has not opted in to the slasher: `opt-in`".to_owned()),
    }
    match (wanted.relay, standing.relay) {
        (Some(wanted), Some(named)) if wanted != named => {
            found.push(format!("its market relay is {named}, and ours is {wanted}: `opt-in`"));
        }
        (Some(_), None) => found.push("it names no market relay: `opt-in`".to_owned()),
        _ => {}
    }
    if let Some(until) = report.locked_until {
        let until = ahead(until, standing.now);
        found.push(format!("an accusation is open, and locks its collateral until {until} at the latest"));
    }
    found
}

/// Why nothing can be bid.
fn bidding_problems(bidding: Option<&Bidding>, now: u64) -> Vec<String> {
    let Some(bidding) = bidding else { return Vec::new() };
    let left = bidding.escrow_wei.0.saturating_sub(bidding.withdrawal_wei.map_or(U256::ZERO, |wei| wei.0));
    match (left.is_zero(), bidding.withdrawal_ready_at) {
        (true, Some(at)) => {
            vec![format!("all escrow was asked back, ready {}: nothing can be bid", ahead(at, now))]
        }
        (true, None) => vec!["there is no escrow, so nothing can be bid: `deposit --escrow`".to_owned()],
        _ => Vec::new(),
    }
}

/// A whole report. One operator that counts is enough: others may be on their way out.
pub(super) fn report(
    (block, time): (u64, u64),
    operators: Vec<OperatorReport>,
    bidding: Option<Bidding>,
    owners: Vec<Credits>,
) -> Report {
    let mut problems = bidding_problems(bidding.as_ref(), time);
    if !operators.iter().any(|operator| operator.operational) {
        problems.insert(0, "no operator's validators count".to_owned());
    }
    Report { block, time, operational: problems.is_empty(), problems, operators, bidding, owners }
}

pub(super) fn bidding(
    account: Address,
    relay: Address,
    (escrow, asked): (U256, Option<Withdrawal>),
) -> Bidding {
    Bidding {
        account,
        relay,
        escrow_wei: Wei(escrow),
        withdrawal_wei: asked.map(|asked| Wei(asked.amount)),
        withdrawal_ready_at: asked.map(|asked| asked.ready_at),
        taken_up_wei: None,
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::super::text::shown;
    use super::*;
    use earnest_client::operator::{OptIn, Registered, Terms};

    const OWNER: Address = Address::repeat_byte(1);
    const COMMITTER: Address = Address::repeat_byte(3);
    const RELAY: Address = Address::repeat_byte(4);
    const ETHER: u64 = 1_000_000_000_000_000_000;

    /// Epochs of 96 s; this is epoch 20.
    fn wanted() -> Wanted {
        let clock = SlotClock::new(0, 12_000, 8).unwrap();
        Wanted { committer: Some(COMMITTER), relay: Some(RELAY), optin_delay: 2, clock: Some((clock, 20)) }
    }

    fn standing() -> Standing {
        Standing {
            now: 2_000,
            terms: Terms {
                min_collateral: U256::from(ETHER),
                fraud_window: 100,
                unregistration_delay: 7_000,
                slash_window: 8_000,
                opt_in_delay: 300,
                signing_domain: B256::ZERO,
                chain_id: U256::from(1),
            },
            root: B256::repeat_byte(2),
            registered: Some(Registered {
                owner: OWNER,
                collateral: U256::from(ETHER),
                keys: 2,
                at: 1_000,
                unregistered_at: None,
                slashed_at: None,
                deleted: false,
                equivocated: false,
            }),
            opt_in: Some(OptIn { committer: COMMITTER, at: 1_200, out_at: None, slashed: false }),
            liable: true,
            relay: Some(RELAY),
        }
    }

    fn whole(standing: &Standing, wanted: &Wanted, escrow: u64) -> Report {
        let beside = Beside { keys_signed: 2, has_file: true, ..Beside::default() };
        let operators = vec![operator(standing, &beside, wanted)];
        let bidding = bidding(OWNER, RELAY, (U256::from(escrow), None));
        report((7, standing.now), operators, Some(bidding), Vec::new())
    }

    #[test]
    fn an_opt_in_counts_after_the_end_of_its_epoch_and_the_delay() {
        let clock = SlotClock::new(0, 12_000, 8).unwrap();
        // Epoch 12 is from 1,152 to 1,248 s; by its end epochs 15 and later are decided.
        for (since, epoch) in [(1_152, 15), (1_247, 15), (1_248, 16), (0, 3)] {
            assert_eq!(counts_from(&clock, 2, since), Epoch(epoch), "{since}");
        }
    }

    #[test]
    fn an_operator_that_counts_is_operational() {
        let report = whole(&standing(), &wanted(), ETHER);
        assert!(report.operational, "{:?}", report.operators[0].problems);
        let text = shown(&report);
        for said in ["operational       yes", "epoch 15", "1 ether, at least 1 ether", "yes, until it leaves"]
        {
            assert!(text.contains(said), "{said}: {text}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["operators"][0]["collateral_wei"], ETHER.to_string());
        assert_eq!(json["bidding"]["taken_up_wei"], serde_json::Value::Null);
        let without_beacon = whole(&standing(), &Wanted { clock: None, ..wanted() }, ETHER);
        assert!(without_beacon.operational && without_beacon.operators[0].counts_from_epoch.is_none());
    }

    #[test]
    fn whatever_keeps_it_from_counting_is_said_with_what_to_do() {
        type Change = fn(&mut Standing);
        let cases: [(Change, &str); 11] = [
            (|it| it.registered = None, "`register`"),
            (|it| it.registered.as_mut().unwrap().deleted = true, "`register` again"),
            (|it| it.registered.as_mut().unwrap().slashed_at = Some(5), "slashed at"),
            (|it| it.registered.as_mut().unwrap().unregistered_at = Some(5), "unregistered at"),
            (|it| it.registered.as_mut().unwrap().collateral -= U256::from(1), "below the minimum"),
            (|it| it.registered.as_mut().unwrap().keys = 3, "1 of its keys did not sign"),
            (|it| it.opt_in = None, "`opt-in`"),
            (|it| (it.opt_in, it.now) = (None, 1_090), "(in 10 s)"),
            (|it| it.opt_in.as_mut().unwrap().committer = OWNER, "the gateway's is"),
            (|it| it.opt_in.as_mut().unwrap().at = 1_800, "counts from epoch 21"),
            (|it| it.relay = None, "names no market relay"),
        ];
        for (change, said) in cases {
            let mut standing = standing();
            change(&mut standing);
            let report = whole(&standing, &wanted(), ETHER);
            let found = &report.operators[0].problems;
            assert!(!report.operational && found.iter().any(|it| it.contains(said)), "{said}: {found:?}");
            assert!(shown(&report).contains(said));
        }
        let locked = Beside { keys_signed: 2, locked_until: Some(3_000), ..Beside::default() };
        assert!(operator(&standing(), &locked, &wanted()).problems[0].contains("accusation"));
    }

    #[test]
    fn without_escrow_nothing_is_bid() {
        let report = whole(&standing(), &wanted(), 0);
        assert!(report.problems[0].contains("`deposit --escrow`"));
        let asked = Withdrawal { amount: U256::from(ETHER), ready_at: 2_100 };
        let bidding = bidding(OWNER, RELAY, (U256::from(ETHER), Some(asked)));
        assert!(bidding_problems(Some(&bidding), 2_000)[0].contains("asked back"));
        assert!(bidding_problems(None, 0).is_empty());
    }

    #[test]
    fn one_operator_that_counts_is_enough() {
        let beside = Beside { keys_signed: 2, ..Beside::default() };
        let mut gone = standing();
        gone.registered.as_mut().unwrap().unregistered_at = Some(1_900);
        let operators = [gone, standing()].map(|standing| operator(&standing, &beside, &wanted()));
        assert!(report((7, 2_000), operators.to_vec(), None, Vec::new()).operational);
        let leaving = shown(&report((7, 2_000), operators[..1].to_vec(), None, Vec::new()));
        assert!(
            leaving.contains("claimable") && leaving.contains("no operator's validators count"),
            "{leaving}"
        );
    }
}
