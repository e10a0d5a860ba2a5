//! `earnest proposer deposit | withdraw`.

use alloy_primitives::{Address, B256};
use clap::Args;
use earnest_client::operator::when::span;
use earnest_client::operator::{Act, Amount, Plan, ether, plan};

use crate::failure::Failure;
use crate::role::cause;

use super::sender::{Outcome, Sender};
use super::settings::{Sending, Settings};

/// Options of `earnest proposer deposit`.
#[derive(Debug, Args)]
pub(crate) struct DepositArgs {
    #[command(flatten)]
    sending: Sending,
    /// Pay this into the escrow that bids stand on: `1ether`, or wei.
    #[arg(long, required_unless_present = "collateral")]
    escrow: Option<Amount>,
    /// Add this to the operator's collateral.
    #[arg(long)]
    collateral: Option<Amount>,
    /// The account that bids. Default: the owner's.
    #[arg(long, requires = "escrow")]
    account: Option<Address>,
    /// ECDSA address of the market relay. Default: `[gateway]`'s `relay_address`.
    #[arg(long, requires = "escrow")]
    relay_address: Option<Address>,
    /// The operator's registration root. Default: `[market]`'s, or the only registration in the folder.
    #[arg(long, requires = "collateral")]
    root: Option<B256>,
}

/// Options of `earnest proposer withdraw`.
#[derive(Debug, Args)]
pub(crate) struct WithdrawArgs {
    #[command(flatten)]
    sending: Sending,
    /// How much: `1ether`, or wei. Default: all of it. 0 takes the request back.
    #[arg(long)]
    amount: Option<Amount>,
    /// ECDSA address of the market relay. Default: `[gateway]`'s `relay_address`.
    #[arg(long)]
    relay_address: Option<Address>,
}

fn relay(settings: &Settings, option: Option<Address>) -> Result<Address, Failure> {
    let gateway = settings.config.gateway.as_ref().map(|gateway| gateway.relay_address);
    option.or(gateway).ok_or_else(|| {
        Failure::new("the market relay is missing: give --relay-address, or [gateway] in the configuration")
    })
}

pub(crate) async fn run(args: DepositArgs) -> Result<(), Failure> {
    let settings = Settings::read(&args.sending.common)?;
    settings.reader().await?;
    let root = args.collateral.map(|_| settings.root(args.root)).transpose()?;
    let relay = args.escrow.map(|_| relay(&settings, args.relay_address)).transpose()?;

    let sender = Sender::open(&settings, &args.sending).await?;
    let reader = settings.reader().await?;
    let account = args.account.unwrap_or(sender.address());
    let mut todo = Plan::default();
    if let (Some(amount), Some(relay)) = (args.escrow, relay) {
        todo.acts.extend(plan::deposit(account, relay, amount.0).map_err(cause)?.acts);
        let (escrow, _) = reader.escrow(account, relay).await.map_err(cause)?;
        println!("escrow of {account} at relay {relay}: {}", ether(escrow));
    }
    if let (Some(amount), Some(root)) = (args.collateral, root) {
        let standing = reader.standing(root).await.map_err(cause)?;
        todo.acts.extend(plan::add_collateral(&standing, amount.0).map_err(cause)?.acts);
        let collateral = standing.registered.map(|operator| operator.collateral).unwrap_or_default();
        println!("collateral of {root}: {}", ether(collateral));
    }
    if sender.perform(todo).await? == Outcome::DryRun {
        return Ok(());
    }
    let reader = settings.reader().await?;
    if let Some(relay) = relay {
        let (escrow, _) = reader.escrow(account, relay).await.map_err(cause)?;
        println!("escrow of {account} at relay {relay} now: {}", ether(escrow));
    }
    if let Some(root) = root {
        let standing = reader.standing(root).await.map_err(cause)?;
        let collateral = standing.registered.map(|operator| operator.collateral).unwrap_or_default();
        println!("collateral of {root} now: {}", ether(collateral));
    }
    Ok(())
}

pub(crate) async fn withdraw(args: WithdrawArgs) -> Result<(), Failure> {
    let settings = Settings::read(&args.sending.common)?;
    settings.reader().await?;
    let relay = relay(&settings, args.relay_address)?;
    let sender = Sender::open(&settings, &args.sending).await?;
    let reader = settings.reader().await?;
    let delay = reader
        .withdrawal_delay()
        .await
        .map_err(cause)?
        .ok_or_else(|| Failure::new("the OrderingMarket's address is missing: `market` in [registry]"))?;
    let (escrow, asked) = reader.escrow(sender.address(), relay).await.map_err(cause)?;
    println!("escrow of {} at relay {relay}: {}", sender.address(), ether(escrow));
    let amount = args.amount.map(|amount| amount.0);
    let plan = plan::withdraw(relay, escrow, asked, amount, reader.now()).map_err(cause)?;
    let asks =
        plan.acts.iter().any(|act| matches!(act, Act::RequestWithdrawal { amount, .. } if !amount.is_zero()));
    sender.perform(plan).await?;
    if asks {
        println!(
            "it can be taken {} after it was asked for, by this command again; until then won bids are paid of it, and no new bid stands on it",
            span(delay)
        );
    }
    Ok(())
}
