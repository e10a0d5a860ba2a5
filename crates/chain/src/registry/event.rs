//! What the contracts' logs say, as the fold takes it. Pure.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, LogData, U256};
use alloy_rpc_types_eth::Log;
use alloy_sol_types::{SolEvent, SolValue};
use earnest_bindings::{OrderingMarket as market, Registry as registry, RollupRegistry as rollups};
use earnest_protocol::{BlsPublicKey, RollupId, Slot, objects::RollupRegistration, sol};

/// Which contracts are followed. Events of anything else do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contracts {
    /// The Registry.
    pub registry: Address,
    /// The slasher whose opt-ins count.
    pub slasher: Address,
    /// The OrderingMarket, if it is followed.
    pub market: Option<Address>,
    /// The RollupRegistry, if it is followed.
    pub rollups: Option<Address>,
}

impl Contracts {
    /// The contracts whose logs are asked for.
    pub(super) fn emitters(&self) -> Vec<Address> {
        [Some(self.registry), self.market, self.rollups].into_iter().flatten().collect()
    }
}

/// One change of the contracts' state. Amounts in wei.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An operator registered keys.
    Registered {
        /// Its registration root.
        root: B256,
        /// Who may manage it.
        owner: Address,
        /// What it paid in.
        collateral: U256,
        /// The keys that signed their registration for this owner; a key that did not is left out.
        keys: Arc<[BlsPublicKey]>,
    },
    /// An operator unregistered.
    Unregistered {
        /// The operator.
        root: B256,
    },
    /// An operator lost collateral to a slash, whichever slasher's.
    Slashed {
        /// The operator.
        root: B256,
        /// How much.
        amount: U256,
    },
    /// An operator took its collateral out.
    CollateralClaimed {
        /// The operator.
        root: B256,
    },
    /// An operator's collateral grew.
    CollateralAdded {
        /// The operator.
        root: B256,
        /// What it is now.
        collateral: U256,
    },
    /// An operator opted in to our slasher.
    OptedIn {
        /// The operator.
        root: B256,
        /// Who signs its commitments.
        committer: Address,
    },
    /// An operator opted out of our slasher.
    OptedOut {
        /// The operator.
        root: B256,
    },
    /// An operator named its market relay.
    RelayNamed {
        /// The operator.
        root: B256,
        /// The relay's ECDSA address.
        relay: Address,
    },
    /// An escrow is now this much: after a deposit or a withdrawal, which ends the request for it.
    Escrow {
        /// Whose it is.
        account: Address,
        /// Which relay's bids it covers.
        relay: Address,
        /// How much.
        amount: U256,
        /// Whether a withdrawal made it so.
        withdrawn: bool,
    },
    /// A withdrawal was asked for; zero takes the request back.
    WithdrawalRequested {
        /// Whose escrow.
        account: Address,
        /// Which relay's.
        relay: Address,
        /// How much.
        amount: U256,
        /// From when it can be taken, Unix seconds.
        ready_at: u64,
    },
    /// A won bid was charged to its escrow.
    BidSettled {
        /// The bid.
        bid: B256,
        /// Whose escrow.
        account: Address,
        /// Which relay's.
        relay: Address,
        /// The bid's slot.
        slot: Slot,
        /// How much.
        amount: U256,
    },
    /// A rollup has an owner.
    RollupOwner {
        /// The rollup.
        rollup: RollupId,
        /// Who sets its terms.
        owner: Address,
    },
    /// A rollup's terms from a slot on.
    RollupUpdated {
        /// The rollup.
        rollup: RollupId,
        /// The first slot that they apply to.
        from: Slot,
        /// The terms; none if they say something that is not known here, so that nothing can be sold by them.
        terms: Option<Box<RollupRegistration>>,
    },
}

/// What a log is, before the keys of registrations are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// An event, whole.
    Event(Event),
    /// A registration, whose keys stand in the call that made it.
    Registration {
        root: B256,
        owner: Address,
        collateral: U256,
        /// The transaction.
        transaction: B256,
        /// The call, where the transaction's input is not it.
        call: Option<Bytes>,
    },
}

