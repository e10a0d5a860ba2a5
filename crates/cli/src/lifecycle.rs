//! `earnest proposer register | opt-in | deposit | status | unregister | opt-out | claim | withdraw`: an operator's life on L1.
//!
//! Each command reads what L1 says, plans what is left to do, shows it with its gas, sends one transaction after the other, and says what
//! became of each. Run again after anything, it says what is done and does the rest; `outbox` keeps what was sent.

mod deposit;
mod index;
mod leave;
mod opt_in;
mod outbox;
mod register;
mod sender;
mod settings;
mod status;

use std::process::ExitCode;

use clap::Subcommand;

use crate::failure::Failure;

/// What an operator does on L1.
#[derive(Debug, Subcommand)]
pub(crate) enum LifecycleCommand {
    /// Register validator keys with collateral: each key signs its consent. Writes a registration file that later commands need.
    Register(register::RegisterArgs),
    /// Opt in to the slasher with the gateway's committer, and name the market relay.
    OptIn(opt_in::OptInArgs),
    /// Pay in: escrow for bids, or more collateral.
    Deposit(deposit::DepositArgs),
    /// What L1 says of our operators, and whether their validators count.
    Status(status::StatusArgs),
    /// Start to leave. The collateral can be claimed after the Registry's delay.
    Unregister(leave::LeaveArgs),
    /// Opt out of the slasher, to come back with another committer.
    OptOut(leave::LeaveArgs),
    /// Take out what is ours by now: the collateral after unregistering, proposer shares, credits.
    Claim(leave::LeaveArgs),
    /// Take escrow out: asks for it, and, run again once it is ready, takes it.
    Withdraw(deposit::WithdrawArgs),
}

pub(crate) async fn run(command: LifecycleCommand) -> Result<ExitCode, Failure> {
    match command {
        LifecycleCommand::Register(args) => register::run(args).await?,
        LifecycleCommand::OptIn(args) => opt_in::run(args).await?,
        LifecycleCommand::Deposit(args) => deposit::run(args).await?,
        LifecycleCommand::Status(args) => return status::run(args).await,
        LifecycleCommand::Unregister(args) => leave::unregister(args).await?,
        LifecycleCommand::OptOut(args) => leave::opt_out(args).await?,
        LifecycleCommand::Claim(args) => leave::claim(args).await?,
        LifecycleCommand::Withdraw(args) => deposit::withdraw(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}
