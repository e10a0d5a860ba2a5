//! What L1 says of an operator at one block.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rpc_types_eth::{
    BlockId, BlockNumberOrTag, Filter, TransactionInput, TransactionRequest, ValueOrArray,
};
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use earnest_bindings::{OrderingMarket, Registry};
use earnest_chain::{ChainError, ExecutionClient};
use earnest_protocol::sol;

use super::act::Contracts;

/// How long after the last lock the locks end by themselves, seconds: the Registry's `MAX_LOCK`.
const MAX_LOCK: u64 = 30 * 24 * 3_600;

/// How the Registry works, as it was deployed. Amounts in wei, times in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Least collateral of an operator.
    pub min_collateral: U256,
    /// How long after registration a forged signature can be shown; no opt-in before its end.
    pub fraud_window: u64,
    /// Time between unregistering and claiming.
    pub unregistration_delay: u64,
    /// Time after the first slash, and after an opt-out, in which further slashes are possible.
    pub slash_window: u64,
    /// Least time between opt-in and opt-out, and between opt-out and another opt-in.
    pub opt_in_delay: u64,
    /// The signing domain that it verifies in.
    pub signing_domain: B256,
    /// The chain that it is on.
    pub chain_id: U256,
}

/// A registered operator. Times in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// Who may manage it.
    pub owner: Address,
    /// Its collateral, wei.
    pub collateral: U256,
    /// How many keys it has.
    pub keys: u16,
    /// When it registered.
    pub at: u64,
    /// When it unregistered.
    pub unregistered_at: Option<u64>,
    /// When it was first slashed.
    pub slashed_at: Option<u64>,
    /// Its collateral was claimed; the root cannot be used again.
    pub deleted: bool,
    /// It was slashed for two delegations of one slot.
    pub equivocated: bool,
}

/// An opt-in to the slasher. Times in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptIn {
    /// Who signs its commitments.
    pub committer: Address,
    /// When.
    pub at: u64,
    /// When it opted out again.
    pub out_at: Option<u64>,
    /// The slasher slashed it.
    pub slashed: bool,
}

/// Escrow that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdrawal {
    /// How much, wei.
    pub amount: U256,
    /// From when it can be taken, Unix seconds.
    pub ready_at: u64,
}

/// What L1 says of an operator at one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The block's timestamp, Unix seconds.
    pub now: u64,
    /// The Registry's terms.
    pub terms: Terms,
    /// Its root.
    pub root: B256,
    /// The operator; none if nobody registered the root.
    pub registered: Option<Registered>,
    /// Its opt-in to the slasher.
    pub opt_in: Option<OptIn>,
    /// Whether the slasher may slash it now.
    pub liable: bool,
    /// The market relay that it named.
    pub relay: Option<Address>,
}

/// Asks the contracts at one block.
#[derive(Debug)]
pub struct Reader<'a> {
    client: &'a ExecutionClient,
    contracts: Contracts,
    number: u64,
    now: u64,
}

impl<'a> Reader<'a> {
    /// A reader of the newest block.
    ///
    /// # Errors
    /// [`ChainError`]; also if there is no block yet.
    pub async fn latest(client: &'a ExecutionClient, contracts: Contracts) -> Result<Self, ChainError> {
        let head = client.block(BlockNumberOrTag::Latest).await?;
        let head = head.ok_or_else(|| {
            ChainError::Config("the execution client has no latest block: is it in sync?".to_owned())
        })?;
        Ok(Self { client, contracts, number: head.header.number, now: head.header.timestamp })
    }

    /// The block's timestamp, Unix seconds.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// The block's number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The Registry's terms.
    ///
    /// # Errors
    /// [`ChainError`]; also if there is no Registry.
    pub async fn terms(&self) -> Result<Terms, ChainError> {
        let config = self.ask(self.contracts.registry, &Registry::getConfigCall {}).await?;
        Ok(Terms {
            min_collateral: U256::from(config.minCollateralWei),
            fraud_window: config.fraudProofWindow.into(),
            unregistration_delay: config.unregistrationDelay.into(),
            slash_window: config.slashWindow.into(),
            opt_in_delay: config.optInDelay.into(),
            signing_domain: config.signingDomain,
            chain_id: U256::from_le_bytes(config.chainId.0),
        })
    }

