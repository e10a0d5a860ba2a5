//! The rules of pending transactions, without clock or network: readings of accounts, and what is pending on top.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, U256};
use earnest_protocol::tx::ValidatedTx;

use super::StateError;

/// How long a reading of an account serves before the rollup is asked again.
const FRESH: Duration = Duration::from_secs(2);
/// How long a transaction that got its place counts while the rollup's nonce does not pass it.
pub(super) const KEPT: Duration = Duration::from_secs(600);
/// Accounts remembered at most.
const ACCOUNTS: usize = 100_000;
/// Pending transactions of one account at most.
const PENDING: usize = 16_384;
/// How often forgotten accounts are looked for when there is no room.
const SWEEP: Duration = Duration::from_secs(1);

/// What the rollup said of an account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) nonce: u64,
    pub(super) balance: U256,
    /// When it was asked.
    pub(super) at: Instant,
}

#[derive(Debug)]
struct Pending {
    hash: B256,
    cost: U256,
    /// Requests that are under way with this transaction.
    holders: usize,
    /// When it got its place.
    kept: Option<Instant>,
}

#[derive(Debug, Default)]
struct Account {
    reading: Option<Reading>,
    /// What was accepted and the rollup has not executed, by nonce.
    pending: BTreeMap<u64, Pending>,
    /// Sum of the costs in `pending`.
    committed: U256,
}

impl Account {
    /// The first nonce at or after the rollup's that nothing pending has.
    fn next(&self, nonce: u64) -> u64 {
        let Some((&last, _)) = self.pending.last_key_value() else { return nonce };
        let whole = usize::try_from(last.saturating_sub(nonce)).is_ok_and(|gap| gap < self.pending.len());
        if whole && self.pending.first_key_value().is_some_and(|(&first, _)| first == nonce) {
            return last.saturating_add(1);
        }
        let mut next = nonce;
        for &pending in self.pending.range(nonce..).map(|(pending, _)| pending) {
            if pending != next {
                break;
            }
            next = next.saturating_add(1);
        }
        next
    }

    /// Forgets what the rollup has executed, and what it never did.
    fn expire(&mut self, now: Instant) {
        let nonce = self.reading.map_or(0, |reading| reading.nonce);
        self.pending.retain(|&pending, entry| {
            let old = entry.kept.is_some_and(|kept| now.saturating_duration_since(kept) >= KEPT);
            pending >= nonce && (entry.holders > 0 || !old)
        });
        self.committed = self.pending.values().fold(U256::ZERO, |sum, entry| sum.saturating_add(entry.cost));
    }

    fn remove(&mut self, nonce: u64) {
        if let Some(entry) = self.pending.remove(&nonce) {
            self.committed = self.committed.saturating_sub(entry.cost);
        }
    }

    fn insert(&mut self, nonce: u64, entry: Pending) {
        self.committed = self.committed.saturating_add(entry.cost);
        self.pending.insert(nonce, entry);
    }
}

/// The accounts of one rollup.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    accounts: HashMap<Address, Account>,
    swept: Option<Instant>,
}

impl Accounts {
    /// Counts a transaction as pending. `None` when the account has to be read first.
    ///
    /// A transaction that another request is under way with passes along with that one.
    pub(super) fn reserve(&mut self, tx: &ValidatedTx, now: Instant) -> Option<Result<(), StateError>> {
        let account = self.accounts.get_mut(&tx.sender)?;
        if let Some(entry) = account.pending.get_mut(&tx.nonce)
            && entry.hash == tx.hash
        {
            if entry.kept.is_some() && entry.holders == 0 {
                return Some(Err(StateError::Placed { nonce: tx.nonce }));
            }
            entry.holders = entry.holders.saturating_add(1);
            return Some(Ok(()));
        }
        let reading = account.reading.filter(|reading| now.saturating_duration_since(reading.at) < FRESH)?;
        let next = account.next(reading.nonce);
        if tx.nonce != next {
            return Some(Err(StateError::Nonce { next, found: tx.nonce }));
        }
        if account.pending.len() >= PENDING {
            return Some(Err(StateError::Crowded));
        }
        let (cost, has) = (cost(tx), reading.balance.saturating_sub(account.committed));
        if cost > has {
            return Some(Err(StateError::Balance { has, cost }));
        }
        account.insert(tx.nonce, Pending { hash: tx.hash, cost, holders: 1, kept: None });
        Some(Ok(()))
    }

