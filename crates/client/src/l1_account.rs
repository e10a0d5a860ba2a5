//! An account of ours on L1: what is done with the contracts by hand, and for the devnet.
//!
//! Not for what must get onto L1 in time: the gateway's batches have their own way, which raises fees.

use std::{fmt, time::Duration};

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_rpc_types_eth::{BlockNumberOrTag, TransactionInput, TransactionReceipt, TransactionRequest};
use alloy_sol_types::SolCall;
use earnest_bindings::deploy::{Addresses, Deployment, FACTORY, Plan};
use earnest_chain::{ChainError, ExecutionClient};
use earnest_protocol::signing::{EcdsaSecret, SigningError};
use earnest_signer::sign_transaction;

/// Tip offered, wei per gas.
const TIP: u128 = 1_000_000_000;
/// Gas that calls have at hand beyond what they use: the Registry refuses a slash that leaves a slasher too little.
const AT_HAND: u64 = 500_000;
/// Pause between two looks for a receipt.
const POLL: Duration = Duration::from_millis(100);

/// The newest block.
pub const LATEST: BlockNumberOrTag = BlockNumberOrTag::Latest;

/// What a transaction came to.
pub type Receipt = TransactionReceipt;

/// What a transaction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Whom it calls.
    pub to: Address,
    /// What it pays, wei.
    pub value: U256,
    /// The call.
    pub input: Bytes,
}

impl Call {
    /// A call of a contract.
    #[must_use]
    pub fn new(to: Address, call: &impl SolCall) -> Self {
        Self { to, value: U256::ZERO, input: call.abi_encode().into() }
    }

    /// The call of the factory that makes a contract.
    #[must_use]
    pub fn creation(contract: &Deployment) -> Self {
        Self { to: FACTORY, value: U256::ZERO, input: contract.factory_input() }
    }

    /// The same call, paying `wei`.
    #[must_use]
    pub fn paying(self, wei: U256) -> Self {
        Self { value: wei, ..self }
    }
}

/// What gas costs, and what our transactions offer for it, wei per gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fees {
    /// The newest block's base fee.
    pub base: u128,
    /// The tip that is offered.
    pub tip: u128,
    /// The most that is offered, tip included.
    pub most: u128,
}

impl Fees {
    /// What is offered at this base fee: twice of it outlives six full blocks.
    #[must_use]
    pub const fn at(base: u128) -> Self {
        Self { base, tip: TIP, most: base.saturating_mul(2).saturating_add(TIP) }
    }

    /// What a unit of gas costs at this base fee, tip included.
    #[must_use]
    pub const fn now(self) -> u128 {
        self.base.saturating_add(self.tip)
    }

    /// An offer that takes the place of a lower one for the same nonce: pools want an eighth more at most, of tip and sum alike.
    #[must_use]
    pub fn beating(self, tip: u128, most: u128) -> Self {
        let more = |fee: u128| fee.saturating_add(fee / 8).saturating_add(1);
        Self { tip: self.tip.max(more(tip)), most: self.most.max(more(most)), ..self }
    }
}

/// The gas limit of a call that takes this much.
#[must_use]
pub const fn gas_limit(gas: u64) -> u64 {
    gas.saturating_add(gas / 5).saturating_add(AT_HAND)
}

/// A call's transaction, signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCall {
    /// Its hash.
    pub hash: B256,
    /// The account's nonce in it.
    pub nonce: u64,
    /// As it is sent.
    pub raw: Bytes,
}

/// Why something was not done on L1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum L1Error {
    /// The execution client; a call that would revert comes as its refusal.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The key does not sign.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The execution client has no block yet.
    #[error("the execution client has no latest block: is it in sync?")]
    NoBlock,
    /// In a block, but nothing came of it.
    #[error("transaction {0} reverted")]
    Reverted(B256),
    /// In no block in the time allowed.
    #[error("transaction {hash} is in no block after {limit:?}")]
    NotIncluded {
        /// The transaction.
        hash: B256,
        /// The time.
        limit: Duration,
    },
    /// The factory, through which contracts are deployed, is not on this network.
    #[error("there is no deployment factory at {FACTORY} on this network")]
    NoFactory,
    /// The factory did not make it.
    #[error("{name} is not at {address} after its transaction")]
    NotMade {
        /// The contract.
        name: &'static str,
        /// Where it should be.
        address: Address,
    },
    /// The execution client is of another chain.
    #[error("the execution client has chain id {found}, not {expected}")]
    OtherChain {
        /// As expected.
        expected: u64,
        /// As it says.
        found: u64,
    },
}

