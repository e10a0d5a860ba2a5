//! The report for people.

use std::fmt::Write as _;

use earnest_client::operator::ether;
use earnest_client::operator::when::{ahead, utc};

use super::report::{OperatorReport, Report};

fn line(text: &mut String, name: &str, words: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{name:<17} {words}");
}

/// The report for people.
pub(super) fn shown(report: &Report) -> String {
    let mut text = String::new();
    line(&mut text, "L1", &format!("block {} of {}", report.block, utc(report.time)));
    for operator in &report.operators {
        text.push('\n');
        operator_shown(&mut text, operator, report.time);
    }
    if let Some(bidding) = &report.bidding {
        text.push('\n');
        line(&mut text, "account", &bidding.account.to_string());
        line(&mut text, "  relay", &bidding.relay.to_string());
        line(&mut text, "  escrow", &ether(bidding.escrow_wei.0));
        if let (Some(amount), Some(at)) = (bidding.withdrawal_wei, bidding.withdrawal_ready_at) {
            let ready = ahead(at, report.time);
            line(&mut text, "  asked back", &format!("{}, ready {ready}", ether(amount.0)));
        }
        line(&mut text, "  live, unsettled", "not on L1: the relay counts what bids take up of the escrow");
    }
    for credits in &report.owners {
        let (market, registry) = (credits.market_credit_wei.0, credits.registry_credit_wei.0);
        if !market.is_zero() || !registry.is_zero() {
            let said = format!("market {}, Registry {}: `claim`", ether(market), ether(registry));
            line(&mut text, "credits", &format!("of {}: {said}", credits.owner));
        }
    }
    text.push('\n');
    if report.operational {
        line(&mut text, "operational", "yes");
    } else {
        line(&mut text, "operational", "NO");
        for problem in &report.problems {
            line(&mut text, "", problem);
        }
    }
    text
}

fn operator_shown(text: &mut String, operator: &OperatorReport, now: u64) {
    line(text, "operator", &operator.registration_root.to_string());
    if let (Some(owner), Some(at)) = (operator.owner, operator.registered_at) {
        line(text, "  owner", &owner.to_string());
        line(text, "  registered", &utc(at));
        let file = if operator.has_file { "" } else { ", no registration file here" };
        line(
            text,
            "  keys",
            &format!("{}, {} signed for the owner{file}", operator.keys, operator.keys_signed),
        );
        let (has, least) = (ether(operator.collateral_wei.0), ether(operator.min_collateral_wei.0));
        line(text, "  collateral", &format!("{has}, at least {least}"));
    }
    match (operator.opted_in_at, operator.committer) {
        (Some(at), Some(committer)) => {
            line(text, "  opted in", &format!("{} with committer {committer}", utc(at)));
            if let Some(at) = operator.opted_out_at {
                line(text, "  opted out", &utc(at));
            }
            if let Some(epoch) = operator.counts_from_epoch {
                line(text, "  counts", &format!("for proposers from epoch {epoch} on"));
            }
        }
        _ => line(text, "  opted in", "no"),
    }
    line(
        text,
        "  market relay",
        &operator.relay.map_or_else(|| "none".to_owned(), |relay| relay.to_string()),
    );
    if let Some(at) = operator.unregistered_at {
        line(text, "  unregistered", &utc(at));
    }
    if let Some(at) = operator.slashed_at {
        let why = if operator.equivocated { ", for two delegations of one slot" } else { "" };
        line(text, "  slashed", &format!("{}{why}", utc(at)));
    }
    if operator.claimed {
        line(text, "  collateral", "was claimed");
    } else if let Some(from) = operator.claimable_from {
        line(text, "  claimable", &format!("from {} on: `claim`", ahead(from, now)));
    }
    let liable = match (operator.liable, operator.liable_until) {
        (false, _) => "no".to_owned(),
        (true, None) => "yes, until it leaves and the time for evidence is over".to_owned(),
        (true, Some(until)) => format!("until {}", ahead(until, now)),
    };
    line(text, "  liable", &liable);
    if !operator.proposer_shares_wei.0.is_zero() {
        let shares = ether(operator.proposer_shares_wei.0);
        line(text, "  proposer shares", &format!("{shares} to claim: `claim`"));
    }
    for problem in &operator.problems {
        line(text, "  problem", problem);
    }
}
