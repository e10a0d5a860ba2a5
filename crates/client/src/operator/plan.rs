//! From what L1 says and what an operator wants to what is still to do. Pure: run again after any of the acts, a plan leaves it
//! out and says so.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, U256};
use earnest_chain::registry::State;
use earnest_protocol::BlsPublicKey;

use super::{
    act::Act,
    amount::ether,
    standing::{Registered, Standing, Withdrawal},
    when::{ahead, utc},
};

/// Most keys that one transaction registers: pools refuse transactions above 128 KiB, and a key takes 416 bytes.
pub const MAX_BATCH: usize = 256;

/// What is done already, in sentences, and what is to do, in order. No act stands on another.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// What is done already.
    pub done: Vec<String>,
    /// What is to do.
    pub acts: Vec<Act>,
}

impl Plan {
    fn done(said: impl Into<String>) -> Self {
        Self { done: vec![said.into()], acts: Vec::new() }
    }

    fn act(act: Act) -> Self {
        Self { done: Vec::new(), acts: vec![act] }
    }
}

/// Why a wish is not granted: what the contract would refuse, or what would be of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody registered the root.
    #[error("nobody registered {0}: register first, or check the root")]
    NotRegistered(B256),
    /// The collateral was claimed.
    #[error("the collateral of {0} was claimed, which ends the operator: register again")]
    Ended(B256),
    /// The operator is another's.
    #[error("the operator's owner is {owner}, and the account is {account}: give the owner's key")]
    NotOwner {
        /// Whose it is.
        owner: Address,
        /// The account.
        account: Address,
    },
    /// It is on its way out.
    #[error("the operator unregistered at {}: it cannot opt in any more; register again", utc(*.0))]
    Unregistered(u64),
    /// It was slashed.
    #[error(
        "the operator was slashed at {}: it does not count any more; what is left of the collateral can be claimed from {}",
        utc(*at), ahead(*until, *now)
    )]
    Slashed {
        /// When.
        at: u64,
        /// The end of the slash window.
        until: u64,
        /// The time now.
        now: u64,
    },
    /// It is not time yet.
    #[error("{what} from {} on: run this again then", ahead(*from, *now))]
    TooEarly {
        /// What becomes possible.
        what: &'static str,
        /// From when.
        from: u64,
        /// The time now.
        now: u64,
    },
    /// The opt-in stands, with another committer.
    #[error("the operator has opted in with committer {0}: to change it, opt out, wait, and opt in again")]
    OtherCommitter(Address),
    /// The committer is another operator's.
    #[error("committer {committer} is, or was, that of operator {root}: take a fresh key for this operator")]
    CommitterInUse {
        /// The committer.
        committer: Address,
        /// Whose it is.
        root: B256,
    },
    /// An address is missing.
    #[error("{0} is the zero address: name one")]
    Zero(&'static str),
    /// The collateral does not count.
    #[error("the collateral is {}, and operators with less than {} do not count: deposit --collateral first", ether(*has), ether(*least))]
    TooLittle {
        /// What there is, wei.
        has: U256,
        /// What there must be, wei.
        least: U256,
    },
    /// The collateral has a limit.
    #[error("the collateral would be more than 80 bits of wei: give less")]
    TooMuch,
    /// Nothing is nothing.
    #[error("the amount is zero")]
    ZeroAmount,
    /// Nothing is left to add to.
    #[error("the operator has no collateral left, and takes none: register again")]
    NoCollateral,
    /// It must leave first.
    #[error("the operator is registered: unregister it, and claim {} later", super::when::span(*.0))]
    NotUnregistered(u64),
    /// An accusation is open.
    #[error("an accusation is open, and locks the collateral until {} at the latest: answer it", ahead(*until, *now))]
    Locked {
        /// Until when.
        until: u64,
        /// The time now.
        now: u64,
    },
    /// More was asked than there is.
    #[error("the escrow holds {}: ask for no more", ether(*.0))]
    EscrowTooLow(U256),
    /// Keys are another's.
    #[error("{}", taken(.0))]
    Taken(Vec<Taken>),
}

