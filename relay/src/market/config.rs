//! What an operator sets of the market.

use alloy_primitives::{Address, B256};
use earnest_builder_types::BlsPublicKey;
use earnest_protocol::{Wei, auction::Operator, objects::RollupRegistration};
use serde::{Deserialize, Serialize};

/// The ordering market. What stands on L1 is listed here as long as no registry is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MarketConfig {
    /// The OrderingMarket on L1, which bids are signed for. Default zero: no auctions are held, and delegations may carry
    /// any allocation.
    pub contract: Address,
    /// Seconds after its slot in which a won bid can be settled, as the contract has it: until then it takes up escrow.
    /// Default 86,400, a day.
    pub horizon_secs: u64,
    /// Bids taken for one slot. Default 1,000.
    pub bids_per_slot: usize,
    /// Of them, those of one account, and never more than a sixteenth of the places that are free. Default 64.
    pub bids_per_account: usize,
    /// Rollups that sell here. Default none.
    pub rollups: Vec<RollupRegistration>,
    /// Operators that may bid. Default none.
    pub operators: Vec<ListedOperator>,
    /// Accounts' deposits. Default none.
    pub escrow: Vec<ListedEscrow>,
}

impl Default for MarketConfig {
    fn default() -> Self {
        Self {
            contract: Address::ZERO,
            horizon_secs: 86_400,
            bids_per_slot: 1_000,
            bids_per_account: 64,
            rollups: Vec::new(),
            operators: Vec::new(),
            escrow: Vec::new(),
        }
    }
}

/// An operator, as if it were registered and opted in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListedOperator {
    /// Root of its registration.
    pub registration_root: B256,
    /// Its owner, who bids.
    pub owner: Address,
    /// Who signs its commitments.
    pub committer: Address,
    /// Its validators, which count as opted in.
    #[serde(default)]
    pub validators: Vec<BlsPublicKey>,
}

impl ListedOperator {
    pub(crate) const fn operator(&self) -> Operator {
        Operator { registration_root: self.registration_root, owner: self.owner, committer: self.committer }
    }
}

/// What an account deposited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListedEscrow {
    /// The account.
    pub account: Address,
    /// Its deposit towards this relay.
    pub wei: Wei,
}