    /// What is known of the operator with this root.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn standing(&self, root: B256) -> Result<Standing, ChainError> {
        let Contracts { registry, slasher, market } = self.contracts;
        let terms = self.terms().await?;
        let data = self.ask(registry, &Registry::getOperatorDataCall { registrationRoot: root }).await?;
        let opt_in = Registry::getSlasherCommitmentCall { registrationRoot: root, slasher };
        let opt_in = self.ask(registry, &opt_in).await?;
        let liable = self.ask(registry, &Registry::isLiableCall { registrationRoot: root, slasher }).await?;
        let relay = match market {
            Some(market) => self.ask(market, &OrderingMarket::relayOfCall { registrationRoot: root }).await?,
            None => Address::ZERO,
        };
        let unregistered: u64 = data.unregisteredAt.to();
        let registered = (!data.registeredAt.is_zero()).then(|| Registered {
            owner: data.owner,
            collateral: U256::from(data.collateralWei),
            keys: data.numKeys,
            at: data.registeredAt.to(),
            unregistered_at: (unregistered != (1 << 48) - 1).then_some(unregistered),
            slashed_at: (!data.slashedAt.is_zero()).then(|| data.slashedAt.to()),
            deleted: data.deleted,
            equivocated: data.equivocated,
        });
        let opt_in = (!opt_in.optedInAt.is_zero()).then(|| OptIn {
            committer: opt_in.committer,
            at: opt_in.optedInAt.to(),
            out_at: (!opt_in.optedOutAt.is_zero()).then(|| opt_in.optedOutAt.to()),
            slashed: opt_in.slashed,
        });
        let relay = (!relay.is_zero()).then_some(relay);
        Ok(Standing { now: self.now, terms, root, registered, opt_in, liable, relay })
    }

    /// The operator that ever opted in to the slasher with this committer; none if none did.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn user_of(&self, committer: Address) -> Result<Option<B256>, ChainError> {
        let Contracts { registry, slasher, .. } = self.contracts;
        let root = self.ask(registry, &Registry::operatorOfCall { slasher, committer }).await?;
        Ok((!root.is_zero()).then_some(root))
    }

    /// What an account can bid with at a relay, wei, and what it asked back.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn escrow(
        &self,
        account: Address,
        relay: Address,
    ) -> Result<(U256, Option<Withdrawal>), ChainError> {
        let Some(market) = self.contracts.market else { return Ok((U256::ZERO, None)) };
        let escrow = self.ask(market, &OrderingMarket::escrowCall { account, relay }).await?;
        let asked = self.ask(market, &OrderingMarket::withdrawalCall { account, relay }).await?;
        let withdrawal = Withdrawal { amount: U256::from(asked.amountWei), ready_at: asked.readyAt };
        Ok((escrow, (asked.readyAt != 0).then_some(withdrawal)))
    }

    /// Seconds between asking for escrow and taking it; none without a market.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn withdrawal_delay(&self) -> Result<Option<u64>, ChainError> {
        let Some(market) = self.contracts.market else { return Ok(None) };
        let seconds = self.ask(market, &OrderingMarket::WITHDRAWAL_DELAY_SECONDSCall {}).await?;
        Ok(Some(seconds.saturating_to()))
    }

    /// A proposer key's shares, wei.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn share(&self, key: &sol::G1Point) -> Result<U256, ChainError> {
        let Some(market) = self.contracts.market else { return Ok(U256::ZERO) };
        let call = OrderingMarket::proposerCreditCall { proposerKeyHash: keccak256(key.abi_encode()) };
        self.ask(market, &call).await
    }

    /// What the market and the Registry credit to an account, wei.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn credits(&self, account: Address) -> Result<(U256, U256), ChainError> {
        let market = match self.contracts.market {
            Some(market) => self.ask(market, &OrderingMarket::creditCall { account }).await?,
            None => U256::ZERO,
        };
        let registry = self.ask(self.contracts.registry, &Registry::creditCall { account }).await?;
        Ok((market, registry))
    }

    /// Until when the collateral is locked by open accusations, Unix seconds; none if it is not. Of blocks from `from` on, in
    /// ranges of at most `range`.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn locked_until(&self, root: B256, from: u64, range: u64) -> Result<Option<u64>, ChainError> {
        let events = [Registry::CollateralLocked::SIGNATURE_HASH, Registry::CollateralFreed::SIGNATURE_HASH];
        let filter = Filter::new()
            .address(self.contracts.registry)
            .event_signature(ValueOrArray::Array(events.to_vec()))
            .topic1(root);
        let mut locks = Locks::default();
        let (mut from, mut range) = (from, range.max(1));
        while from <= self.number {
            let to = from.saturating_add(range.saturating_sub(1)).min(self.number);
            let logs = match self.client.logs(&filter.clone().from_block(from).to_block(to)).await {
                // Nodes bound ranges, each in its own way.
                Err(ChainError::Rpc { .. } | ChainError::TooLarge { .. } | ChainError::Timeout { .. })
                    if to > from =>
                {
                    range = range.div_ceil(2);
                    continue;
                }
                logs => logs?,
            };
            for log in logs {
                if let Ok(locked) = Registry::CollateralLocked::decode_log_data(log.data()) {
                    locks.locked(locked.slasher, locked.locks, locked.until.to());
                } else if let Ok(freed) = Registry::CollateralFreed::decode_log_data(log.data()) {
                    locks.freed(freed.slasher, freed.locks);
                }
            }
            from = to.saturating_add(1);
        }
        Ok(locks.until(self.now))
    }

    async fn ask<C: SolCall>(&self, to: Address, call: &C) -> Result<C::Return, ChainError> {
        let request = TransactionRequest {
            to: Some(to.into()),
            input: TransactionInput::both(Bytes::from(call.abi_encode())),
            ..TransactionRequest::default()
        };
        let answer = self.client.call(&request, BlockId::number(self.number)).await?;
        if answer.is_empty() {
            return Err(ChainError::Config(format!("there is no contract at {to} on this network")));
        }
        C::abi_decode_returns(&answer).map_err(|error| {
            ChainError::Config(format!("what is at {to} does not answer {}: {error}", C::SIGNATURE))
        })
    }
}

