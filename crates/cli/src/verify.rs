//! `earnest verify FILE`: checks a receipt, or judges evidence, offline and says what was checked, line by line.

mod evidence;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use alloy_primitives::{Address, B256, FixedBytes};
use clap::Args;
use earnest_builder_types::BlsPublicKey;
use earnest_protocol::delegation::{DelegationError, TrustRoots};
use earnest_protocol::evidence::EvidenceFile;
use earnest_protocol::receipt::{PreconfReceipt, ReceiptError, Verified};
use earnest_protocol::signing::Network;

use crate::failure::Failure;

/// Exit status if a receipt, a gateway or evidence does not keep to the rules.
pub(crate) const BROKEN: u8 = 3;
/// Exit status if only the state of L1 can tell whether evidence convicts.
const UNDECIDED: u8 = 4;
/// Largest receipt or evidence read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// An L1 network by name, or as `0xGENESIS_FORK_VERSION:CHAIN_ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NetworkArg(pub(crate) Network);

impl FromStr for NetworkArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (genesis_fork_version, chain_id) = match text {
            "mainnet" => ([0, 0, 0, 0], 1),
            "hoodi" => ([0x10, 0x00, 0x09, 0x10], 560_048),
            "sepolia" => ([0x90, 0x00, 0x00, 0x69], 11_155_111),
            "holesky" => ([0x01, 0x01, 0x70, 0x00], 17_000),
            other => {
                let wrong = "a network is mainnet, hoodi, sepolia, holesky, or 0xFORKVERSION:CHAINID";
                let (version, chain) = other.split_once(':').ok_or(wrong)?;
                let version: FixedBytes<4> = version.parse().map_err(|_| wrong)?;
                (version.0, chain.parse().map_err(|_| wrong)?)
            }
        };
        Ok(Self(Network { genesis_fork_version, chain_id }))
    }
}

/// Options of `earnest verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 the receipt holds, or the evidence convicts; 3 it does not; 4 only L1's state \
    can tell; 1 it could not be read."
)]
pub(crate) struct VerifyArgs {
    /// The receipt, as the gateway gave it, or the evidence; `-` reads standard input.
    file: PathBuf,
    /// The L1 network: mainnet, hoodi, sepolia, holesky, or 0xGENESIS_FORK_VERSION:CHAIN_ID. Evidence names its own,
    /// which must be this one if it is given.
    #[arg(long)]
    network: Option<NetworkArg>,
    /// ECDSA address of the market relay whose word counts. For a receipt.
    #[arg(long)]
    relay: Option<Address>,
    /// The slot's proposer, if you know it from a beacon node; else the relay's word for it is taken. For a receipt.
    #[arg(long)]
    proposer: Option<BlsPublicKey>,
    /// The transaction that the receipt should be of.
    #[arg(long)]
    tx: Option<B256>,
    /// The slasher that should judge the receipt's commitment: under another one a broken promise costs nothing. For a receipt.
    #[arg(long)]
    slasher: Option<Address>,
    #[command(flatten)]
    evidence: evidence::EvidenceArgs,
}

pub(crate) fn run(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let report = match read(args)? {
        File::Receipt(receipt) => {
            let missing = |option| Failure::new(format!("a receipt is checked against {option}: give it"));
            let roots = TrustRoots {
                network: args.network.ok_or_else(|| missing("--network"))?.0,
                relay: args.relay.ok_or_else(|| missing("--relay"))?,
                proposer: args.proposer,
                slasher: args.slasher,
            };
            report(&receipt, &roots, args.tx)
        }
        File::Evidence(file) => {
            evidence::report(&file, args.network.map(|network| network.0), &args.evidence)
        }
    };
    std::io::stdout().write_all(report.text.as_bytes()).map_err(|error| Failure::new(error.to_string()))?;
    Ok(match report.outcome {
        Outcome::Holds => ExitCode::SUCCESS,
        Outcome::Broken => ExitCode::from(BROKEN),
        Outcome::Undecided => ExitCode::from(UNDECIDED),
    })
}

/// What can be verified.
#[derive(Debug)]
enum File {
    Receipt(Box<PreconfReceipt>),
    Evidence(Box<EvidenceFile>),
}

impl File {
    /// Evidence is told by its field of that name.
    fn parse(text: &str) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        // Read from the text, so that what is wrong is said with its line.
        if value.get("evidence").is_some() {
            let evidence = serde_json::from_str(text).map_err(|error| format!("not evidence: {error}"))?;
            return Ok(Self::Evidence(evidence));
        }
        let receipt = serde_json::from_str(text).map_err(|error| format!("not a receipt: {error}"))?;
        Ok(Self::Receipt(receipt))
    }
}

fn read(args: &VerifyArgs) -> Result<File, Failure> {
    let path = args.file.display();
    let failed = |cause: &dyn std::fmt::Display| Failure::new(format!("{path}: {cause}"));
    let mut text = String::new();
    let read = if args.file.as_os_str() == "-" {
        std::io::stdin().take(MAX_FILE).read_to_string(&mut text)
    } else {
        std::fs::File::open(&args.file).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
    };
    read.map_err(|error| failed(&error))?;
    File::parse(&text).map_err(|error| failed(&error))
}

