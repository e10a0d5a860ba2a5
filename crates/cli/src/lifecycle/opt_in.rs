//! `earnest proposer opt-in`.

use alloy_primitives::{Address, B256};
use clap::Args;
use earnest_client::operator::plan::{self, OptInWish};
use earnest_protocol::Epoch;

use crate::failure::Failure;
use crate::role::cause;

use super::sender::{Outcome, Sender};
use super::settings::{Sending, Settings};
use super::status::counts_from;

/// Options of `earnest proposer opt-in`.
#[derive(Debug, Args)]
pub(crate) struct OptInArgs {
    #[command(flatten)]
    sending: Sending,
    /// The operator's registration root. Default: `[market]`'s, or the only registration in the folder.
    #[arg(long)]
    root: Option<B256>,
    /// Who signs the operator's commitments: a key that no other operator ever named. Default: `[gateway]`'s `committer`.
    #[arg(long)]
    committer: Option<Address>,
    /// ECDSA address of the market relay to name; zero names none. Default: `[gateway]`'s `relay_address`, where there is a `[market]`.
    #[arg(long)]
    relay_address: Option<Address>,
}

pub(crate) async fn run(args: OptInArgs) -> Result<(), Failure> {
    let settings = Settings::read(&args.sending.common)?;
    settings.reader().await?;
    let root = settings.root(args.root)?;
    let gateway = settings.config.gateway.as_ref().map(|gateway| gateway.committer);
    let committer = args.committer.or(gateway).ok_or_else(|| {
        Failure::new("the committer is missing: give --committer, or [gateway] in the configuration")
    })?;
    let relay = settings.relay(args.relay_address);

    let sender = Sender::open(&settings, &args.sending).await?;
    let reader = settings.reader().await?;
    let standing = reader.standing(root).await.map_err(cause)?;
    let user = reader.user_of(committer).await.map_err(cause)?;
    let wish = OptInWish { committer, user, relay };
    let plan = plan::opt_in(&standing, sender.address(), &wish).map_err(cause)?;
    if sender.perform(plan).await? == Outcome::DryRun {
        return Ok(());
    }
    let standing = settings.reader().await?.standing(root).await.map_err(cause)?;
    let Some(opt_in) = standing.opt_in else { return Ok(()) };
    match settings.clock().await {
        Ok(clock) => {
            let Epoch(epoch) = counts_from(&clock, settings.registry.optin_delay, opt_in.at);
            println!("its validators count from epoch {epoch} on");
        }
        Err(error) => println!("from which epoch its validators count, a beacon node would say: {error}"),
    }
    Ok(())
}
