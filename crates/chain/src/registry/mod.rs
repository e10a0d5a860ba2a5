//! The registry indexer: who is opted in, by L1's word (design §2, §9).
//!
//! | module | what it is |
//! |---|---|
//! | `event` | logs of Registry, OrderingMarket and RollupRegistry as events |
//! | `keys` | the keys of a registration, out of its call: their tree's root and their signatures are checked |
//! | [`state`] | the contracts' state after a block, a fold over the events; who is opted in by it |
//! | [`history`] | the fold over blocks: undo, what was decided at the end of each epoch |
//! | `checkpoint` | a file to go on from after a restart |
//! | `view` | what is known, for whoever asks, and its metrics |
//! | `follow` | the shell: asks an execution client, block by block near the head, by ranges before that |
//!
//! All but `checkpoint` and the last two are pure. What the node says of logs is believed, as far as it fits together: a caller who
//! doubts the node runs another.
//!
//! **The reference-block rule.** For the proposers of epoch E + 1 those count who are opted in by the state after the
//! last block of epoch E − `optin_delay`. What happens later never alters that; only a reorganisation across that block
//! does. Of a network's first epochs, whose reference block would lie before genesis, the Registry says nothing.

mod checkpoint;
mod event;
mod follow;
pub mod history;
mod keys;
pub mod state;
mod view;

pub use event::{Contracts, Event};
pub use follow::{Follower, RegistryConfig, RegistryError};
pub use history::{BlockEvents, History, Misfit, Rules};
pub use state::{BlockRef, Escrow, Operator, OptIn, OptedIn, OptedInOperator, Rollup, State, Terms};
pub use view::{Figures, RegistryView, Standing};
