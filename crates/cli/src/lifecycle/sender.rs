//! Shows what is to be done with its gas, sends it, and says what became of it.

use std::time::Duration;

use alloy_primitives::{Address, U256};
use earnest_chain::ChainError;
use earnest_client::operator::{Act, Plan, ether, explain};
use earnest_client::{Call, Fees, L1Account, L1Error, LATEST, Receipt, gas_limit};

use crate::failure::Failure;
use crate::role::cause;

use super::outbox::{Outbox, Sent};
use super::settings::{Sending, Settings};

/// Sends an operator's transactions, and writes each down before.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    settings: &'a Settings,
    account: L1Account,
    outbox: Outbox,
    /// Of a command that was cut off, what got into blocks.
    earlier: Vec<Sent>,
    /// In a dry run, what is in no block yet.
    waiting: Vec<Sent>,
    limit: Duration,
    dry_run: bool,
}

/// What becomes of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it is done.
    Done,
    /// Nothing was sent, for nothing was to be.
    DryRun,
}

impl<'a> Sender<'a> {
    /// Loads the owner's key, and waits for what a command that was cut off has sent.
    pub(super) async fn open(settings: &'a Settings, sending: &Sending) -> Result<Self, Failure> {
        let secret = settings.owner_key(sending).await?;
        let chain_id = settings.config.network.chain_id;
        let address = secret.address();
        let account = L1Account::new(settings.client.clone(), secret, chain_id);
        let open = if sending.dry_run { Outbox::peek } else { Outbox::open };
        let outbox = open(&settings.folder, chain_id, address)?;
        let limit = Duration::from_secs(sending.limit);
        let (earlier, waiting) = (Vec::new(), Vec::new());
        let mut sender =
            Self { settings, account, outbox, earlier, waiting, limit, dry_run: sending.dry_run };
        sender.resolve().await?;
        Ok(sender)
    }

    /// The owner's account.
    pub(super) fn address(&self) -> Address {
        self.account.address()
    }

    /// Whether nothing is to be sent.
    pub(super) const fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// What became of the transactions of a command that was cut off. They are sent again, the very same or with a better offer
    /// for the same nonce, so that each is done once at most.
    async fn resolve(&mut self) -> Result<(), Failure> {
        for sent in self.outbox.sent().to_vec() {
            println!("an earlier run was cut off when it had sent: {}", sent.what);
            if self.dry_run {
                match self.receipt(&sent).await.map_err(cause)? {
                    Some(receipt) if receipt.status() => self.earlier.push(sent),
                    Some(_) => println!("   transaction {} came to nothing", sent.hash),
                    None => {
                        println!("   transaction {} is in no block; it would be sent again", sent.hash);
                        self.waiting.push(sent);
                    }
                }
                continue;
            }
            match self.land_again(sent.clone()).await? {
                Some(landed) => self.earlier.push(landed),
                None => {
                    println!("   transaction {} came to nothing", sent.hash);
                    self.outbox.remove(sent.hash)?;
                }
            }
        }
        Ok(())
    }

    async fn receipt(&self, sent: &Sent) -> Result<Option<Receipt>, ChainError> {
        for hash in sent.hashes() {
            if let Some(receipt) = self.account.client().receipt(hash).await? {
                return Ok(Some(receipt));
            }
        }
        Ok(None)
    }