    /// Enters what the rollup said; what was counted meanwhile stays. An older reading than the known one is passed over.
    ///
    /// # Errors
    /// [`StateError::Crowded`] when there is no room for another account.
    pub(super) fn merge(
        &mut self,
        sender: Address,
        reading: Reading,
        now: Instant,
    ) -> Result<(), StateError> {
        if !self.accounts.contains_key(&sender) {
            self.make_room(now)?;
        }
        let account = self.accounts.entry(sender).or_default();
        if account.reading.is_none_or(|known| known.at <= reading.at) {
            account.reading = Some(reading);
        }
        account.expire(now);
        Ok(())
    }

    /// Ends one request's hold on a transaction; `placed` if it got its place. The last one that ends without a place
    /// frees the nonce.
    pub(super) fn end(&mut self, sender: &Address, nonce: u64, hash: &B256, placed: bool, now: Instant) {
        let Some(account) = self.accounts.get_mut(sender) else { return };
        let Some(entry) = account.pending.get_mut(&nonce).filter(|entry| entry.hash == *hash) else { return };
        entry.holders = entry.holders.saturating_sub(1);
        if placed {
            entry.kept = Some(now);
        }
        if entry.holders == 0 && entry.kept.is_none() {
            account.remove(nonce);
        }
    }

    /// Counts a transaction that got its place before a restart.
    pub(super) fn restore(&mut self, tx: &ValidatedTx, now: Instant) {
        if !self.accounts.contains_key(&tx.sender) && self.make_room(now).is_err() {
            return;
        }
        let account = self.accounts.entry(tx.sender).or_default();
        if account.pending.len() < PENDING {
            account.remove(tx.nonce);
            account.insert(tx.nonce, Pending { hash: tx.hash, cost: cost(tx), holders: 0, kept: Some(now) });
        }
    }

    fn make_room(&mut self, now: Instant) -> Result<(), StateError> {
        if self.accounts.len() < ACCOUNTS {
            return Ok(());
        }
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP) {
            self.swept = Some(now);
            self.accounts.retain(|_, account| {
                account.expire(now);
                !account.pending.is_empty()
            });
        }
        if self.accounts.len() < ACCOUNTS { Ok(()) } else { Err(StateError::Crowded) }
    }
}