/// The items of one block, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Items {
    pub(super) number: u64,
    pub(super) hash: B256,
    pub(super) items: Vec<Item>,
}

/// Sorts out logs of the blocks `from` to `to`, which must be in the chain's order.
///
/// # Errors
/// What is wrong with them, for whoever runs the node: logs of another contract or block, out of order, taken back, or
/// not as the contracts write them.
pub(super) fn read(logs: &[Log], contracts: &Contracts, from: u64, to: u64) -> Result<Vec<Items>, String> {
    let mut blocks: Vec<Items> = Vec::new();
    let mut last = None;
    for (at, log) in logs.iter().enumerate() {
        let (Some(number), Some(hash), Some(transaction), Some(index)) =
            (log.block_number, log.block_hash, log.transaction_hash, log.log_index)
        else {
            return Err("a log of no block".to_owned());
        };
        if log.removed || number < from || number > to {
            return Err(format!("a log of block {number}, which was not asked for"));
        }
        if last.is_some_and(|last| last >= (number, index)) {
            return Err(format!("logs of block {number} are out of order"));
        }
        last = Some((number, index));
        let data = &log.inner.data;
        let item = item(log.inner.address, data, contracts).map_err(|error| {
            format!("log {index} of block {number} is not as the contracts write it: {error}")
        })?;
        let item = match item {
            Some(Found::Event(event)) => Item::Event(event),
            Some(Found::Registration { root, owner, collateral }) => {
                let call = call_beside(logs, at, contracts.registry, transaction, root);
                Item::Registration { root, owner, collateral, transaction, call }
            }
            None => continue,
        };
        match blocks.last_mut() {
            Some(block) if block.number == number => {
                if block.hash != hash {
                    return Err(format!("two blocks {number}"));
                }
                block.items.push(item);
            }
            _ => blocks.push(Items { number, hash, items: vec![item] }),
        }
    }
    Ok(blocks)
}

/// The call of a registration in a `CallData` log of its transaction.
fn call_beside(
    logs: &[Log],
    at: usize,
    registry_address: Address,
    transaction: B256,
    root: B256,
) -> Option<Bytes> {
    let of_transaction = |log: &&Log| log.transaction_hash == Some(transaction);
    let (before, after) = logs.split_at_checked(at)?;
    let near = before.iter().rev().take_while(of_transaction).chain(after.iter().take_while(of_transaction));
    near.filter(|log| log.inner.address == registry_address)
        .filter_map(|log| registry::CallData::decode_log_data(&log.inner.data).ok())
        .find(|call| call.registrationRoot == root)
        .map(|call| call.data)
}

enum Found {
    Event(Event),
    Registration { root: B256, owner: Address, collateral: U256 },
}

fn item(
    emitter: Address,
    data: &LogData,
    contracts: &Contracts,
) -> Result<Option<Found>, alloy_sol_types::Error> {
    if emitter == contracts.registry {
        return of_registry(data, contracts.slasher);
    }
    let event = if Some(emitter) == contracts.market {
        of_market(data)?
    } else if Some(emitter) == contracts.rollups {
        of_rollups(data)?
    } else {
        return Err(alloy_sol_types::Error::custom(format!("it is a log of {emitter}")));
    };
    Ok(event.map(Found::Event))
}

