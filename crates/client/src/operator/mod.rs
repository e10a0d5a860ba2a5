//! An operator's life on L1 (design §9): it registers keys, opts in to the slasher, pays in, leaves, and takes out what is its own.
//!
//! | module | what it is |
//! |---|---|
//! | [`act`] | what can be done, and the contracts' calls that do it |
//! | [`amount`] | wei as people write it |
//! | [`standing`] | what L1 says of an operator, read at one block |
//! | [`plan`] | from a standing and a wish to the acts that are still to do, or the reason why not |
//! | [`reason`] | a contract's refusal as a sentence |
//! | [`record`] | a registration as a file: keys with their consents, for the proofs that come later |
//! | [`when`] | times as people read them |
//!
//! All but [`standing`]'s reading is pure.

pub mod act;
pub mod amount;
pub mod plan;
pub mod reason;
pub mod record;
pub mod standing;
pub mod when;

pub use act::{Act, ActError, Contracts};
pub use amount::{Amount, AmountError, ether};
pub use plan::{Plan, Refusal};
pub use reason::explain;
pub use record::{Record, RecordError};
pub use standing::{OptIn, Registered, Standing, Terms, Withdrawal};