/// A key that is registered elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The key.
    pub key: BlsPublicKey,
    /// The operator.
    pub root: B256,
    /// Its owner.
    pub owner: Address,
}

fn taken(keys: &[Taken]) -> String {
    let mut said = format!("{} keys are registered with another owner:", keys.len());
    for Taken { key, root, owner } in keys {
        said.push_str(&format!("\n  {key} in {root} of {owner}"));
    }
    said.push_str("\nleave them out by --pubkeys, or have that owner unregister");
    said
}

/// What an operator wants of an opt-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptInWish {
    /// Who signs the commitments.
    pub committer: Address,
    /// The operator that ever used the committer.
    pub user: Option<B256>,
    /// The market relay to name, if any.
    pub relay: Option<Address>,
}

/// The operator, if it is there and the account's.
fn owned(standing: &Standing, account: Address) -> Result<Registered, Refusal> {
    let operator = registered(standing)?;
    if operator.owner != account {
        return Err(Refusal::NotOwner { owner: operator.owner, account });
    }
    Ok(operator)
}

fn registered(standing: &Standing) -> Result<Registered, Refusal> {
    let operator = standing.registered.ok_or(Refusal::NotRegistered(standing.root))?;
    if operator.deleted { Err(Refusal::Ended(standing.root)) } else { Ok(operator) }
}

fn slashed(standing: &Standing, at: u64) -> Refusal {
    let until = at.saturating_add(standing.terms.slash_window);
    Refusal::Slashed { at, until, now: standing.now }
}

/// Opting in to the slasher, and naming the market relay.
///
/// # Errors
/// [`Refusal`].
pub fn opt_in(standing: &Standing, account: Address, wish: &OptInWish) -> Result<Plan, Refusal> {
    let Standing { now, terms, root, .. } = *standing;
    let operator = owned(standing, account)?;
    if let Some(at) = operator.unregistered_at {
        return Err(Refusal::Unregistered(at));
    }
    if let Some(at) = operator.slashed_at {
        return Err(slashed(standing, at));
    }
    let mut plan = Plan::default();
    match standing.opt_in {
        Some(opt_in) if opt_in.slashed => return Err(slashed(standing, opt_in.at)),
        Some(opt_in) if opt_in.out_at.is_none() => {
            if opt_in.committer != wish.committer {
                return Err(Refusal::OtherCommitter(opt_in.committer));
            }
            let at = utc(opt_in.at);
            plan.done.push(format!("opted in to the slasher with committer {} at {at}", opt_in.committer));
        }
        before => {
            let too_early = |what, from| Refusal::TooEarly { what, from, now };
            let from = operator.at.saturating_add(terms.fraud_window);
            if now < from {
                return Err(too_early("the fraud proof window is over, and the operator can opt in,", from));
            }
            if let Some(out_at) = before.and_then(|opt_in| opt_in.out_at) {
                let from = out_at.saturating_add(terms.opt_in_delay);
                if now < from {
                    return Err(too_early("an operator that opted out can opt in again", from));
                }
            }
            if wish.committer.is_zero() {
                return Err(Refusal::Zero("the committer"));
            }
            if let Some(user) = wish.user.filter(|user| *user != root) {
                return Err(Refusal::CommitterInUse { committer: wish.committer, root: user });
            }
            if operator.collateral < terms.min_collateral {
                return Err(Refusal::TooLittle { has: operator.collateral, least: terms.min_collateral });
            }
            plan.acts.push(Act::OptIn { root, committer: wish.committer });
        }
    }
    if let Some(relay) = wish.relay {
        if standing.relay.unwrap_or_default() == relay {
            plan.done.push(format!("market relay {relay} named"));
        } else {
            plan.acts.push(Act::NameRelay { root, relay });
        }
    }
    Ok(plan)
}