/// Most that a transaction can take from its sender.
fn cost(tx: &ValidatedTx) -> U256 {
    U256::from(tx.gas_limit).saturating_mul(U256::from(tx.max_fee)).saturating_add(tx.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollup_state::tests::tx;

    fn read(nonce: u64, balance: u64, at: Instant) -> Reading {
        Reading { nonce, balance: U256::from(balance), at }
    }

    fn with(nonce: u64, balance: u64) -> (Accounts, Instant) {
        let (mut accounts, now) = (Accounts::default(), Instant::now());
        accounts.merge(Address::ZERO, read(nonce, balance, now), now).unwrap();
        (accounts, now)
    }

    fn end(accounts: &mut Accounts, tx: &ValidatedTx, placed: bool, now: Instant) {
        accounts.end(&tx.sender, tx.nonce, &tx.hash, placed, now);
    }

    #[test]
    fn what_is_pending_counts() {
        let (mut accounts, now) = with(4, 100);
        assert_eq!(accounts.reserve(&tx(4, 30), now), Some(Ok(())));
        assert_eq!(accounts.reserve(&tx(4, 0), now), Some(Err(StateError::Nonce { next: 5, found: 4 })));
        assert_eq!(accounts.reserve(&tx(6, 0), now), Some(Err(StateError::Nonce { next: 5, found: 6 })));
        let short = StateError::Balance { has: U256::from(50), cost: U256::from(51) };
        assert_eq!(accounts.reserve(&tx(5, 31), now), Some(Err(short)));
        assert_eq!(accounts.reserve(&tx(5, 30), now), Some(Ok(())));
    }

    #[test]
    fn a_release_frees_its_own_nonce_and_no_other() {
        let (mut accounts, now) = with(0, 1000);
        for nonce in 0..3 {
            assert_eq!(accounts.reserve(&tx(nonce, 1), now), Some(Ok(())));
        }
        end(&mut accounts, &tx(2, 1), true, now);
        end(&mut accounts, &tx(1, 1), false, now);
        assert_eq!(accounts.reserve(&tx(3, 1), now), Some(Err(StateError::Nonce { next: 1, found: 3 })));
        assert_eq!(accounts.reserve(&tx(1, 7), now), Some(Ok(())), "the nonce that was given back");
        assert_eq!(accounts.reserve(&tx(3, 1), now), Some(Ok(())));
    }

    #[test]
    fn a_reading_does_not_undo_what_was_counted_meanwhile() {
        let (mut accounts, now) = with(0, 100);
        assert_eq!(accounts.reserve(&tx(0, 10), now), Some(Ok(())));
        let later = now + FRESH;
        assert_eq!(accounts.reserve(&tx(1, 10), later), None, "to be read again");
        accounts.merge(Address::ZERO, read(0, 100, later), later).unwrap();
        accounts.merge(Address::ZERO, read(9, 0, now), later).unwrap();
        assert_eq!(accounts.reserve(&tx(0, 9), later), Some(Err(StateError::Nonce { next: 1, found: 0 })));
        let short = StateError::Balance { has: U256::from(70), cost: U256::from(71) };
        assert_eq!(accounts.reserve(&tx(1, 51), later), Some(Err(short)));
    }

    #[test]
    fn what_the_rollup_executed_no_longer_counts() {
        let (mut accounts, now) = with(0, 100);
        for nonce in 0..2 {
            assert_eq!(accounts.reserve(&tx(nonce, 10), now), Some(Ok(())));
            end(&mut accounts, &tx(nonce, 10), true, now);
        }
        accounts.merge(Address::ZERO, read(1, 70, now), now).unwrap();
        let short = StateError::Balance { has: U256::from(40), cost: U256::from(41) };
        assert_eq!(accounts.reserve(&tx(2, 21), now), Some(Err(short)));
        assert_eq!(accounts.reserve(&tx(2, 20), now), Some(Ok(())));
    }

    #[test]
    fn what_the_rollup_never_executes_is_forgotten() {
        let (mut accounts, now) = with(0, 100);
        assert_eq!(accounts.reserve(&tx(0, 10), now), Some(Ok(())));
        end(&mut accounts, &tx(0, 10), true, now);
        let later = now + KEPT;
        accounts.merge(Address::ZERO, read(0, 100, later), later).unwrap();
        assert_eq!(accounts.reserve(&tx(0, 80), later), Some(Ok(())));
    }

    #[test]
    fn the_same_transaction_passes_while_it_is_under_way() {
        let (mut accounts, now) = with(0, 30);
        assert_eq!(accounts.reserve(&tx(0, 10), now), Some(Ok(())));
        assert_eq!(accounts.reserve(&tx(0, 10), now), Some(Ok(())), "counted once");
        end(&mut accounts, &tx(0, 10), false, now);
        assert_eq!(accounts.reserve(&tx(0, 5), now), Some(Err(StateError::Nonce { next: 1, found: 0 })));
        end(&mut accounts, &tx(0, 10), true, now);
        assert_eq!(accounts.reserve(&tx(0, 10), now), Some(Err(StateError::Placed { nonce: 0 })));
    }

    #[test]
    fn a_restart_counts_what_was_placed() {
        let (mut accounts, now) = (Accounts::default(), Instant::now());
        accounts.restore(&tx(7, 10), now);
        accounts.restore(&tx(8, 10), now);
        assert_eq!(accounts.reserve(&tx(9, 1), now), None);
        accounts.merge(Address::ZERO, read(7, 100, now), now).unwrap();
        assert_eq!(accounts.reserve(&tx(7, 1), now), Some(Err(StateError::Nonce { next: 9, found: 7 })));
        assert_eq!(accounts.reserve(&tx(9, 20), now), Some(Ok(())));
    }

    #[test]
    fn an_account_holds_so_much_and_no_more() {
        let (mut accounts, now) = with(0, u64::MAX);
        for nonce in 0..PENDING as u64 {
            assert_eq!(accounts.reserve(&tx(nonce, 0), now), Some(Ok(())));
        }
        assert_eq!(accounts.reserve(&tx(PENDING as u64, 0), now), Some(Err(StateError::Crowded)));
    }
}