    /// The transaction once it is in a block; none if it came to nothing.
    async fn land_again(&mut self, mut sent: Sent) -> Result<Option<Sent>, Failure> {
        let client = self.account.client().clone();
        let failed = |error: ChainError| Failure::new(in_flight(&sent, &error.into()));
        // In this order: what was mined in between has its receipt.
        let next = client.nonce(self.address(), LATEST).await.map_err(failed)?;
        if self.receipt(&sent).await.map_err(failed)?.is_none() {
            if next > sent.nonce {
                // Another transaction took its nonce.
                return Ok(None);
            }
            let failed = |error: L1Error| Failure::new(in_flight(&sent, &error));
            let fees = self.account.fees().await.map_err(failed)?;
            if sent.is_too_cheap(fees) {
                let dearer = sent.dearer(&self.account, fees).map_err(failed)?;
                println!(
                    "   the base fee is {} gwei by now: sent again with a better offer",
                    gwei(fees.base)
                );
                self.outbox.replace(dearer.clone())?;
                sent = dearer;
            }
            // A pool that has it says no; what matters is whether it gets into a block.
            match client.send_raw_transaction(&sent.raw).await {
                Ok(_) => {}
                Err(error @ ChainError::Rpc { .. }) => tracing::debug!(%error, "sent again"),
                Err(error) => return Err(Failure::new(in_flight(&sent, &error.into()))),
            }
        }
        match self.account.one_included(&sent.hashes(), self.limit).await {
            Ok(receipt) => {
                println!("   transaction {}", receipt.transaction_hash);
                report(&receipt);
                Ok(Some(sent))
            }
            Err(L1Error::Reverted(_)) => Ok(None),
            Err(error) => Err(Failure::new(in_flight(&sent, &error))),
        }
    }

    /// Shows a plan, and does it.
    pub(super) async fn perform(self, plan: Plan) -> Result<Outcome, Failure> {
        self.perform_after(plan, || Ok(())).await
    }