/// Opting out of the slasher.
///
/// # Errors
/// [`Refusal`].
pub fn opt_out(standing: &Standing, account: Address) -> Result<Plan, Refusal> {
    owned(standing, account)?;
    let Some(opt_in) = standing.opt_in else { return Ok(Plan::done("never opted in to the slasher")) };
    if let Some(at) = opt_in.out_at {
        return Ok(Plan::done(format!("opted out of the slasher at {}", utc(at))));
    }
    let from = opt_in.at.saturating_add(standing.terms.opt_in_delay);
    if standing.now < from {
        return Err(Refusal::TooEarly { what: "the operator can opt out", from, now: standing.now });
    }
    Ok(Plan::act(Act::OptOut { root: standing.root }))
}

/// Adding to the collateral.
///
/// # Errors
/// [`Refusal`].
pub fn add_collateral(standing: &Standing, amount: U256) -> Result<Plan, Refusal> {
    let operator = registered(standing)?;
    if operator.collateral.is_zero() {
        return Err(Refusal::NoCollateral);
    }
    if amount.is_zero() {
        return Err(Refusal::ZeroAmount);
    }
    within(operator.collateral.saturating_add(amount))?;
    Ok(Plan::act(Act::AddCollateral { root: standing.root, amount }))
}

/// Adding to what an account can bid with.
///
/// # Errors
/// [`Refusal`].
pub fn deposit(account: Address, relay: Address, amount: U256) -> Result<Plan, Refusal> {
    if amount.is_zero() {
        return Err(Refusal::ZeroAmount);
    }
    if account.is_zero() {
        return Err(Refusal::Zero("the account"));
    }
    if relay.is_zero() {
        return Err(Refusal::Zero("the relay"));
    }
    Ok(Plan::act(Act::Deposit { account, relay, amount }))
}

/// Whether the Registry takes an amount as collateral.
///
/// # Errors
/// [`Refusal::TooMuch`].
pub fn within(collateral: U256) -> Result<(), Refusal> {
    if collateral.bit_len() > 80 { Err(Refusal::TooMuch) } else { Ok(()) }
}

/// Starting to leave.
///
/// # Errors
/// [`Refusal`].
pub fn unregister(standing: &Standing, account: Address) -> Result<Plan, Refusal> {
    let operator = standing.registered.ok_or(Refusal::NotRegistered(standing.root))?;
    if operator.deleted {
        return Ok(Plan::done("unregistered, and the collateral was claimed"));
    }
    owned(standing, account)?;
    if let Some(at) = operator.unregistered_at {
        return Ok(Plan::done(format!("unregistered at {}", utc(at))));
    }
    if let Some(at) = operator.slashed_at {
        return Err(slashed(standing, at));
    }
    Ok(Plan::act(Act::Unregister { root: standing.root }))
}

/// From when the collateral can be claimed, by what is known now; none if the operator has neither unregistered nor was slashed.
#[must_use]
pub fn claimable_from(standing: &Standing) -> Option<u64> {
    let operator = standing.registered.filter(|operator| !operator.deleted)?;
    match (operator.slashed_at, operator.unregistered_at) {
        (Some(at), _) => Some(at.saturating_add(standing.terms.slash_window)),
        (None, Some(at)) => Some(at.saturating_add(standing.terms.unregistration_delay)),
        (None, None) => None,
    }
}

/// Until when the slasher may slash the operator, by what is known now and without locks; none if nothing ends it yet, or
/// nothing began it.
#[must_use]
pub fn liable_until(standing: &Standing) -> Option<u64> {
    let operator = standing.registered.filter(|operator| !operator.deleted)?;
    let opt_in = standing.opt_in?;
    let ends = [
        operator.unregistered_at.map(|at| at.saturating_add(standing.terms.unregistration_delay)),
        operator.slashed_at.map(|at| at.saturating_add(standing.terms.slash_window)),
        opt_in.out_at.map(|at| at.saturating_add(standing.terms.slash_window)),
    ];
    ends.into_iter().flatten().min()
}

