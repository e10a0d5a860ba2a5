//! What every role needs to know of the L1 it stands on: the time in slots, who proposes them, and typed
//! clients of beacon nodes and of an execution client.
//!
//! [`registry`] follows the contracts: who is opted in.
//!
//! [`SlotClock`], [`Lookahead`] and [`agreement`] are pure: they are told the time and the answers of the nodes. The clients
//! bound every answer in bytes and every call in time, and take several beacon nodes where there are several:
//! [`agreement`] judges, once a slot, which of them to believe.

pub mod agreement;
pub mod beacon;
pub mod error;
pub mod execution;
pub mod lookahead;
pub mod registry;
pub mod slot_clock;
mod transport;

pub use agreement::{AgreedHead, Standing};
pub use beacon::{
    BeaconClient, BeaconEvent, BeaconOptions, BroadcastValidation, EventTopic, Genesis, Head, LocalBlock,
    NodeOutcome, NodeSurvey, NodeWord, PayloadAttributesData, PayloadAttributesEvent, Publication,
    PublishReport, Published, Spec, Survey, SyncStatus, ValidatorRecord,
};
pub use error::ChainError;
pub use execution::{AccountState, ExecutionClient, ExecutionOptions};
pub use lookahead::{DependentRoots, EpochDuties, Lookahead, LookaheadChange, LookaheadError, Proposer};
pub use registry::{RegistryConfig, RegistryView};
pub use slot_clock::{ClockError, SlotClock};
