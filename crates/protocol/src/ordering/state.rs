//! The life of a window at its sequencer, as one table.

use crate::objects::CommitmentKind;

/// Where a window stands. "Busy" is: one link is being made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Takes transactions; nothing in flight.
    Idle,
    /// Takes transactions; one link in flight.
    Busy,
    /// Takes no more; the seal of the window is owed.
    Closing,
    /// Takes no more; one link in flight, maybe the seal.
    ClosingBusy,
    /// The right is lost while the window's first link is in flight.
    Leaving,
    /// The window's seal is durable.
    Sealed,
    /// The right was lost before anything was promised: nothing was, and nothing will be.
    Abandoned,
    /// The shell could not tell whether a link is durable. Only a replay of the log can.
    Failed,
}

/// What happens to a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A transaction arrives.
    Push,
    /// A link is handed out to be made durable.
    Draft,
    /// The link in flight is durable.
    Committed {
        /// What it is.
        kind: CommitmentKind,
    },
    /// The link in flight is certainly not durable.
    Rejected,
    /// The window's time is over.
    Close,
    /// The right to order is lost.
    LoseRight {
        /// Whether any link is durable.
        begun: bool,
    },
    /// The fate of the link in flight is unknown.
    Fail,
}

/// Why an event has no place in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The window takes no more transactions.
    #[error("the window is closed")]
    Closed,
    /// The window failed and waits for a replay.
    #[error("the window failed")]
    Failed,
    /// There is nothing in flight.
    #[error("nothing is in flight")]
    NothingInFlight,
    /// A link is in flight already, or none may be made.
    #[error("no link may be drafted")]
    NoDraft,
}

impl State {
    /// The state after `event`.
    ///
    /// # Errors
    /// [`Refusal`] if the event has no place here; the state stays.
    pub const fn on(self, event: Event) -> Result<Self, Refusal> {
        use Event::{Close, Committed, Draft, Fail, LoseRight, Push, Rejected};
        use State::{Abandoned, Busy, Closing, ClosingBusy, Failed, Idle, Leaving, Sealed};
        Ok(match (self, event) {
            (Idle | Busy, Push) | (Sealed | Abandoned, Close | LoseRight { .. } | Fail) => self,
            (Failed, Push) => return Err(Refusal::Failed),
            (_, Push) => return Err(Refusal::Closed),

            (Idle, Draft) => Busy,
            (Closing, Draft) => ClosingBusy,
            (_, Draft) => return Err(Refusal::NoDraft),

            (ClosingBusy | Leaving, Committed { kind: CommitmentKind::WindowSeal }) => Sealed,
            (Busy, Committed { .. } | Rejected) => Idle,
            (ClosingBusy, Committed { .. } | Rejected) | (Leaving, Committed { .. }) => Closing,
            (Leaving, Rejected) | (Idle | Closing, LoseRight { begun: false }) => Abandoned,
            (_, Committed { .. } | Rejected) => return Err(Refusal::NothingInFlight),

            (Busy | ClosingBusy, LoseRight { begun: false }) => Leaving,
            (Idle, Close | LoseRight { .. }) => Closing,
            (Busy, Close | LoseRight { .. }) => ClosingBusy,

            (Closing | ClosingBusy | Leaving | Failed, Close | LoseRight { .. }) => self,
            (_, Fail) => Failed,
        })
    }

    /// Whether a link is in flight.
    #[must_use]
    pub const fn is_busy(self) -> bool {
        matches!(self, Self::Busy | Self::ClosingBusy | Self::Leaving)
    }

    /// Whether transactions are taken.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Idle | Self::Busy)
    }

    /// Whether nothing will be ordered any more.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Sealed | Self::Abandoned | Self::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 8] = [
        State::Idle,
        State::Busy,
        State::Closing,
        State::ClosingBusy,
        State::Leaving,
        State::Sealed,
        State::Abandoned,
        State::Failed,
    ];

    const EVENTS: [Event; 10] = [
        Event::Push,
        Event::Draft,
        Event::Committed { kind: CommitmentKind::Microblock },
        Event::Committed { kind: CommitmentKind::SegmentSeal },
        Event::Committed { kind: CommitmentKind::WindowSeal },
        Event::Rejected,
        Event::Close,
        Event::LoseRight { begun: false },
        Event::LoseRight { begun: true },
        Event::Fail,
    ];

    #[test]
    fn the_table_keeps_its_promises() {
        for state in STATES {
            for event in EVENTS {
                let Ok(next) = state.on(event) else { continue };
                let at = format!("{state:?} on {event:?} is {next:?}");
                assert!(!state.is_ended() || next == state, "an end is final: {at}");
                assert!(state.is_open() || !next.is_open(), "what is closed stays closed: {at}");
                match event {
                    Event::Push => assert!(state.is_open() && next == state, "{at}"),
                    Event::Draft => assert!(!state.is_busy() && next.is_busy(), "{at}"),
                    Event::Committed { .. } | Event::Rejected => {
                        assert!(state.is_busy() && !next.is_busy(), "{at}");
                    }
                    Event::Close | Event::LoseRight { .. } => {
                        assert!(!next.is_open() && next.is_busy() == state.is_busy(), "{at}");
                    }
                    Event::Fail => assert!(next.is_ended(), "{at}"),
                }
            }
        }
    }

    #[test]
    fn what_has_no_place_is_refused() {
        for state in STATES {
            assert_eq!(state.on(Event::Push).is_ok(), state.is_open(), "{state:?}");
            let may_draft = matches!(state, State::Idle | State::Closing);
            assert_eq!(state.on(Event::Draft).is_ok(), may_draft, "{state:?}");
            assert_eq!(state.on(Event::Rejected).is_ok(), state.is_busy(), "{state:?}");
            for end in [Event::Close, Event::LoseRight { begun: false }, Event::Fail] {
                assert!(state.on(end).is_ok(), "{state:?}");
            }
        }
    }
}