/// What became of one contract's deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Its name.
    pub name: &'static str,
    /// Where it is.
    pub address: Address,
    /// Gas that it took, or would take; none if it was there before.
    pub gas: Option<u64>,
}

/// An account of ours.
pub struct L1Account {
    client: ExecutionClient,
    secret: EcdsaSecret,
    chain_id: u64,
}

impl fmt::Debug for L1Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("L1Account").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl L1Account {
    /// The account of a key on the chain of an execution client.
    #[must_use]
    pub const fn new(client: ExecutionClient, secret: EcdsaSecret, chain_id: u64) -> Self {
        Self { client, secret, chain_id }
    }

    /// The execution client.
    #[must_use]
    pub const fn client(&self) -> &ExecutionClient {
        &self.client
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Address {
        self.secret.address()
    }

    /// The nonce of its next transaction, those in the pool counted.
    ///
    /// # Errors
    /// [`L1Error::Chain`].
    pub async fn nonce(&self) -> Result<u64, L1Error> {
        Ok(self.client.nonce(self.address(), BlockNumberOrTag::Pending).await?)
    }

    /// The gas that a call takes now.
    ///
    /// # Errors
    /// [`L1Error::Chain`], also if the call would revert.
    pub async fn estimate(&self, call: &Call) -> Result<u64, L1Error> {
        let request = TransactionRequest {
            from: Some(self.address()),
            to: Some(call.to.into()),
            value: Some(call.value),
            input: TransactionInput::both(call.input.clone()),
            ..TransactionRequest::default()
        };
        Ok(self.client.estimate_gas(&request).await?)
    }

    /// What gas costs now.
    ///
    /// # Errors
    /// [`L1Error::Chain`], [`L1Error::NoBlock`].
    pub async fn fees(&self) -> Result<Fees, L1Error> {
        let head = self.client.block(BlockNumberOrTag::Latest).await?.ok_or(L1Error::NoBlock)?;
        Ok(Fees::at(head.header.base_fee_per_gas.unwrap_or_default().into()))
    }

    /// The transaction of a call with this nonce and gas limit, signed and not sent: whoever writes it down first can send
    /// the very same again after a crash.
    ///
    /// # Errors
    /// [`L1Error::Signing`].
    pub fn sign(&self, call: &Call, nonce: u64, gas_limit: u64, fees: Fees) -> Result<SignedCall, L1Error> {
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: fees.most,
            max_priority_fee_per_gas: fees.tip,
            to: TxKind::Call(call.to),
            value: call.value,
            input: call.input.clone(),
            ..TxEip1559::default()
        };
        let raw = sign_transaction(transaction, &self.secret)?;
        Ok(SignedCall { hash: keccak256(&raw), nonce, raw })
    }

    /// Sends a call with this nonce and gas limit; its transaction's hash.
    ///
    /// # Errors
    /// [`L1Error`]; nothing was sent then.
    pub async fn send(&self, call: &Call, nonce: u64, gas_limit: u64) -> Result<B256, L1Error> {
        let signed = self.sign(call, nonce, gas_limit, self.fees().await?)?;
        Ok(self.client.send_raw_transaction(&signed.raw).await?)
    }

    /// Waits until a transaction is in a block; its receipt. What the execution client cannot answer is asked again: geth
    /// refuses while it indexes.
    ///
    /// # Errors
    /// [`L1Error::Reverted`]; after `limit` [`L1Error::NotIncluded`], or the execution client's last refusal.
    pub async fn included(&self, hash: B256, limit: Duration) -> Result<TransactionReceipt, L1Error> {
        self.one_included(&[hash], limit).await
    }

