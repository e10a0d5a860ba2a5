//! `earnest proposer unregister | opt-out | claim`.

use alloy_primitives::B256;
use clap::Args;
use earnest_client::operator::plan::{self, claimable_from, liable_until};
use earnest_client::operator::standing::Reader;
use earnest_client::operator::when::{ahead, span};
use earnest_client::operator::{Act, Plan, Record, Refusal, Standing};
use futures::{StreamExt, TryStreamExt, stream};

use crate::failure::Failure;
use crate::role::cause;

use super::sender::{Outcome, Sender};
use super::settings::{Sending, Settings};

/// Questions to the execution client at once.
pub(super) const AT_ONCE: usize = 8;

/// Options of `earnest proposer unregister`, `opt-out` and `claim`.
#[derive(Debug, Args)]
pub(crate) struct LeaveArgs {
    #[command(flatten)]
    sending: Sending,
    /// The operator's registration root. Default: `[market]`'s, or the only registration in the folder.
    #[arg(long)]
    root: Option<B256>,
}

pub(crate) async fn unregister(args: LeaveArgs) -> Result<(), Failure> {
    let settings = Settings::read(&args.sending.common)?;
    settings.reader().await?;
    let root = settings.root(args.root)?;
    let sender = Sender::open(&settings, &args.sending).await?;
    let standing = settings.reader().await?.standing(root).await.map_err(cause)?;
    let plan = plan::unregister(&standing, sender.address()).map_err(cause)?;
    let delay = span(standing.terms.unregistration_delay);
    if sender.perform(plan).await? == Outcome::DryRun {
        println!("the collateral could be claimed, and the operator would be liable, {delay} after that");
        return Ok(());
    }
    let standing = settings.reader().await?.standing(root).await.map_err(cause)?;
    println!("{}", leaving(&standing));
    if let (Ok(clock), Some(at)) =
        (settings.clock().await, standing.registered.and_then(|operator| operator.unregistered_at))
    {
        let ended = clock.slot_at(at.saturating_mul(1_000)).map_or(0, |slot| clock.epoch_of(slot));
        let last = ended.saturating_add(settings.registry.optin_delay);
        println!("its validators count until the end of epoch {last}: keep the sidecar running until then");
    }
    println!("escrow is taken out by `withdraw`");
    Ok(())
}

/// From when the collateral is free, and until when the operator answers.
fn leaving(standing: &Standing) -> String {
    let now = standing.now;
    let Some(from) = claimable_from(standing) else {
        return "the collateral was claimed".to_owned();
    };
    let mut said = format!("the collateral can be claimed from {} on", ahead(from, now));
    if let Some(until) = liable_until(standing) {
        said.push_str(&format!(
            "; until {} the operator is liable for what its committer signed, longer if an accusation is open then",
            ahead(until, now)
        ));
    }
    said
}

pub(crate) async fn opt_out(args: LeaveArgs) -> Result<(), Failure> {
    let settings = Settings::read(&args.sending.common)?;
    settings.reader().await?;
    let root = settings.root(args.root)?;
    let sender = Sender::open(&settings, &args.sending).await?;
    let standing = settings.reader().await?.standing(root).await.map_err(cause)?;
    let plan = plan::opt_out(&standing, sender.address()).map_err(cause)?;
    if sender.perform(plan).await? == Outcome::DryRun {
        return Ok(());
    }
    let standing = settings.reader().await?.standing(root).await.map_err(cause)?;
    if let Some(until) = liable_until(&standing) {
        println!(
            "until {} the operator is liable for what its committer signed; it can opt in again {} after opting out",
            ahead(until, standing.now),
            span(standing.terms.opt_in_delay)
        );
    }
    Ok(())
}

pub(crate) async fn claim(args: LeaveArgs) -> Result<(), Failure> {
    let settings = Settings::read(&args.sending.common)?;
    settings.reader().await?;
    let root = settings.root(args.root)?;
    let sender = Sender::open(&settings, &args.sending).await?;
    let reader = settings.reader().await?;
    let standing = reader.standing(root).await.map_err(cause)?;
    let mut todo = shares(&settings, &reader, root).await?;
    let (market, registry) = reader.credits(sender.address()).await.map_err(cause)?;
    if !market.is_zero() {
        todo.acts.push(Act::ClaimMarketCredit { amount: market });
    }
    if !registry.is_zero() {
        todo.acts.push(Act::ClaimRegistryCredit { amount: registry });
    }
    let (from, range) = (settings.registry.from_block, settings.registry.logs_range);
    let locked = match claimable_from(&standing) {
        Some(_) => reader.locked_until(root, from, range).await.map_err(cause)?,
        None => None,
    };
    match plan::claim_collateral(&standing, locked) {
        Ok(plan) => {
            todo.done.extend(plan.done);
            todo.acts.extend(plan.acts);
        }
        // What is not yet due keeps nothing else back.
        Err(refusal) if todo.acts.is_empty() => return Err(cause(refusal)),
        Err(refusal @ Refusal::NotUnregistered(_)) => println!("the collateral stays: {refusal}"),
        Err(refusal) => println!("the collateral stays for now: {refusal}"),
    }
    sender.perform(todo).await?;
    Ok(())
}

/// The proposer shares of the operator's keys, each a claim with its proof.
async fn shares(settings: &Settings, reader: &Reader<'_>, root: B256) -> Result<Plan, Failure> {
    let records = settings.records()?;
    let mut todo = Plan::default();
    let Some(tree) = records.iter().find(|record| record.registration_root == root).and_then(Record::tree)
    else {
        println!(
            "proposer shares are left out: the registration file of {root} is not in {}",
            settings.folder.display()
        );
        return Ok(todo);
    };
    let amounts: Vec<_> = stream::iter(tree.registrations())
        .map(|registration| reader.share(&registration.pubkey))
        .buffered(AT_ONCE)
        .try_collect()
        .await
        .map_err(cause)?;
    for (index, amount) in amounts.into_iter().enumerate() {
        if amount.is_zero() {
            continue;
        }
        if let Some(proof) = tree.proof(index) {
            todo.acts.push(Act::ClaimShare { proof: Box::new(proof), amount });
        }
    }
    Ok(todo)
}