/// Taking the collateral out. `locked_until` is of open accusations.
///
/// # Errors
/// [`Refusal`].
pub fn claim_collateral(standing: &Standing, locked_until: Option<u64>) -> Result<Plan, Refusal> {
    let Standing { now, terms, root, .. } = *standing;
    let operator = standing.registered.ok_or(Refusal::NotRegistered(root))?;
    if operator.deleted {
        return Ok(Plan::done("the collateral was claimed"));
    }
    let from = claimable_from(standing).ok_or(Refusal::NotUnregistered(terms.unregistration_delay))?;
    if now < from {
        return Err(Refusal::TooEarly { what: "the collateral can be claimed", from, now });
    }
    if let Some(until) = locked_until.filter(|until| now < *until) {
        return Err(Refusal::Locked { until, now });
    }
    Ok(Plan::act(Act::ClaimCollateral { root, slashed: operator.slashed_at.is_some() }))
}

/// Taking escrow out: asking for it, and once it is ready taking it. Without an amount all of it; zero takes the request back.
///
/// # Errors
/// [`Refusal`].
pub fn withdraw(
    relay: Address,
    escrow: U256,
    asked: Option<Withdrawal>,
    amount: Option<U256>,
    now: u64,
) -> Result<Plan, Refusal> {
    let wanted = amount.unwrap_or(escrow);
    match asked {
        Some(asked) if amount.is_none_or(|amount| amount == asked.amount) => {
            if asked.ready_at <= now {
                return Ok(Plan::act(Act::Withdraw { relay }));
            }
            let (amount, from) = (ether(asked.amount), ahead(asked.ready_at, now));
            Ok(Plan::done(format!(
                "{amount} were asked for, and can be taken from {from}: run this again then"
            )))
        }
        None if wanted.is_zero() => Ok(Plan::done("there is nothing in escrow that could be asked for")),
        _ if wanted > escrow => Err(Refusal::EscrowTooLow(escrow)),
        _ => Ok(Plan::act(Act::RequestWithdrawal { relay, amount: wanted })),
    }
}

/// Keys to register, by what is registered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sorted {
    /// Those that are registered with this owner already, and where.
    pub registered: Vec<(BlsPublicKey, B256)>,
    /// The others, sorted.
    pub fresh: Vec<BlsPublicKey>,
}

/// Which of the keys are to be registered.
///
/// # Errors
/// [`Refusal::Taken`] if another owner has some of them.
pub fn sort_keys(
    keys: impl IntoIterator<Item = BlsPublicKey>,
    owner: Address,
    state: &State,
) -> Result<Sorted, Refusal> {
    let wanted: BTreeSet<BlsPublicKey> = keys.into_iter().collect();
    let (mut ours, mut others) = (BTreeMap::new(), BTreeMap::new());
    let counting = state.operators().filter(|(_, operator)| {
        operator.unregistered_at.is_none() && operator.slashed_at.is_none() && !operator.collateral.is_zero()
    });
    for (root, operator) in counting {
        for key in operator.keys.iter().filter(|key| wanted.contains(*key)) {
            if operator.owner == owner {
                ours.insert(*key, *root);
            } else {
                others.insert(*key, Taken { key: *key, root: *root, owner: operator.owner });
            }
        }
    }
    others.retain(|key, _| !ours.contains_key(key));
    if !others.is_empty() {
        return Err(Refusal::Taken(others.into_values().collect()));
    }
    let fresh = wanted.into_iter().filter(|key| !ours.contains_key(key)).collect();
    Ok(Sorted { registered: ours.into_iter().collect(), fresh })
}

#[cfg(test)]
mod tests;