    /// Shows a plan, and does it. `prepare` comes before the first transaction, once it is known that nothing would be refused.
    pub(super) async fn perform_after(
        mut self,
        plan: Plan,
        prepare: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<Outcome, Failure> {
        for done in &plan.done {
            println!("done: {done}");
        }
        let mut steps = Vec::new();
        for act in &plan.acts {
            let call = act.call(&self.settings.contracts).map_err(cause)?;
            if let Some(place) = self.earlier.iter().position(|sent| sent.does(&call)) {
                let sent = self.earlier.remove(place);
                println!(
                    "done: {act}, by the run that was cut off (transaction {}); to do it once more, run this again",
                    sent.hash
                );
            } else if let Some(place) = self.waiting.iter().position(|sent| sent.does(&call)) {
                let sent = self.waiting.remove(place);
                println!("on its way: {act} (transaction {})", sent.hash);
            } else {
                steps.push((act, call));
            }
        }
        if steps.is_empty() {
            println!("nothing is left to do");
            self.outbox.clear()?;
            return Ok(if self.dry_run { Outcome::DryRun } else { Outcome::Done });
        }
        self.preview(&steps).await?;
        if self.dry_run {
            println!("dry run: nothing was sent");
            return Ok(Outcome::DryRun);
        }
        prepare()?;
        for (number, (act, call)) in (1_usize..).zip(&steps) {
            println!("{number}. {act}");
            self.send(act, call).await?;
        }
        self.outbox.clear()?;
        Ok(Outcome::Done)
    }

    /// Says what each step takes. Refuses what a contract would refuse, and what the account cannot pay.
    async fn preview(&self, steps: &[(&Act, Call)]) -> Result<(), Failure> {
        let fees = self.account.fees().await.map_err(|error| Failure::new(explain(&error)))?;
        let balance = self.account.client().balance(self.address(), LATEST).await;
        let balance = balance.map_err(cause)?;
        let paid = steps.iter().fold(U256::ZERO, |sum, (_, call)| sum.saturating_add(call.value));
        let poor = |needed: U256| {
            Failure::new(format!(
                "account {} has {}, and this takes up to {}: fund it first",
                self.address(),
                ether(balance),
                ether(needed)
            ))
        };
        // An estimate of what cannot be paid is refused without saying so by some nodes.
        if balance < paid {
            return Err(poor(paid));
        }
        println!("by account {} with {}:", self.address(), ether(balance));
        let mut needed = paid;
        for (number, (act, call)) in (1_usize..).zip(steps) {
            let gas = self.account.estimate(call).await;
            let gas = gas.map_err(|error| Failure::new(format!("{act}: {}", explain(&error))))?;
            let (now, most) = costs(gas, fees);
            needed = needed.saturating_add(most);
            println!("{number}. {act}");
            println!(
                "   about {gas} gas, {} at the base fee of {} gwei now, at most {}",
                rounded(now),
                gwei(fees.base),
                rounded(most)
            );
        }
        if balance < needed { Err(poor(needed)) } else { Ok(()) }
    }

    async fn send(&mut self, act: &Act, call: &Call) -> Result<(), Failure> {
        let failed = |error: L1Error| Failure::new(format!("{act}: {}", explain(&error)));
        let gas = gas_limit(self.account.estimate(call).await.map_err(failed)?);
        let nonce = self.account.nonce().await.map_err(failed)?;
        let fees = self.account.fees().await.map_err(failed)?;
        let signed = self.account.sign(call, nonce, gas, fees).map_err(failed)?;
        let sent = Sent::new(act.to_string(), call, &signed, gas, fees);
        self.outbox.add(sent.clone())?;
        if let Err(error) = self.account.client().send_raw_transaction(&signed.raw).await {
            // A node that says no has not got it. Of one that does not answer that is not known.
            if matches!(error, ChainError::Rpc { .. }) {
                self.outbox.remove(signed.hash)?;
                return Err(failed(error.into()));
            }
            return Err(Failure::new(in_flight(&sent, &error.into())));
        }
        println!("   transaction {}", signed.hash);
        match self.account.included(signed.hash, self.limit).await {
            Ok(receipt) => {
                report(&receipt);
                Ok(())
            }
            Err(error @ L1Error::Reverted(_)) => {
                self.outbox.remove(signed.hash)?;
                Err(Failure::new(format!("{act}: {error}: something changed before it; look at `status`")))
            }
            Err(error) => Err(Failure::new(in_flight(&sent, &error))),
        }
    }
}

fn in_flight(sent: &Sent, error: &L1Error) -> String {
    format!(
        "{}\n`{}` may still get into a block. Run the command again to go on waiting; nothing is sent twice.",
        explain(error),
        sent.what
    )
}

/// What gas costs at this base fee, and what a transaction of ours can cost at most, wei.
fn costs(gas: u64, fees: Fees) -> (U256, U256) {
    let cost = |gas: u64, price: u128| U256::from(gas).saturating_mul(U256::from(price));
    (cost(gas, fees.now()), cost(gas_limit(gas), fees.most))
}

/// An amount in ether, rounded up to the gwei.
fn rounded(wei: U256) -> String {
    const GWEI: u64 = 1_000_000_000;
    let gwei = U256::from(GWEI);
    ether(wei.div_ceil(gwei).saturating_mul(gwei))
}

fn gwei(wei: u128) -> String {
    let text = alloy_primitives::utils::format_units(wei, 9).unwrap_or_else(|_| wei.to_string());
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.to_owned()
}

fn report(receipt: &Receipt) {
    let fee = U256::from(receipt.gas_used).saturating_mul(U256::from(receipt.effective_gas_price));
    println!(
        "   in block {} with {} gas, for {}",
        receipt.block_number.unwrap_or_default(),
        receipt.gas_used,
        rounded(fee)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_of_this_base_fee_and_of_the_limit() {
        let fees = Fees::at(1_500_000_000);
        let (now, most) = costs(100_000, fees);
        assert_eq!(ether(now), "0.00025 ether");
        assert_eq!(most, U256::from(620_000_u64) * U256::from(4_000_000_000_u64));
        assert_eq!(rounded(U256::from(1_000_000_001_u64)), "0.000000002 ether");
        assert_eq!((gwei(1_500_000_000), gwei(7), gwei(0)), ("1.5".into(), "0.000000007".into(), "0".into()));
    }
}