/// What is checked, in the order in which it is.
const CHECKS: [&str; 7] = ["transaction", "place", "path", "slasher", "delegation", "relay", "committer"];

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The receipt holds, or the evidence convicts.
    Holds,
    /// It does not.
    Broken,
    /// Only L1's state can tell.
    Undecided,
}

struct Report {
    text: String,
    outcome: Outcome,
}

fn report(receipt: &PreconfReceipt, roots: &TrustRoots, tx: Option<B256>) -> Report {
    let verified = receipt.verify(roots);
    let failed = match (&verified, tx) {
        (_, Some(tx)) if tx != receipt.tx_hash => {
            Some((0, format!("the receipt is of transaction {}", receipt.tx_hash)))
        }
        (Err(error), _) => Some((check_of(error), error.to_string())),
        (Ok(_), _) => None,
    };
    let mut text = lines(&CHECKS, failed.as_ref(), |number| said(number, receipt, roots));
    let outcome = match (&verified, &failed) {
        (Ok(verified), None) => {
            line(&mut text, "not shown", "--", &not_shown(roots, verified));
            text.push_str("the receipt holds\n");
            Outcome::Holds
        }
        _ => {
            text.push_str("the receipt does NOT hold\n");
            Outcome::Broken
        }
    };
    Report { text, outcome }
}

/// A line for each check: what it says if it held, or why it did not; those after that are not made.
fn lines(checks: &[&str], failed: Option<&(usize, String)>, said: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for (number, check) in checks.iter().enumerate() {
        let (mark, words) = match failed {
            Some((at, words)) if number == *at => ("NO", words.clone()),
            Some((at, _)) if number > *at => ("--", "not checked".to_owned()),
            _ => ("ok", said(number)),
        };
        line(&mut text, check, mark, &words);
    }
    text
}

fn line(text: &mut String, check: &str, mark: &str, words: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{check:<12} {mark}  {words}");
}

const fn check_of(error: &ReceiptError) -> usize {
    match error {
        ReceiptError::NotAnOrdering(_)
        | ReceiptError::Seal
        | ReceiptError::Rollup(_)
        | ReceiptError::Slot(_)
        | ReceiptError::Segment(_)
        | ReceiptError::Index { .. } => 1,
        ReceiptError::Path => 2,
        ReceiptError::Delegation(
            DelegationError::ReceiptSlot(_)
            | DelegationError::ReceiptHash
            | DelegationError::TooLate { .. }
            | DelegationError::RelaySignature(_),
        ) => 5,
        ReceiptError::Slasher { .. } => 3,
        ReceiptError::Delegation(_) => 4,
        ReceiptError::Signature(_) | ReceiptError::Committer { .. } => 6,
    }
}

/// What a check that held says.
fn said(check: usize, receipt: &PreconfReceipt, roots: &TrustRoots) -> String {
    let delegation = &receipt.authority.delegation.message;
    match check {
        0 => receipt.tx_hash.to_string(),
        1 => format!(
            "rollup {}, slot {}, segment {}, index {}: among the commitment's own",
            receipt.rollup_id, receipt.slot, receipt.segment, receipt.index
        ),
        2 => {
            format!("{} hashes lead from the transaction at its index to the signed root", receipt.path.len())
        }
        3 => format!("the commitment is judged by {}", receipt.commitment.commitment.slasher),
        4 => format!("validator {} signed over the right to order this rollup", delegation.proposer),
        5 => format!(
            "{} had the delegation at {} ms, before the window's start",
            roots.relay, receipt.authority.receipt.message.received_at_ms
        ),
        _ => receipt.commitment.committer(&roots.network).map_or_else(
            |error| error.to_string(),
            |committer| format!("signed by {committer}, who holds the window"),
        ),
    }
}

