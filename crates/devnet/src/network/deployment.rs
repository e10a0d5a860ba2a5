//! The contracts onto L1, with the devnet's operator and its rollups.
//!
//! First the deployer: the contracts, the registrations of the opted-in validators, the rollups. Once that is in a block each
//! operator: its opt-in to the slasher, its relay, its escrow. Either it waits for the validators' blocks, or it makes those
//! of slots that are past.

use std::{sync::Arc, time::Duration};

use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::TransactionReceipt;
use earnest_bindings::deploy::Plan as ContractsPlan;
use earnest_chain::SlotClock;
use earnest_client::{Call, L1Account, operator::Act};
use earnest_protocol::{
    RollupId, Slot,
    registry::RegistrationTree,
    signing::{EcdsaSecret, Network as Signing},
};

use super::{
    NetworkError,
    roles::{Keys, Operator},
};
use crate::{
    beacon::BeaconNode,
    contracts::{self, COLLATERAL, creations},
    execution::ExecutionNode,
};

/// What the execution client has to fill a block of a past slot that something is to be in.
const BUILD: Duration = Duration::from_millis(200);
/// Slots that a transaction may take to get into a block on a busy machine.
const SLOTS: u64 = 12;

/// The account of a key on L1.
pub(super) fn account(
    execution: &ExecutionNode,
    secret: &EcdsaSecret,
    network: &Signing,
) -> Result<L1Account, NetworkError> {
    let secret =
        EcdsaSecret::from_bytes(&secret.to_bytes()).map_err(|error| NetworkError::Key(error.to_string()))?;
    Ok(L1Account::new(execution.rpc().clone(), secret, network.chain_id))
}

/// What is put onto L1, and by whom.
pub(super) struct Deployment<'a> {
    pub(super) execution: &'a ExecutionNode,
    pub(super) keys: &'a Keys,
    pub(super) network: Signing,
    pub(super) clock: SlotClock,
    pub(super) contracts: &'a ContractsPlan,
    pub(super) rollups: Vec<u64>,
    /// The chain whose past slots get the blocks that it takes; none where validators propose.
    pub(super) history: Option<&'a BeaconNode>,
}

impl Deployment<'_> {
    /// Puts everything onto L1. Returns the first slot at which all rollups' terms are in force.
    pub(super) async fn run(&self) -> Result<Slot, NetworkError> {
        let deployer = self.account(&self.keys.deployer)?;
        let receipts = self.all_included(&deployer, self.deployers_calls()?).await?;
        let in_force = contracts::in_force(&receipts);

        for (operator, registrations) in self.registered() {
            let account = self.account(&operator.owner)?;
            let calls = self.operators_calls(operator, registrations.root())?;
            self.all_included(&account, calls).await?;
        }
        Ok(in_force)
    }

    /// The operators that have validators to register.
    fn registered(&self) -> impl Iterator<Item = (&Operator, &Arc<RegistrationTree>)> {
        let operators = self.keys.operators.iter();
        operators.filter_map(|operator| Some((operator, operator.registrations.as_ref()?)))
    }

    fn account(&self, secret: &EcdsaSecret) -> Result<L1Account, NetworkError> {
        account(self.execution, secret, &self.network)
    }

    /// Sends an account's first calls, each with its gas limit, and waits until all are in blocks.
    async fn all_included(
        &self,
        account: &L1Account,
        calls: Vec<(Call, u64)>,
    ) -> Result<Vec<TransactionReceipt>, NetworkError> {
        let slots = u32::try_from(SLOTS).unwrap_or(u32::MAX);
        let mut sent = Vec::with_capacity(calls.len());
        for (nonce, (call, gas)) in (0..).zip(&calls) {
            sent.push(account.send(call, nonce, *gas).await?);
        }
        let mut receipts = Vec::with_capacity(sent.len());
        for hash in sent {
            while let Some(beacon) = self.history
                && !matches!(self.execution.rpc().receipt(hash).await, Ok(Some(_)))
                && beacon.grow(&self.keys.validators, BUILD).await?.is_some()
            {}
            receipts.push(account.included(hash, self.clock.slot_duration().saturating_mul(slots)).await?);
        }
        Ok(receipts)
    }

    /// In one order, by one account: each stands on what is before it.
    fn deployers_calls(&self) -> Result<Vec<(Call, u64)>, NetworkError> {
        let mut calls: Vec<(Call, u64)> = creations(self.contracts).collect();
        for (operator, tree) in self.registered() {
            let (tree, owner) = (Arc::clone(tree), operator.owner.address());
            calls.push(self.call(&Act::Register { tree, owner, collateral: U256::from(COLLATERAL) })?);
        }
        let (owner, relay) = (self.keys.deployer.address(), self.keys.relay.address());
        let reserve = self.keys.operators.first().map_or(owner, |operator| operator.committer.address());
        for rollup in &self.rollups {
            let terms = contracts::terms(RollupId(*rollup), owner, relay, reserve);
            calls.extend(contracts::listing(&terms, owner, self.contracts)?);
        }
        Ok(calls)
    }

    fn operators_calls(&self, operator: &Operator, root: B256) -> Result<Vec<(Call, u64)>, NetworkError> {
        let (account, committer) = (operator.owner.address(), operator.committer.address());
        let acts = contracts::joining(root, account, committer, self.keys.relay.address());
        acts.iter().map(|act| self.call(act)).collect()
    }

    fn call(&self, act: &Act) -> Result<(Call, u64), NetworkError> {
        Ok(contracts::call(act, self.contracts)?)
    }
}
