//! `earnest market settle SLOT`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use alloy_primitives::Address;
use clap::Args;
use earnest_chain::ExecutionClient;
use earnest_client::{L1Account, Owed, SettlementDesk, owed};
use earnest_protocol::settlement::{Right, SettlementError};
use earnest_signer::KeyFile;
use url::Url;

use super::{client, failed as relay_failed, print};
use crate::failure::Failure;

/// Options of `earnest market settle`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 all that was won is paid, or with --dry-run would be; 1 something is not."
)]
pub(crate) struct SettleArgs {
    /// The slot.
    slot: u64,
    /// The relay's URL.
    #[arg(long)]
    relay: Url,
    /// Execution client of L1.
    #[arg(long)]
    rpc: Url,
    /// The OrderingMarket's address; else the relay's word.
    #[arg(long)]
    market: Option<Address>,
    /// Key of the account that pays the gas: a keystore, or a file with 32 bytes in hexadecimal. Not needed for a dry run.
    #[arg(long, required_unless_present = "dry_run")]
    key_file: Option<PathBuf>,
    /// The keystore's password file.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// Send nothing: say what would be paid.
    #[arg(long)]
    dry_run: bool,
    /// Seconds for each settlement to get into a block.
    #[arg(long, default_value_t = 300)]
    limit: u64,
}

pub(super) async fn run(args: SettleArgs) -> Result<ExitCode, Failure> {
    let relay = client(&args.relay)?;
    let record = relay.auction(args.slot).await.map_err(relay_failed)?;
    let authorities = relay.authorities(args.slot).await.map_err(relay_failed)?;
    let won = owed(&record, &authorities).map_err(|nothing| Failure::new(nothing.to_string()))?;
    let rpc = ExecutionClient::new(args.rpc.clone()).map_err(|error| failed(&error))?;
    let market = args.market.unwrap_or(record.market);
    let desk = SettlementDesk::open(rpc.clone(), market, record.network).await;
    let desk = desk.map_err(|error| failed(&error))?;
    let account = match args.key_file.clone().filter(|_| !args.dry_run) {
        None => None,
        Some(file) => {
            let key = KeyFile { file, password_file: args.password_file.clone() };
            let secret = key.ecdsa().map_err(|error| failed(&error))?;
            Some(L1Account::new(rpc, secret, record.network.chain_id))
        }
    };
    print(&format!("slot {}: {} winning bids\n", args.slot, won.len()))?;
    let mut paid = true;
    for bid in won {
        let (text, well) = settle(&desk, account.as_ref(), &bid, Duration::from_secs(args.limit)).await?;
        print(&text)?;
        paid &= well;
    }
    Ok(if paid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

/// What became of one bid, in lines, and whether it is paid.
async fn settle(
    desk: &SettlementDesk,
    account: Option<&L1Account>,
    owed: &Owed,
    limit: Duration,
) -> Result<(String, bool), Failure> {
    let bid = &owed.bid.message;
    let mut text = format!("bid {} of {}\n", owed.hash, bid.account);
    let foreseen = match desk.foresee(owed).await.map_err(|error| failed(&error))? {
        Ok(foreseen) => foreseen,
        Err(SettlementError::AlreadySettled(rollup)) => {
            line(&mut text, &format!("is settled: rollup {rollup} was paid for before"));
            return Ok((text, true));
        }
        Err(refused) => {
            line(&mut text, &format!("cannot be settled: {} ({refused})", refused.name()));
            return Ok((text, false));
        }
    };
    let escrow = desk.escrow(bid.account, bid.relay).await.map_err(|error| failed(&error))?;
    let Some(account) = account else {
        let gas = desk.gas(owed).await.map_err(|error| failed(&error))?;
        rights(&mut text, &foreseen.rights);
        let left = escrow.saturating_sub(foreseen.charged_wei);
        line(&mut text, &format!("would be settled with about {gas} gas; escrow {escrow} wei, then {left}"));
        return Ok((text, true));
    };
    let (settled, receipt) = desk.settle(account, owed, limit).await.map_err(|error| failed(&error))?;
    let left = desk.escrow(bid.account, bid.relay).await.map_err(|error| failed(&error))?;
    rights(&mut text, &settled.rights);
    let (gas, transaction) = (receipt.gas_used, receipt.transaction_hash);
    line(
        &mut text,
        &format!("settled with {gas} gas in transaction {transaction}; escrow {escrow} wei, now {left}"),
    );
    Ok((text, true))
}

fn line(text: &mut String, words: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "  {words}");
}

fn rights(text: &mut String, rights: &[Right]) {
    for right in rights {
        let Right { rollup_id, revenue_recipient, revenue_wei, proposer_wei, in_time } = right;
        let why = if *in_time { "its batches were in time" } else { "its batches were not in time" };
        line(
            text,
            &format!(
                "rollup {rollup_id}: {revenue_wei} wei to {revenue_recipient}, {proposer_wei} wei to the proposer: {why}"
            ),
        );
    }
}