fn of_registry(data: &LogData, our_slasher: Address) -> Result<Option<Found>, alloy_sol_types::Error> {
    let Some(topic) = data.topics().first().copied() else { return Ok(None) };
    let event = match topic {
        registry::OperatorRegistered::SIGNATURE_HASH => {
            let event = registry::OperatorRegistered::decode_log_data(data)?;
            return Ok(Some(Found::Registration {
                root: event.registrationRoot,
                owner: event.owner,
                collateral: event.collateralWei,
            }));
        }
        registry::OperatorUnregistered::SIGNATURE_HASH => Event::Unregistered {
            root: registry::OperatorUnregistered::decode_log_data(data)?.registrationRoot,
        },
        registry::OperatorSlashed::SIGNATURE_HASH => {
            let event = registry::OperatorSlashed::decode_log_data(data)?;
            Event::Slashed { root: event.registrationRoot, amount: event.slashAmountWei }
        }
        registry::CollateralClaimed::SIGNATURE_HASH => Event::CollateralClaimed {
            root: registry::CollateralClaimed::decode_log_data(data)?.registrationRoot,
        },
        registry::CollateralAdded::SIGNATURE_HASH => {
            let event = registry::CollateralAdded::decode_log_data(data)?;
            Event::CollateralAdded { root: event.registrationRoot, collateral: event.collateralWei }
        }
        registry::OperatorOptedIn::SIGNATURE_HASH => {
            let event = registry::OperatorOptedIn::decode_log_data(data)?;
            if event.slasher != our_slasher {
                return Ok(None);
            }
            Event::OptedIn { root: event.registrationRoot, committer: event.committer }
        }
        registry::OperatorOptedOut::SIGNATURE_HASH => {
            let event = registry::OperatorOptedOut::decode_log_data(data)?;
            if event.slasher != our_slasher {
                return Ok(None);
            }
            Event::OptedOut { root: event.registrationRoot }
        }
        _ => return Ok(None),
    };
    Ok(Some(Found::Event(event)))
}

fn of_market(data: &LogData) -> Result<Option<Event>, alloy_sol_types::Error> {
    let Some(topic) = data.topics().first().copied() else { return Ok(None) };
    let event = match topic {
        market::RelayNamed::SIGNATURE_HASH => {
            let event = market::RelayNamed::decode_log_data(data)?;
            Event::RelayNamed { root: event.registrationRoot, relay: event.relay }
        }
        market::Deposited::SIGNATURE_HASH => {
            let market::Deposited { account, relay, escrowWei, .. } =
                market::Deposited::decode_log_data(data)?;
            Event::Escrow { account, relay, amount: escrowWei, withdrawn: false }
        }
        market::Withdrawn::SIGNATURE_HASH => {
            let market::Withdrawn { account, relay, escrowWei, .. } =
                market::Withdrawn::decode_log_data(data)?;
            Event::Escrow { account, relay, amount: escrowWei, withdrawn: true }
        }
        market::WithdrawalRequested::SIGNATURE_HASH => {
            let event = market::WithdrawalRequested::decode_log_data(data)?;
            Event::WithdrawalRequested {
                account: event.account,
                relay: event.relay,
                amount: event.amountWei,
                ready_at: event.readyAt,
            }
        }
        market::BidSettled::SIGNATURE_HASH => {
            let event = market::BidSettled::decode_log_data(data)?;
            Event::BidSettled {
                bid: event.bidHash,
                account: event.account,
                relay: event.relay,
                slot: Slot(event.slot),
                amount: event.amountWei,
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(event))
}

fn of_rollups(data: &LogData) -> Result<Option<Event>, alloy_sol_types::Error> {
    let Some(topic) = data.topics().first().copied() else { return Ok(None) };
    let event = match topic {
        rollups::RollupGranted::SIGNATURE_HASH => {
            let event = rollups::RollupGranted::decode_log_data(data)?;
            Event::RollupOwner { rollup: RollupId(event.rollupId), owner: event.owner }
        }
        rollups::RollupAccepted::SIGNATURE_HASH => {
            let event = rollups::RollupAccepted::decode_log_data(data)?;
            Event::RollupOwner { rollup: RollupId(event.rollupId), owner: event.owner }
        }
        rollups::RollupUpdated::SIGNATURE_HASH => {
            let event = rollups::RollupUpdated::decode_log_data(data)?;
            let terms = sol::RollupRegistration::abi_decode(&event.registration.abi_encode())?;
            Event::RollupUpdated {
                rollup: RollupId(event.rollupId),
                from: Slot(event.fromSlot),
                terms: RollupRegistration::try_from(terms).ok().map(Box::new),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(event))
}
