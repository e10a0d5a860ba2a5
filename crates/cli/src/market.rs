//! `earnest market show SLOT`, `earnest market verify SLOT`: a slot's auction, as a relay has it and as it should be.
//! `earnest market settle SLOT`: what was won is paid for, on L1.

mod l1;
mod settle;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::Address;
use clap::{Args, Subcommand};
use earnest_builder_types::BlsPublicKey;
use earnest_client::{ClientError, Limits, RelayClient};
use earnest_protocol::Slot;
use earnest_protocol::auction::{
    AuctionOutcome, AuctionRecord, AuctionStatus, Clearing, HeldAck, Public, PublishedBid, Verdict,
    verify_auction,
};
use earnest_protocol::objects::{Authority, SignedAuctionResult, SlotAllocation};
use serde::de::DeserializeOwned;
use url::Url;

use crate::failure::Failure;
use crate::verify::{BROKEN, NetworkArg};

/// Largest file read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What to do with an auction.
#[derive(Debug, Subcommand)]
pub(crate) enum MarketCommand {
    /// Show a slot's auction as the relay has it: sealed until it closes.
    Show(ShowArgs),
    /// Compute a slot's auction again from what is public, and say what is wrong.
    Verify(Box<VerifyArgs>),
    /// Have a slot's winning bids paid on L1, by what is public. Anyone may; nobody is paid for it.
    Settle(settle::SettleArgs),
}

/// Options of `earnest market show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The slot.
    slot: u64,
    /// The relay's URL.
    #[arg(long)]
    relay: Url,
    /// The whole record as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `earnest market verify`.
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 nothing is wrong, 3 something is, 1 it could not be verified.")]
pub(crate) struct VerifyArgs {
    /// The slot.
    slot: u64,
    /// The relay's URL.
    #[arg(long)]
    relay: Url,
    /// The relay's address, which rollups name; else what the relay says itself is taken.
    #[arg(long)]
    address: Option<Address>,
    /// The L1 network: mainnet, hoodi, sepolia, holesky, or 0xGENESIS_FORK_VERSION:CHAIN_ID; else the relay's word.
    #[arg(long)]
    network: Option<NetworkArg>,
    /// The OrderingMarket's address; else the relay's word.
    #[arg(long)]
    market: Option<Address>,
    /// The slot's proposer, if you know it from a beacon node.
    #[arg(long)]
    proposer: Option<BlsPublicKey>,
    /// A file with `{bid, ack}` that a bidder keeps: shows a bid left out. May be given several times.
    #[arg(long)]
    ack: Vec<PathBuf>,
    /// A file with a result that was seen elsewhere: shows two results of one slot. May be given several times.
    #[arg(long)]
    result: Vec<PathBuf>,
    #[command(flatten)]
    l1: l1::L1Args,
}

impl VerifyArgs {
    /// Whose auction it is; what was not given is the relay's word.
    fn of(&self, record: &AuctionRecord) -> l1::Of {
        l1::Of {
            network: self.network.map_or(record.network, |network| network.0),
            market: self.market.unwrap_or(record.market),
            relay: self.address.unwrap_or(record.relay),
            slot: Slot(self.slot),
        }
    }
}

pub(crate) async fn run(command: MarketCommand) -> Result<ExitCode, Failure> {
    match command {
        MarketCommand::Show(args) => show(args).await,
        MarketCommand::Verify(args) => verify(&args).await,
        MarketCommand::Settle(args) => settle::run(args).await,
    }
}

fn client(relay: &Url) -> Result<RelayClient, Failure> {
    RelayClient::new(relay, Limits::default()).map_err(failed)
}

#[expect(clippy::needless_pass_by_value, reason = "errors are handed over")]
fn failed(error: ClientError) -> Failure {
    Failure::new(error.to_string())
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(error.to_string()))
}