/// The open locks of an operator's collateral, as the Registry counts them: all end together, `MAX_LOCK` after the last.
#[derive(Debug, Default)]
struct Locks {
    /// Those of each slasher.
    held: BTreeMap<Address, u32>,
    until: u64,
}

impl Locks {
    fn locked(&mut self, slasher: Address, locks: u32, until: u64) {
        if until.saturating_sub(MAX_LOCK) >= self.until {
            // Those before ended by time, and count no more.
            self.held.clear();
        }
        self.held.insert(slasher, locks);
        self.until = until;
    }

    fn freed(&mut self, slasher: Address, locks: u32) {
        self.held.insert(slasher, locks);
    }

    /// Until when the collateral is locked, if it is now.
    fn until(&self, now: u64) -> Option<u64> {
        (now < self.until && self.held.values().any(|locks| *locks > 0)).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Address = Address::repeat_byte(1);
    const TWO: Address = Address::repeat_byte(2);

    #[test]
    fn locks_end_when_all_are_freed_or_by_time() {
        let mut locks = Locks::default();
        assert_eq!(locks.until(0), None);
        locks.locked(ONE, 1, MAX_LOCK + 100);
        locks.locked(TWO, 1, MAX_LOCK + 120);
        locks.freed(TWO, 0);
        assert_eq!(locks.until(130), Some(MAX_LOCK + 120), "the time of the last lock stays");
        locks.locked(ONE, 2, MAX_LOCK + 140);
        locks.freed(ONE, 1);
        assert_eq!(locks.until(150), Some(MAX_LOCK + 140));
        assert_eq!(locks.until(MAX_LOCK + 140), None, "by time");
        // A lock after that begins anew: the one that was left counts no more.
        locks.locked(TWO, 1, 2 * MAX_LOCK + 140);
        locks.freed(TWO, 0);
        assert_eq!(locks.until(MAX_LOCK + 150), None);
    }
}