fn not_shown(roots: &TrustRoots, verified: &Verified) -> String {
    let mut words = String::new();
    if roots.proposer.is_none() {
        words.push_str("that the validator proposes the slot (the relay's word; --proposer checks it), ");
    }
    if roots.slasher.is_none() {
        words.push_str("that this slasher has the committer's collateral (--slasher checks it), ");
    }
    let _ =
        write!(words, "that the batch of slot {} reached L1 (earnest follow --l1)", verified.commitment.slot);
    words
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use alloy_primitives::{Bytes, keccak256};
    use earnest_builder_types::BlsSignature;
    use earnest_builder_types::bls::SecretKey;
    use earnest_protocol::merkle::MerkleTree;
    use earnest_protocol::objects::{
        AllocationEntry, Authority, Commitment, Delegation, DelegationReceipt, SignedCommitment,
        SlotAllocation,
    };
    use earnest_protocol::ordering::{LinkContent, WindowChain};
    use earnest_protocol::signing::{EcdsaSecret, EcdsaSignature, Signed};
    use earnest_protocol::{RollupId, Slot, Wei};

    use super::*;

    const NETWORK: Network = Network { genesis_fork_version: [1, 2, 3, 4], chain_id: 9 };
    const ROLLUP: RollupId = RollupId(42);
    const SLOT: Slot = Slot(7);

    /// The receipt of the second of three transactions, and whose word counts.
    fn receipt() -> (PreconfReceipt, TrustRoots) {
        let (committer, relay) = (EcdsaSecret::random(), EcdsaSecret::random());
        let proposer = SecretKey::random().unwrap();
        let entry = AllocationEntry {
            rollup_id: ROLLUP,
            bid_hash: B256::ZERO,
            account: Address::ZERO,
            committer: committer.address(),
            delegate: proposer.public_key(),
            price_wei: Wei::default(),
            url: String::new(),
        };
        let allocation =
            SlotAllocation { slot: SLOT, start_ms: 900, auction_root: B256::ZERO, entries: vec![entry] };
        let message = Delegation {
            proposer: proposer.public_key(),
            delegate: proposer.public_key(),
            committer: committer.address(),
            slot: SLOT,
            metadata: allocation.to_metadata(),
        };
        let had = DelegationReceipt::of(&message, 800).unwrap();
        let authority = Authority {
            delegation: Signed::<_, BlsSignature>::sign(message, &proposer, &NETWORK).unwrap(),
            receipt: Signed::<_, EcdsaSignature>::sign(had, &relay, &NETWORK).unwrap(),
        };
        let hashes: Vec<B256> = (1u8..4).map(|byte| keccak256(Bytes::from(vec![2, byte]))).collect();
        let tree = MerkleTree::over(0, &hashes);
        let content = LinkContent::Microblock { tx_count: 3, tx_root: tree.root() };
        let link = WindowChain::new(ROLLUP, SLOT).next_link(content, 1_000, 0);
        let commitment = Commitment::of_ordering(&link, Address::ZERO);
        let receipt = PreconfReceipt {
            rollup_id: ROLLUP,
            slot: SLOT,
            segment: 0,
            index: 1,
            tx_hash: hashes[1],
            path: tree.path(1).unwrap(),
            commitment: SignedCommitment::sign(commitment, &committer, &NETWORK).unwrap(),
            authority: Arc::new(authority),
        };
        (receipt, TrustRoots { network: NETWORK, relay: relay.address(), proposer: None, slasher: None })
    }

    fn refused(report: &Report) -> Option<&str> {
        let line = report.text.lines().find(|line| line.split_whitespace().nth(1) == Some("NO"))?;
        line.split_whitespace().next()
    }

    #[test]
    fn a_good_receipt_holds_and_every_check_is_said() {
        let (receipt, roots) = receipt();
        let roots = TrustRoots { slasher: Some(Address::ZERO), ..roots };
        let report = report(&receipt, &roots, Some(receipt.tx_hash));
        assert_eq!(report.outcome, Outcome::Holds, "{}", report.text);
        assert_eq!(refused(&report), None);
        for check in CHECKS {
            assert!(
                report.text.lines().any(|line| line.starts_with(check) && line.contains(" ok ")),
                "{check}"
            );
        }
        assert!(report.text.contains("not shown"), "{}", report.text);
    }

    #[test]
    fn a_damaged_receipt_fails_at_the_check_that_sees_it() {
        type Damage = fn(&mut PreconfReceipt, &mut TrustRoots);
        let table: [(&str, Damage); 8] = [
            ("place", |receipt, _| receipt.index = 9),
            ("place", |receipt, _| receipt.slot = Slot(8)),
            ("path", |receipt, _| receipt.index = 2),
            ("path", |receipt, _| receipt.tx_hash = B256::ZERO),
            ("delegation", |_, roots| roots.proposer = Some(BlsPublicKey::ZERO)),
            ("relay", |_, roots| roots.relay = Address::ZERO),
            ("relay", |receipt, _| {
                Arc::make_mut(&mut receipt.authority).receipt.message.received_at_ms = 900;
            }),
            ("committer", |receipt, _| receipt.commitment.nonce = 1),
        ];
        for (check, damage) in table {
            let (mut receipt, mut roots) = receipt();
            damage(&mut receipt, &mut roots);
            let report = report(&receipt, &roots, None);
            assert_eq!(report.outcome, Outcome::Broken);
            assert_eq!(refused(&report), Some(check), "{}", report.text);
        }
        let (receipt, roots) = receipt();
        assert_eq!(refused(&report(&receipt, &roots, Some(B256::ZERO))), Some("transaction"));
        let other = TrustRoots { slasher: Some(Address::repeat_byte(1)), ..roots };
        let elsewhere = report(&receipt, &other, None);
        assert_eq!((elsewhere.outcome, refused(&elsewhere)), (Outcome::Broken, Some("slasher")));
        assert!(report(&receipt, &roots, None).text.contains("--slasher"));
    }

    #[test]
    fn networks_by_name_and_by_number() {
        let network = |text: &str| text.parse::<NetworkArg>().map(|network| network.0);
        assert_eq!(network("mainnet").unwrap().chain_id, 1);
        assert_eq!(network("0x10000910:560048"), network("hoodi"),);
        for bad in ["", "main", "0x10:1", "0x10000910", "0x10000910:x", "10000910x:1"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }
}