async fn show(args: ShowArgs) -> Result<ExitCode, Failure> {
    let record = client(&args.relay)?.auction(args.slot).await.map_err(failed)?;
    if args.json {
        let json = serde_json::to_string_pretty(&record).map_err(|error| Failure::new(error.to_string()))?;
        print(&format!("{json}\n"))?;
    } else {
        print(&shown(&record))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn verify(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let held: Vec<HeldAck> = files(&args.ack, "a bid with its acknowledgement")?;
    let results: Vec<SignedAuctionResult> = files(&args.result, "a signed result")?;
    let client = client(&args.relay)?;
    let record = client.auction(args.slot).await.map_err(failed)?;
    let authorities = client.authorities(args.slot).await.map_err(failed)?;
    let facts = l1::read(&args.l1, args.of(&record)).await?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let seen =
        Seen { authorities: &authorities, held: &held, results: &results, facts: facts.as_ref(), now_ms };
    let report = report(args, &record, &seen)?;
    print(&report.text)?;
    Ok(if report.holds { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) })
}

fn files<T: DeserializeOwned>(paths: &[PathBuf], what: &str) -> Result<Vec<T>, Failure> {
    paths.iter().map(|path| file(path, what)).collect()
}

fn file<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T, Failure> {
    let failed = |cause: &dyn std::fmt::Display| Failure::new(format!("{}: {cause}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
        .map_err(|error| failed(&error))?;
    serde_json::from_str(&text).map_err(|error| failed(&format!("not {what}: {error}")))
}

struct Report {
    text: String,
    holds: bool,
}

/// What there is beside the record.
#[derive(Debug, Clone, Copy, Default)]
struct Seen<'a> {
    authorities: &'a [Authority],
    held: &'a [HeldAck],
    results: &'a [SignedAuctionResult],
    facts: Option<&'a l1::Facts>,
    now_ms: u64,
}

fn report(args: &VerifyArgs, record: &AuctionRecord, seen: &Seen<'_>) -> Result<Report, Failure> {
    let Seen { authorities, held, results, facts, now_ms } = *seen;
    let l1::Of { network, market, relay, slot } = args.of(record);
    let public = Public {
        network,
        market,
        relay,
        slot,
        record,
        held,
        results,
        authorities,
        window: facts.and_then(|facts| facts.window.as_ref()),
        proposer: args.proposer.or_else(|| facts?.proposer),
        rollups: facts.and_then(|facts| facts.rollups.as_deref()),
        operators: facts.map(|facts| facts.operators.as_slice()),
        proposer_operator: facts.and_then(|facts| facts.proposer_operator),
        now_ms: Some(now_ms),
    };
    let verdict = verify_auction(&public).map_err(|sealed| {
        Failure::new(match record.status {
            AuctionStatus::Lapsed => format!("no auction of slot {} was held", args.slot),
            _ => sealed.to_string(),
        })
    })?;
    let mut text = shown(record);
    text.push('\n');
    recomputed(&mut text, &verdict);
    let of_l1 = facts.map(|facts| facts.findings.as_slice()).unwrap_or_default();
    for finding in of_l1.iter().chain(&verdict.findings) {
        line(&mut text, "WRONG", &finding.to_string());
    }
    if args.address.is_none() {
        line(&mut text, "not shown", "that rollups name this relay's address (--address checks it)");
    }
    for unshown in &verdict.unshown {
        line(&mut text, "not shown", &unshown.to_string());
    }
    let holds = of_l1.is_empty() && verdict.findings.is_empty();
    text.push_str(if holds { "the auction holds\n" } else { "the auction does NOT hold\n" });
    Ok(Report { text, holds })
}

fn line(text: &mut String, name: &str, words: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{name:<12} {words}");
}

/// What the relay has, in lines.
fn shown(record: &AuctionRecord) -> String {
    let mut text = String::new();
    let (window, slot) = (&record.window, record.slot);
    let status = match record.status {
        AuctionStatus::Open => "open: bids are sealed",
        AuctionStatus::Closed => "closed: the proposer may match winners",
        AuctionStatus::Final => "final",
        AuctionStatus::Lapsed => "lapsed: there is no result",
    };
    line(&mut text, "slot", &format!("{slot}, {status}"));
    line(&mut text, "relay", &record.relay.to_string());
    line(&mut text, "proposer", &record.proposer.to_string());
    let before = |at_ms: u64| {
        let ms = window.slot_ms.saturating_sub(at_ms);
        format!("{}.{:03} s before", ms / 1000, ms % 1000)
    };
    let times = format!(
        "close {}, first refusal until {}, start {}, seal {}",
        before(window.close_ms),
        before(window.first_refusal_ms),
        before(window.start_ms),
        before(window.seal_ms)
    );
    line(&mut text, "times", &times);
    line(&mut text, "bids", &record.bid_count.to_string());
    let Some(outcome) = &record.outcome else { return text };
    for bid in &outcome.bids {
        line(&mut text, mark(outcome, bid), &bid_line(bid));
    }
    for bid in &outcome.matches {
        line(&mut text, "  match", &format!("{} of {}", bid_line(bid), bid.bid.message.matches));
    }
    line(&mut text, "root", &outcome.auction_root.to_string());
    match &outcome.allocation {
        Some(allocation) => entries(&mut text, allocation),
        None => line(&mut text, "allocation", "none yet"),
    }
    let signed = outcome.result.as_ref().map_or_else(
        || "none".to_owned(),
        |result| format!("signed, of allocation {}", result.message.allocation_hash),
    );
    line(&mut text, "result", &signed);
    text
}

fn mark(outcome: &AuctionOutcome, bid: &PublishedBid) -> &'static str {
    match (&bid.excluded, outcome.winners.contains(&bid.hash)) {
        (Some(_), _) => "  excluded",
        (None, true) => "  won",
        (None, false) => "  lost",
    }
}

fn bid_line(bid: &PublishedBid) -> String {
    let message = &bid.bid.message;
    let rollups: Vec<String> = message.rollup_ids.iter().map(ToString::to_string).collect();
    let reason = bid.excluded.as_ref().map(|excluded| format!(": {}", excluded.message)).unwrap_or_default();
    let (hash, wei, account, rollups) = (bid.hash, message.amount_wei, message.account, rollups.join(", "));
    format!("{hash} {wei} wei for {rollups} by {account}{reason}")
}

fn entries(text: &mut String, allocation: &SlotAllocation) {
    if allocation.entries.is_empty() {
        line(text, "allocation", "nothing is sold");
    }
    for entry in &allocation.entries {
        let (id, wei, committer, url) = (entry.rollup_id, entry.price_wei, entry.committer, &entry.url);
        line(text, "allocation", &format!("rollup {id} for {wei} wei to committer {committer}, {url:?}"));
    }
}

fn recomputed(text: &mut String, verdict: &Verdict) {
    let Clearing { winners, total_wei } = &verdict.clearing;
    let words = format!(
        "{} bids count, {} of them win; with reserves of what is unsold they bring {total_wei} wei",
        verdict.counted,
        winners.len()
    );
    line(text, "recomputed", &words);
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, U256};
    use earnest_protocol::auction::{Finding, NamedBid, Operator, Sale, clear};
    use earnest_protocol::objects::{
        BidAck, MarketDomain, OrderingBid, Policy, RollupRegistration, SignedBid, SignedBidAck, auction_root,
    };
    use earnest_protocol::signing::{EcdsaSecret, Network};
    use earnest_protocol::window::Timing;
    use earnest_protocol::{RollupId, Wei};

    use super::*;

    const NETWORK: Network = Network { genesis_fork_version: [1, 2, 3, 4], chain_id: 9 };
    const MARKET: Address = Address::repeat_byte(0x3a);

    fn secret(byte: u8) -> EcdsaSecret {
        EcdsaSecret::from_bytes(&[byte; 32]).unwrap()
    }

    fn args(relay: Option<Address>) -> VerifyArgs {
        VerifyArgs {
            slot: 100,
            relay: "http://relay.example".parse().unwrap(),
            address: relay,
            network: Some(NetworkArg(NETWORK)),
            market: Some(MARKET),
            proposer: None,
            ack: vec![],
            result: vec![],
            l1: l1::L1Args::default(),
        }
    }

    /// An auction of one rollup and two bids, as an honest relay has it.
    fn record() -> AuctionRecord {
        let (relay, slot) = (secret(1), Slot(100));
        let window = Timing::new(1_700_000_000_000, 12_000, 32).window(slot, Some(Slot(90))).unwrap();
        let proposer = earnest_builder_types::bls::SecretKey::from_bytes(&[9; 32]).unwrap().public_key();
        let rollup = RollupRegistration {
            rollup_id: RollupId(42),
            reserve_wei: Wei(U256::from(5)),
            reserve_committer: Address::ZERO,
            revenue_recipient: Address::ZERO,
            inclusion_share_bps: 0,
            max_batch_bytes: 0,
            max_tx_gas: 0,
            policy: Policy::Fcfs,
            required_level: 0,
            opaque: false,
            active: true,
            relay: relay.address(),
            uri: String::new(),
        };
        let operator = Operator {
            registration_root: B256::repeat_byte(2),
            owner: secret(2).address(),
            committer: secret(3).address(),
        };
        let publish = |wei: u64| {
            let message = OrderingBid {
                slot,
                rollup_ids: vec![RollupId(42)],
                amount_wei: Wei(U256::from(wei)),
                account: operator.owner,
                registration_root: operator.registration_root,
                committer: operator.committer,
                relay: relay.address(),
                delegate: proposer,
                url: "http://gateway.example".into(),
                matches: B256::ZERO,
                nonce: wei,
                expiry: 4_000_000_000,
            };
            let domain = MarketDomain { chain_id: NETWORK.chain_id, market: MARKET };
            let bid = SignedBid::sign(message, &secret(2), &domain).unwrap();
            let hash = bid.message.hash(&domain);
            let ack = BidAck { bid_hash: hash, received_at_ms: window.close_ms.saturating_sub(1) };
            let ack = SignedBidAck::sign(ack, &relay, &NETWORK).unwrap();
            PublishedBid { hash, bid, ack, excluded: None }
        };
        let bids = vec![publish(7), publish(8)];
        let named: Vec<_> =
            bids.iter().map(|one| NamedBid { hash: one.hash, bid: &one.bid.message }).collect();
        let clearing = clear(&Sale::of(std::slice::from_ref(&rollup), relay.address()), &named);
        let auction_root = auction_root(&bids.iter().map(|bid| bid.hash).collect::<Vec<_>>());
        let allocation = clearing.allocation(&window, auction_root);
        let result = clearing.result(slot, window.close_ms, &allocation);
        AuctionRecord {
            slot,
            relay: relay.address(),
            network: NETWORK,
            market: MARKET,
            proposer,
            previous: Some(Slot(90)),
            window,
            status: AuctionStatus::Final,
            bid_count: 2,
            outcome: Some(AuctionOutcome {
                rollups: vec![rollup],
                operators: vec![operator],
                proposer_operator: None,
                winners: clearing.hashes(),
                bids,
                auction_root,
                matches: vec![],
                allocation: Some(allocation),
                result: Some(SignedAuctionResult::sign(result, &relay, &NETWORK).unwrap()),
            }),
        }
    }

    #[test]
    fn an_honest_auction_holds_and_is_told() {
        let record = record();
        let report = report(&args(Some(secret(1).address())), &record, &Seen::default()).unwrap();
        assert!(report.holds, "{}", report.text);
        for words in [
            "slot         100, final",
            "8 wei for 42",
            "  lost",
            "  won",
            "rollup 42 for 8 wei",
            "the auction holds",
        ] {
            assert!(report.text.contains(words), "{words}: {}", report.text);
        }
        assert!(!report.text.contains("--address") && report.text.contains("not shown"), "{}", report.text);
        assert!(super::report(&args(None), &record, &Seen::default()).unwrap().text.contains("--address"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let good = record();
        let mut bad = good.clone();
        let outcome = bad.outcome.as_mut().unwrap();
        let gone = outcome.bids.pop().unwrap();
        let held = [HeldAck { bid: gone.bid, ack: gone.ack }];
        let report = report(&args(None), &bad, &Seen { held: &held, ..Seen::default() }).unwrap();
        assert!(!report.holds);
        for words in ["WRONG", "is left out", "the auction root is", "does NOT hold"] {
            assert!(report.text.contains(words), "{words}: {}", report.text);
        }
        let other = super::report(&args(Some(Address::ZERO)), &good, &Seen::default()).unwrap();
        assert!(!other.holds, "of another relay");
    }

    #[test]
    fn a_sealed_auction_cannot_be_verified() {
        let mut sealed = record();
        (sealed.outcome, sealed.status) = (None, AuctionStatus::Open);
        let failure = report(&args(None), &sealed, &Seen::default()).err().unwrap().to_string();
        assert!(failure.contains("sealed until"), "{failure}");
        assert!(shown(&sealed).contains("bids are sealed"));
        // Not for ever.
        let late = Seen { now_ms: sealed.window.start_ms, ..Seen::default() };
        let report = report(&args(None), &sealed, &late).unwrap();
        assert!(!report.holds && report.text.contains("of its 2 bids none is shown"), "{}", report.text);
    }

    #[test]
    fn what_l1_says_counts_and_not_what_the_relay_says_of_it() {
        let record = record();
        let outcome = record.outcome.as_ref().unwrap();
        let facts = l1::Facts {
            proposer: Some(record.proposer),
            window: Some(record.window),
            rollups: Some(outcome.rollups.clone()),
            operators: outcome.operators.clone(),
            proposer_operator: Some(None),
            findings: vec![],
        };
        let by = |facts: &l1::Facts| {
            let seen = Seen { facts: Some(facts), ..Seen::default() };
            report(&args(Some(secret(1).address())), &record, &seen).unwrap()
        };
        let report = by(&facts);
        assert!(report.holds && !report.text.contains("not shown"), "{}", report.text);
        let [operator] = *facts.operators.as_slice() else { panic!("one operator") };
        let elsewhere =
            l1::Facts { operators: vec![Operator { committer: Address::ZERO, ..operator }], ..facts };
        let report = by(&elsewhere);
        assert!(!report.holds && report.text.contains("the operator's committer is"), "{}", report.text);
        let sold = Finding::Differs { what: "it", stated: "a".to_owned(), expected: "b".to_owned() };
        let facts = l1::Facts { operators: vec![operator], findings: vec![sold], ..elsewhere };
        let report = by(&facts);
        assert!(!report.holds && report.text.contains("WRONG        it is a"), "{}", report.text);
    }
}
