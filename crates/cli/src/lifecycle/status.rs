//! `earnest proposer status`.

mod report;
mod text;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, B256, U256};
use clap::Args;
use earnest_client::operator::Standing;
use earnest_client::operator::standing::Reader;
use earnest_protocol::objects::pubkey_to_sol;
use earnest_protocol::{BlsPublicKey, Wei};
use futures::{StreamExt, TryStreamExt, stream};

use crate::failure::Failure;
use crate::role::cause;
use crate::verify::BROKEN;

use super::index;
use super::leave::AT_ONCE;
use super::settings::{Common, Settings};

pub(super) use report::counts_from;
use report::{Beside, Credits, Wanted, bidding, operator, report};
use text::shown;

/// Options of `earnest proposer status`.
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 operational, 3 not, 1 it cannot be told.")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    common: Common,
    /// Registration roots, comma separated, beside `[market]`'s, those of the files in the folder, and those of their owners.
    #[arg(long, value_delimiter = ',')]
    root: Vec<B256>,
    /// The owner, where no root is known. Default: `[gateway]`'s `account`.
    #[arg(long)]
    owner: Option<Address>,
    /// ECDSA address of the market relay. Default: `[gateway]`'s `relay_address`, where there is a `[market]`.
    #[arg(long)]
    relay_address: Option<Address>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    /// Seconds to read the Registry's history.
    #[arg(long, default_value_t = 300)]
    limit: u64,
}

pub(crate) async fn run(args: StatusArgs) -> Result<ExitCode, Failure> {
    let settings = Settings::read(&args.common)?;
    settings.reader().await?;
    // All the rest is asked at a block that the history holds.
    let state = index::state(&settings, Duration::from_secs(args.limit)).await?;
    let reader = settings.reader().await?;
    let records = settings.records()?;

    let mut roots: BTreeSet<B256> = args.root.iter().copied().collect();
    roots.extend(settings.configured_root());
    roots.extend(records.iter().map(|record| record.registration_root));
    let account = settings.config.gateway.as_ref().map(|gateway| gateway.account);
    let mut owners: BTreeSet<Address> = args.owner.or(account).into_iter().collect();
    owners.extend(records.iter().map(|record| record.owner));
    owners.extend(roots.iter().filter_map(|root| Some(state.operator(root)?.owner)));
    owners.remove(&Address::ZERO);
    roots.extend(
        state.operators().filter(|(_, operator)| owners.contains(&operator.owner)).map(|(root, _)| *root),
    );
    if roots.is_empty() {
        return Err(Failure::new(format!(
            "no operator is known: there is no registration in {}, and no root in [market]; give --root or --owner",
            settings.folder.display()
        )));
    }

    let clock = match settings.clock().await {
        Ok(clock) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            Some((clock, clock.slot_at(now).map_or(0, |slot| clock.epoch_of(slot))))
        }
        Err(error) => {
            eprintln!("epochs are left out, for no beacon node answers: {error}");
            None
        }
    };
    let relay = settings.relay(args.relay_address);
    let wanted = Wanted {
        committer: settings.config.gateway.as_ref().map(|gateway| gateway.committer),
        relay,
        optin_delay: settings.registry.optin_delay,
        clock,
    };
    let mut operators = Vec::new();
    for root in roots {
        let standing = reader.standing(root).await.map_err(cause)?;
        let keys = state.operator(&root).map(|operator| operator.keys.to_vec()).unwrap_or_default();
        let beside = beside(&settings, &reader, &standing, &keys).await?;
        let has_file = records.iter().any(|record| record.registration_root == root);
        operators.push(operator(&standing, &Beside { has_file, ..beside }, &wanted));
    }
    let mut credits = Vec::new();
    for owner in &owners {
        let (market, registry) = reader.credits(*owner).await.map_err(cause)?;
        credits.push(Credits {
            owner: *owner,
            market_credit_wei: Wei(market),
            registry_credit_wei: Wei(registry),
        });
    }
    let account = operators
        .iter()
        .find(|operator| operator.operational)
        .or(operators.first())
        .and_then(|operator| operator.owner);
    let bidding = match (relay, account) {
        (Some(relay), Some(account)) => {
            let escrow = reader.escrow(account, relay).await.map_err(cause)?;
            Some(bidding(account, relay, escrow))
        }
        _ => None,
    };
    let report = report((reader.number(), reader.now()), operators, bidding, credits);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).map_err(cause)?);
    } else {
        print!("{}", shown(&report));
    }
    Ok(if report.operational { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) })
}

async fn beside(
    settings: &Settings,
    reader: &Reader<'_>,
    standing: &Standing,
    keys: &[BlsPublicKey],
) -> Result<Beside, Failure> {
    let points: Vec<_> = keys.iter().filter_map(|key| pubkey_to_sol(key).ok()).collect();
    let shares: Vec<U256> = stream::iter(&points)
        .map(|point| reader.share(point))
        .buffered(AT_ONCE)
        .try_collect()
        .await
        .map_err(cause)?;
    let (from, range) = (settings.registry.from_block, settings.registry.logs_range);
    // Only who opted in can be accused.
    let locked_until = match standing.opt_in {
        Some(_) => reader.locked_until(standing.root, from, range).await.map_err(cause)?,
        None => None,
    };
    let shares = shares.into_iter().fold(U256::ZERO, U256::saturating_add);
    Ok(Beside { keys_signed: keys.len(), shares, locked_until, has_file: false })
}
