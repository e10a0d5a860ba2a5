//! What an operator sets of its bidding.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256};
use earnest_protocol::{RollupId, Wei};
use earnest_signer::KeyFile;
use serde::{Deserialize, Serialize};

/// Bidding, and the market whose results our slots' delegations carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarketConfig {
    /// The OrderingMarket on L1, which bids are signed for.
    pub contract: Address,
    /// Name of the relay that holds the auctions; its address is the gateway's `relay_address`.
    pub relay: String,
    /// Root of our operator's registration.
    pub registration_root: B256,
    /// The key of our operator's owner, which signs bids and pays.
    pub account_key: KeyFile,
    /// Says in the log what would be bid and matched, and does neither.
    #[serde(default)]
    pub dry_run: bool,
    /// Which slots to bid for.
    #[serde(default)]
    pub slots: Slots,
    /// When to match a winner in our own slots.
    #[serde(default)]
    pub first_refusal: FirstRefusal,
    /// Most wei at stake in the slots of one epoch: every bid counts until its auction is decided, then what was won.
    pub budget_wei: Wei,
    /// What each rollup's window is worth to us.
    pub values: Vec<RollupValue>,
    /// What holding several together is worth on top.
    #[serde(default)]
    pub bonuses: Vec<SetBonus>,
}

/// Which slots to bid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slots {
    /// Those that our validators propose.
    #[default]
    Own,
    /// Every sequencing slot.
    All,
}

/// When to match a winner in our own slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstRefusal {
    /// Never.
    Never,
    /// If the winner's rollups are worth its amount to us, and the budget allows it.
    #[default]
    IfWorth,
}

/// What a rollup's window is worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollupValue {
    /// The rollup.
    pub rollup: RollupId,
    /// What we pay for it alone, in wei.
    pub value_wei: Wei,
}

/// What several rollups together are worth on top of each alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetBonus {
    /// The rollups, two or more.
    pub rollups: Vec<RollupId>,
    /// Wei on top of their values.
    pub bonus_wei: Wei,
}

/// Why bidding cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarketError {
    /// Bids name a gateway.
    #[error("`market` is set, but no `gateway`: bids name its committer, delegate and url")]
    NoGateway,
    /// The market is held somewhere.
    #[error("`market` names relay {0}, which is not an Earnest relay among `relays`")]
    UnknownRelay(String),
    /// There is one OrderingMarket.
    #[error("`market.contract` is another than `registry.market`")]
    TwoContracts,
    /// A rollup has one value.
    #[error("rollup {0} has two values")]
    ValueTwice(RollupId),
    /// A set is of rollups with values, two or more, each once.
    #[error("a bonus is for two rollups or more, each once and with a value")]
    BadSet,
}

impl MarketConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first [`MarketError`] found.
    pub(crate) fn check(&self) -> Result<(), MarketError> {
        let mut valued = BTreeSet::new();
        if let Some(twice) = self.values.iter().find(|value| !valued.insert(value.rollup)) {
            return Err(MarketError::ValueTwice(twice.rollup));
        }
        let good = |set: &SetBonus| {
            let rollups: BTreeSet<_> = set.rollups.iter().collect();
            rollups.len() == set.rollups.len()
                && rollups.len() > 1
                && set.rollups.iter().all(|id| valued.contains(id))
        };
        if self.bonuses.iter().all(good) { Ok(()) } else { Err(MarketError::BadSet) }
    }
}