    /// Waits until one of the transactions is in a block, as [`Self::included`]: of one nonce no more than one gets there.
    ///
    /// # Errors
    /// As [`Self::included`]; names the first where there is none.
    pub async fn one_included(
        &self,
        hashes: &[B256],
        limit: Duration,
    ) -> Result<TransactionReceipt, L1Error> {
        let mut refused = None;
        let wait = async {
            loop {
                for hash in hashes {
                    match self.client.receipt(*hash).await {
                        Ok(Some(receipt)) if receipt.status() => return Ok(receipt),
                        Ok(Some(_)) => return Err(L1Error::Reverted(*hash)),
                        Ok(None) => refused = None,
                        Err(error) => refused = Some(error),
                    }
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let waited = tokio::time::timeout(limit, wait).await;
        let hash = hashes.first().copied().unwrap_or_default();
        waited.unwrap_or_else(|_| Err(refused.map_or(L1Error::NotIncluded { hash, limit }, L1Error::Chain)))
    }

    /// Sends a call with as much gas as it takes now and some more, and waits for its block. What is not used is not paid;
    /// and some execution clients (EthereumJS) estimate what is used, which is less than the contracts want at hand.
    ///
    /// # Errors
    /// [`L1Error`].
    pub async fn execute(&self, call: &Call, limit: Duration) -> Result<TransactionReceipt, L1Error> {
        let gas = self.estimate(call).await?;
        let hash = self.send(call, self.nonce().await?, gas_limit(gas)).await?;
        self.included(hash, limit).await
    }

    /// Deploys what is not there yet of a plan, one contract after the other. A contract has `limit` to get into a block.
    ///
    /// # Errors
    /// [`L1Error`]; what was made until then stays.
    pub async fn deploy(&self, plan: &Plan, limit: Duration) -> Result<Vec<Made>, L1Error> {
        let mut made = self.survey(plan).await?;
        for (contract, made) in plan.contracts.iter().zip(&mut made) {
            if made.gas.is_none() {
                continue;
            }
            let receipt = self.execute(&Call::creation(contract), limit).await?;
            if !self.is_there(contract.address).await? {
                return Err(L1Error::NotMade { name: contract.name, address: contract.address });
            }
            made.gas = Some(receipt.gas_used);
        }
        Ok(made)
    }

    /// What [`Self::deploy`] would do: the contracts with the most gas that they can take, none for those that are there.
    ///
    /// # Errors
    /// [`L1Error::NoFactory`], [`L1Error::OtherChain`], or the execution client's.
    pub async fn survey(&self, plan: &Plan) -> Result<Vec<Made>, L1Error> {
        let found = self.client.chain_id().await?;
        if found != self.chain_id {
            return Err(L1Error::OtherChain { expected: self.chain_id, found });
        }
        if !self.is_there(FACTORY).await? {
            return Err(L1Error::NoFactory);
        }
        let mut contracts = Vec::with_capacity(plan.contracts.len());
        for contract in &plan.contracts {
            let there = self.is_there(contract.address).await?;
            let gas = (!there).then(|| contract.gas_limit());
            contracts.push(Made { name: contract.name, address: contract.address, gas });
        }
        Ok(contracts)
    }

    async fn is_there(&self, address: Address) -> Result<bool, L1Error> {
        Ok(!self.client.code(address, BlockNumberOrTag::Latest).await?.is_empty())
    }
}

/// Whether all contracts of an addresses file have code.
///
/// # Errors
/// [`ChainError`].
pub async fn all_there(client: &ExecutionClient, addresses: &Addresses) -> Result<bool, ChainError> {
    for (_, address) in addresses.named() {
        if client.code(address, BlockNumberOrTag::Latest).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_outlives_full_blocks_and_takes_anothers_place() {
        let first = Fees::at(10_000_000_000);
        assert_eq!((first.now(), first.most, first.tip), (11_000_000_000, 21_000_000_000, TIP));
        for base in [1, 10_000_000_000, 40_000_000_000] {
            let next = Fees::at(base).beating(first.tip, first.most);
            assert!(next.tip * 100 >= first.tip * 110 && next.most * 100 >= first.most * 110, "{base}");
            assert!(next.most >= Fees::at(base).most);
        }
        assert_eq!(Fees::at(u128::MAX).beating(u128::MAX, u128::MAX).most, u128::MAX);
    }
}
