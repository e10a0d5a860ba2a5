//! The ordering market from a bidder's and a proposer's side (design §2): what to bid, what was bid, and whether an auction came out
//! as its bids say.
//!
//! [`policy`] (what to bid), [`book`] (what was bid and promised) and [`audit`] (whether a result may be signed) are pure; [`task`]
//! and [`allotment`] are the shells around them, [`evidence`] writes down what a relay did wrong.

pub mod allotment;
pub mod audit;
pub mod book;
mod config;
pub mod evidence;
pub mod l1;
pub mod policy;
pub mod task;

pub use config::{FirstRefusal, MarketConfig, MarketError, RollupValue, SetBonus, Slots};
