//! Nonce and balance of senders on a rollup, and what is pending on top.
//!
//! The rollup's state lags the order that this gateway signs. So an account's nonce and balance are read once when
//! it is first seen in a while, and what was accepted since is counted on top of them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, U256};
use earnest_chain::ExecutionClient;
use earnest_protocol::tx::ValidatedTx;
use parking_lot::Mutex;

/// How long a reading of an account serves before the rollup is asked again.
const FRESH: Duration = Duration::from_secs(2);
/// Accounts remembered at most; the stalest half is forgotten beyond.
const ACCOUNTS: usize = 100_000;

/// Why a transaction does not fit the sender's account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    #[error("the sender's next nonce is {next}, the transaction has {found}")]
    Nonce { next: u64, found: u64 },
    #[error("the sender has {has} wei beyond what is pending, the transaction may cost {cost}")]
    Balance { has: U256, cost: U256 },
    #[error("the rollup's execution client does not answer")]
    Unavailable,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    /// Next nonce, with what was accepted counted in.
    next: u64,
    /// Balance as read, less what was accepted since.
    free: U256,
    read: Instant,
}

/// The accounts of one rollup.
#[derive(Debug)]
pub(crate) struct RollupState {
    rpc: ExecutionClient,
    accounts: Mutex<HashMap<Address, Account>>,
}

impl RollupState {
    pub(crate) fn new(rpc: ExecutionClient) -> Self {
        Self { rpc, accounts: Mutex::default() }
    }

    /// Checks a transaction against its sender's account, and counts it as pending if it fits.
    ///
    /// # Errors
    /// [`StateError`].
    pub(crate) async fn check(&self, tx: &ValidatedTx) -> Result<(), StateError> {
        let known = self.accounts.lock().get(&tx.sender).copied();
        let account = match known {
            Some(account) if account.read.elapsed() < FRESH => account,
            stale => self.read(tx.sender, stale).await?,
        };
        let mut accounts = self.accounts.lock();
        make_room(&mut accounts);
        let account = accounts.entry(tx.sender).or_insert(account);
        *account = accept(*account, tx)?;
        Ok(())
    }

    /// Takes back what [`Self::check`] counted, for a transaction that got no place after all.
    pub(crate) fn release(&self, tx: &ValidatedTx) {
        if let Some(account) = self.accounts.lock().get_mut(&tx.sender)
            && account.next == tx.nonce.saturating_add(1)
        {
            account.next = tx.nonce;
            account.free = account.free.saturating_add(cost(tx));
        }
    }

    async fn read(&self, sender: Address, stale: Option<Account>) -> Result<Account, StateError> {
        let reading = tokio::try_join!(
            self.rpc.nonce(sender, BlockNumberOrTag::Latest),
            self.rpc.balance(sender, BlockNumberOrTag::Latest)
        );
        let (nonce, balance) = reading.map_err(|error| {
            tracing::warn!(%error, "the rollup's execution client does not answer");
            StateError::Unavailable
        })?;
        let read = Account { next: nonce, free: balance, read: Instant::now() };
        let account = match stale {
            // The rollup has not executed all that was accepted: what is pending still counts.
            Some(stale) if stale.next > nonce => Account { read: read.read, ..stale },
            _ => read,
        };
        self.accounts.lock().insert(sender, account);
        Ok(account)
    }
}

fn make_room(accounts: &mut HashMap<Address, Account>) {
    if accounts.len() >= ACCOUNTS {
        let mut times: Vec<Instant> = accounts.values().map(|account| account.read).collect();
        times.sort_unstable();
        if let Some(middle) = times.get(times.len() / 2).copied() {
            accounts.retain(|_, account| account.read > middle);
        }
    }
}

/// Most that a transaction can take from its sender.
fn cost(tx: &ValidatedTx) -> U256 {
    U256::from(tx.gas_limit).saturating_mul(U256::from(tx.max_fee)).saturating_add(tx.value)
}

fn accept(account: Account, tx: &ValidatedTx) -> Result<Account, StateError> {
    if tx.nonce != account.next {
        return Err(StateError::Nonce { next: account.next, found: tx.nonce });
    }
    let cost = cost(tx);
    let free = account.free.checked_sub(cost).ok_or(StateError::Balance { has: account.free, cost })?;
    Ok(Account { next: tx.nonce.saturating_add(1), free, ..account })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Bytes;

    fn tx(nonce: u64, value: u64) -> ValidatedTx {
        ValidatedTx {
            hash: Default::default(),
            sender: Address::ZERO,
            nonce,
            gas_limit: 10,
            max_fee: 2,
            max_priority_fee: 1,
            value: U256::from(value),
            raw: Bytes::new(),
        }
    }

    #[test]
    fn what_is_pending_counts() {
        let account = Account { next: 4, free: U256::from(100), read: Instant::now() };
        let account = accept(account, &tx(4, 30)).unwrap();
        assert_eq!((account.next, account.free), (5, U256::from(50)));
        assert_eq!(accept(account, &tx(4, 0)), Err(StateError::Nonce { next: 5, found: 4 }));
        assert_eq!(accept(account, &tx(6, 0)), Err(StateError::Nonce { next: 5, found: 6 }));
        let short = StateError::Balance { has: U256::from(50), cost: U256::from(51) };
        assert_eq!(accept(account, &tx(5, 31)), Err(short));
        assert_eq!(accept(account, &tx(5, 30)).unwrap().free, U256::ZERO);
    }

    impl PartialEq for Account {
        fn eq(&self, other: &Self) -> bool {
            (self.next, self.free) == (other.next, other.free)
        }
    }
}
