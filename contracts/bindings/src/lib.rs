//! Earnest's contracts as Rust types: ABI and creation bytecode from `contracts/artifacts`, which
//! `contracts/build` writes and `contracts/check` proves to be what the sources build to (design §9).

/// One contract's types, in a module of their own: contracts share the names of structs.
macro_rules! contract {
    ($module:ident, $name:ident, $artifact:literal) => {
        #[allow(
            missing_docs,
            clippy::all,
            clippy::pedantic,
            clippy::arithmetic_side_effects,
            clippy::indexing_slicing
        )]
        mod $module {
            alloy_sol_types::sol!(
                #[sol(all_derives)]
                $name,
                $artifact
            );
        }
        pub use $module::$name;
    };
}

contract!(inbox, Inbox, "../artifacts/Inbox.json");
contract!(registry, Registry, "../artifacts/Registry.json");
contract!(rollup_registry, RollupRegistry, "../artifacts/RollupRegistry.json");
contract!(ordering_slasher, OrderingSlasher, "../artifacts/OrderingSlasher.json");
contract!(ordering_market, OrderingMarket, "../artifacts/OrderingMarket.json");

pub mod deploy;

use alloy_primitives::{Bytes, FixedBytes};
use alloy_sol_types::SolConstructor;

/// The creation transaction's input that deploys the Inbox of a network.
///
/// `genesis_fork_version` is the consensus layer's at genesis; the seals' signing domain comes from it.
#[must_use]
pub fn inbox_creation_code(genesis_fork_version: [u8; 4]) -> Bytes {
    let arguments =
        Inbox::constructorCall { genesisForkVersion: FixedBytes(genesis_fork_version) }.abi_encode();
    [Inbox::BYTECODE.as_ref(), &arguments].concat().into()
}
